"""What holds for every geometric operation with every setting, and for every chain of them, in both engines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from models.stack import tf
from pipeline import augment
from pipeline.augment.base import PictureOperation
from pipeline.augment.colour import ColourJitter
from pipeline.augment.crops import RandomCrop, ScaleJitter
from pipeline.augment.engines import Engine
from pipeline.augment.geometry import HorizontalFlip, VerticalFlip
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from pipeline.data.example import Example
from tests.augment.scenes import GEOMETRIC, OBJECTS, STILL, empty, operations, put, scenes

ENGINES = [OpenCV(), TensorFlow()]
engines = st.sampled_from(ENGINES)
chains = st.lists(operations(), min_size=1, max_size=4)
OF_OBJECTS = ("boxes", "corners", "points", "masks", "difficult")

some = settings(deadline=None, derandomize=True, max_examples=30, suppress_health_check=list(HealthCheck))


def applied(chain: Sequence[PictureOperation], examples: Example, engine: Engine) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in augment.apply(chain, examples, 3, engine).items()}


def assert_same(result: dict[str, np.ndarray], examples: Example) -> None:
    """Every field equal, to the last bit."""
    assert set(result) == set(examples)
    for name, values in examples.items():
        np.testing.assert_array_equal(result[name], values.numpy(), err_msg=name)


def extent(mask: np.ndarray) -> np.ndarray:
    """The box around the pixels of a mask, in pixels."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@some
@given(scenes(), operations(), engines)
def test_a_box_bounds_its_mask(examples: Example, operation: PictureOperation, engine: Engine) -> None:
    result = applied([operation], examples, engine)
    height, width = result["image"].shape[1:3]
    for masks, found in zip(result["masks"], result["boxes"], strict=True):
        for mask, box in zip(masks, found * [width, height, width, height], strict=True):
            if mask.any():
                left, top, right, bottom = extent(mask) - box
                assert left >= -1 and top >= -1 and right <= 1 and bottom <= 1


@some
@given(scenes(), st.integers(0, 6), st.sampled_from([ScaleJitter(scale=(0.8, 2)), RandomCrop(), HorizontalFlip()]))
def test_a_box_is_no_larger_than_its_mask_where_sides_stay_upright(
    examples: Example, seed: int, operation: PictureOperation
) -> None:
    result = augment.apply([operation], examples, seed)
    height, width = result["image"].shape[1:3]
    masks, boxes = result["masks"].numpy().reshape(-1, height, width), result["boxes"].numpy().reshape(-1, 4)
    for mask, box in zip(masks, boxes, strict=True):
        pixels = box * [width, height, width, height]
        if (pixels[2:] - pixels[:2] > 1).all():
            assert np.abs(extent(mask) - pixels).max() <= 1


@some
@given(scenes(), chains, engines)
def test_all_that_is_known_of_an_object_agrees(
    examples: Example, chain: list[PictureOperation], engine: Engine
) -> None:
    """Points and corners lie in the box, and the middle on the mask, whatever was done."""
    result = applied(chain, examples, engine)
    height, width = result["image"].shape[1:3]
    kept = result["classes"] >= 0
    low, high = result["boxes"][..., :2], result["boxes"][..., 2:]
    for places in (result["corners"], result["points"][..., :2]):
        inside = (places >= low[:, :, None] - 1e-4) & (places <= high[:, :, None] + 1e-4)
        known = result["points"][..., 2] > 0 if places.shape[2] == 3 else np.ones(places.shape[:3], bool)
        assert inside.all(axis=-1)[kept[..., None] & known].all()
    for number, place in zip(*np.nonzero(kept), strict=True):
        x, y, visibility = result["points"][number, place, 2]
        mask = result["masks"][number, place]
        column, row = int(x * width), int(y * height)
        thick = ndimage.distance_transform_cdt(np.pad(mask, 1))[1:-1, 1:-1].max(initial=0) > 1
        if visibility and thick and 1 <= column < width - 1 and 1 <= row < height - 1:
            assert mask[row - 1 : row + 2, column - 1 : column + 2].any()


@some
@given(scenes(), chains, engines)
def test_nothing_leaves_the_picture_and_what_is_left_out_is_zero(
    examples: Example, chain: list[PictureOperation], engine: Engine
) -> None:
    before = examples["classes"].numpy()
    result = applied(chain, examples, engine)
    for name in ("boxes", "corners", "points"):
        assert np.isfinite(result[name]).all()
        assert (result[name][..., :2] >= 0).all() and (result[name][..., :2] <= 1).all()
    assert (result["boxes"] <= 1).all()
    gone = result["classes"] == -1
    assert gone[before == -1].all()
    np.testing.assert_array_equal(result["classes"][~gone], before[~gone])
    assert not any(result[name][gone].any() for name in OF_OBJECTS)
    assert (result["boxes"][~gone][:, 2:] > result["boxes"][~gone][:, :2]).all()


