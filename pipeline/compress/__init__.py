"""Compression: a trained model -> smaller, faster `.tflite` variants. One file a technique."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from models.settings import Settings
from pipeline.compress.base import Compression, CompressionJob, PartCompression
from pipeline.compress.binary import Binary
from pipeline.compress.calibration import Calibration, Percentile
from pipeline.compress.channel_pruning import ChannelPruned
from pipeline.compress.clustering import Clustered
from pipeline.compress.collaborative import Cqat, Pcqat, Pqat
from pipeline.compress.int4 import Int4, Int4Qat
from pipeline.compress.post_training import DynamicInt8, Float16, Float32, Float32FineTuned, Int8, Int16x8
from pipeline.compress.pruning import Pruned, Pruned2Of4
from pipeline.compress.quantization_aware import Int8Qat
from pipeline.compress.selective import Int8Selective
from pipeline.errors import ConfigError
from pipeline.sweep.settings import SweepLimits

if TYPE_CHECKING:
    from pipeline.tasks.base import Task

Variant = Annotated[
    Float32
    | Float32FineTuned
    | Float16
    | DynamicInt8
    | Int8
    | Int8Selective
    | Int16x8
    | Int8Qat
    | Int4
    | Int4Qat
    | Binary
    | Pruned
    | Pruned2Of4
    | ChannelPruned
    | Clustered
    | Pqat
    | Cqat
    | Pcqat,
    Field(discriminator="kind"),
]

VARIANTS: dict[str, type[Compression]] = {
    "float32": Float32,
    "float32_fine_tuned": Float32FineTuned,
    "float16": Float16,
    "dynamic_int8": DynamicInt8,
    "int8": Int8,
    "int8_selective": Int8Selective,
    "int16x8": Int16x8,
    "int8_qat": Int8Qat,
    "int4": Int4,
    "int4_qat": Int4Qat,
    "binary": Binary,
    "pruned": Pruned,
    "pruned_2_4": Pruned2Of4,
    "channel_pruned": ChannelPruned,
    "clustered": Clustered,
    "pqat": Pqat,
    "cqat": Cqat,
    "pcqat": Pcqat,
}


def require_unique_names(variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """The variants; ValueError where two are called the same."""
    names = [variant.variant_name for variant in variants]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"two variants are called {', '.join(repeated)}: give each its own `name`")
    return variants


def require_parts(task: Task, variants: tuple[Variant, ...]) -> None:
    """Raises ConfigError where a variant cannot make files of the parts that a network of this task ships as."""
    able = [kind for kind, made in VARIANTS.items() if issubclass(made, PartCompression)]
    for place, variant in enumerate(variants):
        if task.part_names and not isinstance(variant, PartCompression):
            raise ConfigError(
                f"`compress.variants.{place}` ({variant.kind}) makes one file of a whole network, but the task "
                f"{task.name!r} ships in parts ({', '.join(task.part_names)}), which it cannot make. Leave it out; "
                f"these can: {', '.join(able)}.",
                ("compress", "variants", place),
            )


class SweepSettings(Settings):
    """What `convoy compress CONFIG --sweep` tries, and what a variant has to keep to be picked."""

    variants: tuple[Variant, ...] = (
        Float32(),
        Float16(),
        DynamicInt8(),
        Int8(),
        Int8(name="int8_percentile", range=Percentile()),
        Int8Selective(),
        Int16x8(),
        Int4(),
    )
    """The grid: every variant to try, each by its kind and settings. By default all kinds that need no training."""
    limits: SweepLimits = SweepLimits()
    """What a variant has to keep."""
    pictures: int | None = Field(default=None, ge=1)
    """How many of the evaluation pictures judge; by default all."""
    latency_runs: int = Field(default=50, ge=1)
    """How often one picture is answered for the median latency."""
    threads: int = Field(default=1, ge=1)
    """Threads of the TFLite runtime while it is timed."""

    @field_validator("variants")
    @classmethod
    def _names_are_unique(cls, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        return require_unique_names(variants)


class CompressSettings(Settings):
    """Which variants to make, and the pictures that quantization ranges are taken from."""

    variants: tuple[Variant, ...] = (Float32(), Float16(), DynamicInt8(), Int8(), Int16x8())
    """The variants to make, each by its kind and settings."""
    calibration: Calibration = Calibration()
    """The pictures that the ranges of activations are taken from, and how."""
    judged_pictures: int = Field(default=1000, ge=1)
    """How many pictures techniques judge by that have to choose, such as `int8_selective`: at most so many of the
    validation split, or of the training split where `verify` judges by the validation split."""

    sweep: SweepSettings = SweepSettings()
    """What `convoy compress CONFIG --sweep` tries."""

    @field_validator("variants")
    @classmethod
    def _names_are_unique(cls, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        return require_unique_names(variants)


__all__ = ["VARIANTS", "CompressSettings", "Compression", "CompressionJob", "SweepSettings", "Variant"]
