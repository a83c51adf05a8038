"""Compression: a trained model -> smaller, faster `.tflite` variants. One file a technique."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from models.settings import Settings
from pipeline.compress.base import Compression, CompressionJob
from pipeline.compress.post_training import DynamicInt8, Float16, Float32, Int8, Int16x8
from pipeline.compress.quantization_aware import Int8Qat

Variant = Annotated[Float32 | Float16 | DynamicInt8 | Int8 | Int16x8 | Int8Qat, Field(discriminator="kind")]

VARIANTS: dict[str, type[Compression]] = {
    "float32": Float32,
    "float16": Float16,
    "dynamic_int8": DynamicInt8,
    "int8": Int8,
    "int16x8": Int16x8,
    "int8_qat": Int8Qat,
}


class CompressSettings(Settings):
    """Which variants to make, and the pictures that quantization ranges are taken from."""

    variants: tuple[Variant, ...] = (Float32(), Float16(), DynamicInt8(), Int8(), Int16x8())
    """The variants to make, each by its kind and settings."""
    calibration_pictures: int = Field(default=200, ge=1)
    """How many training pictures the ranges of activations are taken from; 100 to 500 are usual."""
    calibration_seed: int = 0
    """Decides which pictures those are."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> CompressSettings:
        names = [variant.variant_name for variant in self.variants]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"two variants are called {', '.join(repeated)}: give each its own `name`")
        return self


__all__ = ["VARIANTS", "CompressSettings", "Compression", "CompressionJob", "Variant"]