@some
@given(scenes(), engines, st.sampled_from([HorizontalFlip, VerticalFlip]))
def test_a_flip_twice_is_nothing(examples: Example, engine: Engine, kind: type[HorizontalFlip]) -> None:
    flip = kind(probability=1, swap_points=((0, 1),))
    assert_same(applied([flip, flip], examples, engine), examples)
    apart = applied([flip, ColourJitter(probability=0), flip], examples, engine)
    for name in ("boxes", "corners", "points"):  # 1 - (1 - x) rounds
        np.testing.assert_allclose(apart.pop(name), examples[name].numpy(), atol=2e-7)
    assert_same(apart, {name: examples[name] for name in apart})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("operation", STILL, ids=str)
def test_no_magnitude_leaves_every_field_as_it_was(operation: PictureOperation, engine: Engine) -> None:
    examples = {name: tf.constant(values) for name, values in peculiar().items()}
    assert_same(applied([operation], examples, engine), examples)
    assert_same(applied([operation, operation], examples, engine), examples)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_magnitude_leaves_every_field_as_it_was_in_tf_data(engine: Engine) -> None:
    examples = {name: tf.constant(values) for name, values in peculiar().items()}
    assert_same(in_tf_data(STILL, examples, engine), examples)


def peculiar() -> dict[str, np.ndarray]:
    """Examples with numbers that no operation would leave as they are."""
    examples = crowded(3)
    examples["boxes"][0, 3] = [0.1, 0.2, 0.1, 0.2]
    examples["points"][1, 0, 0] = [0.3, 0.7, 0]
    return examples


def crowded(channels: int, count: int = 6) -> dict[str, np.ndarray]:
    """Examples with no object, one, ... as many as there may be."""
    examples = empty(count, 24, 33, channels)
    for number in range(count):
        for place in range(min(number, OBJECTS)):
            put(examples, number, place, (2 + 7 * place, 3 + 3 * place, 11 + 7 * place, 12 + 3 * place))
    return examples


def in_tf_data(chain: Sequence[PictureOperation], examples: Example, engine: Engine) -> dict[str, np.ndarray]:
    batches = tf.data.Dataset.from_tensor_slices(examples).batch(len(examples["id"]))
    result = next(iter(batches.map(lambda batch: augment.apply(chain, batch, 3, engine))))
    return {name: value.numpy() for name, value in result.items()}


@pytest.mark.parametrize(("engine", "channels"), zip(ENGINES, (1, 3), strict=True))
@pytest.mark.parametrize("kind", GEOMETRIC)
def test_eagerly_and_in_tf_data_with_no_objects_and_many(
    kind: type[PictureOperation], engine: Engine, channels: int
) -> None:
    examples = {name: tf.constant(values) for name, values in crowded(channels).items()}
    result = applied([kind(probability=1)], examples, engine)
    for name, values in in_tf_data([kind(probability=1)], examples, engine).items():
        assert values.shape == examples[name].shape and values.dtype == result[name].dtype
        np.testing.assert_allclose(values, result[name], atol=1e-6, err_msg=name) if values.dtype == np.float32 else (
            np.testing.assert_array_equal(values, result[name], err_msg=name)
        )
    none = {**examples, "boxes": tf.zeros([6, 0, 4]), "classes": tf.zeros([6, 0], tf.int64)}
    bare = {name: none[name] for name in ("id", "epoch", "image", "boxes", "classes")}
    assert applied([kind(probability=1)], bare, engine)["boxes"].shape == (6, 0, 4)


@some
@given(scenes(), chains)
def test_the_engines_agree(examples: Example, chain: list[PictureOperation]) -> None:
    one, other = (applied(chain, examples, engine) for engine in ENGINES)
    for name in ("boxes", "corners", "points", "classes"):
        np.testing.assert_array_equal(one[name], other[name])
    assert np.abs(one["image"].astype(int) - other["image"]).max() <= 1
    assert (one["mask"] != other["mask"]).mean() < 0.02  # half way between two pixels


@pytest.mark.parametrize("engine", ENGINES)
def test_an_example_ends_the_same_alone_and_among_others_on_any_number_of_threads(engine: Engine) -> None:
    chain = [kind(probability=0.7) for kind in GEOMETRIC]
    examples = {name: tf.constant(values) for name, values in crowded(3, 12).items()}
    together = applied(chain, examples, engine)
    alone = tf.data.Dataset.from_tensor_slices(examples).batch(1)
    alone = alone.map(lambda batch: augment.apply(chain, batch, 3, engine), num_parallel_calls=4, deterministic=True)
    for number, result in enumerate(alone.as_numpy_iterator()):
        for name, values in result.items():
            if values.dtype == np.float32:
                np.testing.assert_allclose(values[0], together[name][number], atol=1e-6, err_msg=name)
            else:
                np.testing.assert_array_equal(values[0], together[name][number], err_msg=name)
