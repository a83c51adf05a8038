"""What holds for every operation that changes pixels where they are."""

from __future__ import annotations

import numpy as np
import pytest

from models.stack import tf
from pipeline import augment
from pipeline.augment import OPERATIONS, plan, random
from pipeline.augment.base import PictureOperation, PictureShape
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from tests.augment.pictures import batch, eagerly, in_tf_data

PIXELS = (
    "colour_jitter", "brightness", "contrast", "saturation", "hue", "channel_shift", "grayscale", "gamma", "solarize",
    "invert", "posterize", "equalize", "autocontrast", "sharpness", "gaussian_blur", "motion_blur", "gaussian_noise",
    "salt_and_pepper", "jpeg_artefacts", "light_gradient", "shadow", "cutout", "random_erasing", "grid_mask",
    "occluders",
)  # fmt: skip
NEED_COLOUR = {"saturation", "hue", "grayscale"}
POLICIES = ("rand_augment", "trivial_augment", "augmix")


def made(kind: str, **settings: float) -> PictureOperation:
    operation = OPERATIONS[kind](**settings)
    assert isinstance(operation, PictureOperation)
    return operation


def smooth(channels: int, count: int = 12) -> dict[str, np.ndarray]:
    """Pictures with few dark and bright values, so that all operations have something to do."""
    examples = batch(count, 24, 20, channels)
    ramp = np.add.outer(np.linspace(40, 180, 24), np.linspace(0, 40, 20))[..., np.newaxis]
    examples["image"] = (ramp + examples["image"] * 0.1).astype(np.uint8)
    return examples


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [*PIXELS, *POLICIES])
def test_half_of_the_examples_change_and_the_others_stay(kind: str, channels: int) -> None:
    examples, operation = smooth(channels, count=40), made(kind, probability=0.5)
    result = eagerly([operation], examples)
    assert result.dtype == np.uint8 and result.shape == examples["image"].shape
    keys = random.keys(tf.constant(examples["id"]), tf.constant(examples["epoch"]), 7)
    drawn = random.uniform(keys, 0, operation.num_draws).numpy()[:, 0] < 0.5
    changed = (result != examples["image"]).any(axis=(1, 2, 3))
    assert not changed[~drawn].any()
    idle = channels == 1 and kind in NEED_COLOUR
    # What is drawn may be no change: a threshold above all values, a policy's identity.
    assert not changed.any() if idle else changed[drawn].mean() > 0.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [*PIXELS, *POLICIES])
def test_in_another_batch(kind: str, channels: int) -> None:
    examples, operation = smooth(channels), made(kind, probability=0.8)
    order = [5, 2, 7]
    some = {name: values[order] for name, values in examples.items()}
    np.testing.assert_array_equal(eagerly([operation], some), eagerly([operation], examples)[order])


@pytest.mark.parametrize("kind", [*PIXELS, *POLICIES])
def test_grey_in_tf_data_as_eagerly(kind: str) -> None:
    examples, operation = smooth(1), made(kind, probability=0.8)
    np.testing.assert_array_equal(in_tf_data([operation], examples), eagerly([operation], examples))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", PIXELS)
def test_engines_agree(kind: str, channels: int) -> None:
    examples = {name: tf.constant(values) for name, values in smooth(channels).items()}
    operation = made(kind, probability=0.8)
    ours, other = (
        augment.apply([operation], examples, 3, engine)["image"].numpy().astype(int)
        for engine in (OpenCV(), TensorFlow())
    )
    exact = kind in {"gaussian_noise", "salt_and_pepper", "gamma", "solarize", "invert", "posterize", "equalize"}
    limit = 8 if kind == "jpeg_artefacts" else 0 if exact or kind == "autocontrast" else 1
    assert np.abs(ours - other).max() <= limit


@pytest.mark.parametrize("kind", POLICIES)
def test_engines_nearly_agree_on_policies(kind: str) -> None:
    """A resampled value that is rounded up by one engine and down by the other may cross a threshold afterwards."""
    examples = {name: tf.constant(values) for name, values in smooth(3, count=40).items()}
    operation, engines = made(kind), (OpenCV(), TensorFlow())
    ours, other = (augment.apply([operation], examples, 3, engine)["image"].numpy().astype(int) for engine in engines)
    assert (np.abs(ours - other) > 2).mean() < 0.01


@pytest.mark.parametrize("kind", [*PIXELS, *POLICIES])
def test_the_tensorflow_engine_is_the_same_in_tf_data(kind: str) -> None:
    examples = {name: tf.constant(values) for name, values in smooth(3, count=4).items()}
    operation, engine = made(kind, probability=0.8), TensorFlow()
    result = augment.apply([operation], examples, 3, engine)["image"]
    batches = tf.data.Dataset.from_tensor_slices(examples).batch(4)
    inside = next(iter(batches.map(lambda batch: augment.apply([operation], batch, 3, engine))))["image"]
    assert np.abs(result.numpy().astype(int) - inside.numpy()).max() <= 1


def test_neighbours_of_one_kind_are_one_step() -> None:
    def planned(*kinds: str) -> list[str]:
        keys = random.keys(tf.constant(["a", "b"]), tf.zeros(2, tf.int64), 0)
        steps = plan.transforms([made(kind) for kind in kinds], keys, PictureShape(16, 16, 3))
        return [step.describe() for step in plan.fuse(steps)]

    assert planned("brightness", "hue", "channel_shift", "grayscale", "colour_jitter") == ["one colour matrix"]
    assert planned("gamma", "equalize", "solarize", "posterize", "autocontrast", "invert") == ["one lookup table"]
    assert planned("shadow", "light_gradient", "gamma") == ["light changed", "one lookup table"]


def test_fused_colours_equal_one_after_the_other() -> None:
    examples = {name: tf.constant(values) for name, values in smooth(3).items()}
    kinds = {"brightness": 0.1, "contrast": 0.2, "saturation": 0.3, "hue": 0.05, "channel_shift": 0.05}
    operations = [made(kind, amount=amount) for kind, amount in kinds.items()]
    keys = random.keys(examples["id"], examples["epoch"], 7)
    stepwise = examples
    for transform in plan.transforms(operations, keys, PictureShape(24, 20, 3)):
        stepwise = transform(stepwise, OpenCV())
    together = augment.apply(operations, examples, 7)["image"].numpy().astype(int)
    assert np.abs(together - stepwise["image"].numpy()).max() <= 4  # the roundings in between
