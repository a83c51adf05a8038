"""Every operation at its smallest magnitude gives back what it was given, exactly: an operation that is added has to be
named here, with the settings that change nothing or with the reason why there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from models.stack import tf
from pipeline import augment
from pipeline.augment import OPERATIONS, Augmentation, Operation
from pipeline.augment.engines import Engine
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.policy import ALL, WITHOUT_STRENGTH
from pipeline.augment.tensorflow_engine import TensorFlow
from pipeline.data.example import Example
from tests.augment.scenes import OBJECTS, empty, put

COUNT = 4
IDENTITY: dict[str, dict[str, Any]] = {
    "rotation": {"degrees": 0},
    "translation": {"height": 0, "width": 0},
    "shear": {"horizontal": 0, "vertical": 0},
    "zoom": {"factor": [1, 1]},
    "scale_jitter": {"scale": [1, 1]},
    "perspective": {"distortion": 0},
    "elastic": {"magnitude": 0},
    "random_crop": {"padding": 0},
    "colour_jitter": {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0},
    "brightness": {"amount": 0},
    "contrast": {"amount": 0},
    "saturation": {"amount": 0},
    "hue": {"amount": 0},
    "channel_shift": {"amount": 0},
    "gamma": {"exponent": [1, 1]},
    "solarize": {"threshold": [256, 256]},
    "posterize": {"bits": [8, 8]},
    "sharpness": {"amount": 0},
    "gaussian_blur": {"sigma": [0, 0]},
    "motion_blur": {"length": [1, 1]},
    "gaussian_noise": {"deviation": [0, 0]},
    "salt_and_pepper": {"share": [0, 0]},
    "light_gradient": {"strength": [0, 0]},
    "shadow": {"strength": [0, 0]},
    "cutout": {"size": 0},
    "random_erasing": {"area": [0, 0]},
    "grid_mask": {"visible": 1, "degrees": 30},
    "occluders": {"size": [0, 0], "hidden_pixels": "drop"},
    "copy_paste": {"objects": 0},
    "rand_augment": {"magnitude": 0, "operations": [name for name in ALL if name not in WITHOUT_STRENGTH]},
    "trivial_augment": {"operations": ["identity"]},
    "augmix": {"operations": ["identity"]},
}
"""Operation -> settings with which it changes nothing."""
WITHOUT: dict[str, str] = {
    "horizontal_flip": "a picture is mirrored or not",
    "vertical_flip": "a picture is mirrored or not",
    "random_resized_crop": "the window has a shape of its own: settings that show a square picture whole cut others",
    "grayscale": "colour is taken out or not",
    "invert": "a picture is inverted or not",
    "equalize": "values are spread or not",
    "autocontrast": "values are stretched or not",
    "jpeg_artefacts": "JPEG loses something at its best quality too",
    "mix_up": "the share comes from a distribution that has no end at 0",
    "cut_mix": "the share comes from a distribution that has no end at 0",
    "mosaic": "four pictures are always tiled",
}
"""Operation -> why no magnitude of it changes nothing; `probability: 0` does for all (test_every_operation.py)."""
OF_OBJECTS = ("boxes", "classes", "corners", "points", "masks", "difficult")
ENGINES = [OpenCV(), TensorFlow()]


def operation(kind: str) -> Augmentation:
    """As a configuration gives it."""
    made: Augmentation = TypeAdapter(Operation).validate_python({"kind": kind, "probability": 1, **IDENTITY[kind]})
    return made


def examples(channels: int) -> Example:
    """A group of four with objects, one of them at the edge; any value stands beside any other."""
    made = empty(COUNT, 20, 27, channels)
    made["image"] = np.random.default_rng(channels).integers(0, 256, made["image"].shape, np.uint8)
    for number in range(COUNT):
        put(made, number, 0, (0, 0, 9, 7))
        put(made, number, 1, (5 + number, 4, 13 + number, 20))
    made["label"] = np.arange(COUNT)
    return {name: tf.constant(values) for name, values in made.items()}


def assert_unchanged(chain: list[Augmentation], channels: int, engine: Engine) -> None:
    """Behind the objects there may be room for those of other pictures."""
    before = examples(channels)
    after = augment.apply(chain, before, seed=3, engine=engine)
    for name, values in before.items():
        result = after[name][:, :OBJECTS] if name in OF_OBJECTS else after[name]
        assert result.dtype == values.dtype, name
        np.testing.assert_array_equal(result.numpy(), values.numpy(), err_msg=name)


def test_every_operation_is_named_once() -> None:
    assert IDENTITY.keys() | WITHOUT.keys() == OPERATIONS.keys()
    assert not IDENTITY.keys() & WITHOUT.keys()


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", IDENTITY)
def test_the_smallest_magnitude_changes_nothing(kind: str, channels: int, engine: Engine) -> None:
    assert_unchanged([operation(kind)], channels, engine)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: type(engine).__name__)
@pytest.mark.parametrize("channels", [1, 3])
def test_all_of_them_together_change_nothing(channels: int, engine: Engine) -> None:
    """Fused where they can be."""
    assert_unchanged([operation(kind) for kind in IDENTITY], channels, engine)
