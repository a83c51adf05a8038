"""A fused plan equals its operations one after the other, within the error of resampling more often."""

from __future__ import annotations

from functools import cache, reduce
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from models.stack import tf
from pipeline.augment import plan, random
from pipeline.augment.base import PictureOperation, PictureShape, Transform
from pipeline.augment.colour import ColourJitter
from pipeline.augment.elastic import Elastic, ElasticDeformation
from pipeline.augment.fill import ConstantFill, ReflectFill
from pipeline.augment.geometry import HorizontalFlip, Perspective, Rotation, Shear, VerticalFlip
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.warp import Relocations, Warp
from pipeline.data.example import Example
from tests.augment.scenes import OBJECTS, empty, operations, put

FILL = ConstantFill(value=90)


def drawn(chain: list[PictureOperation], examples: Example) -> list[Transform]:
    keys = random.keys(examples["id"], examples["epoch"], 6)
    return plan.transforms(chain, keys, PictureShape(*examples["image"].shape[1:]))


def run(transforms: list[Transform], examples: Example) -> dict[str, np.ndarray]:
    done = reduce(lambda result, transform: transform(result, OpenCV()), transforms, examples)
    return {name: value.numpy() for name, value in done.items()}


def each_step(transforms: list[Transform], examples: Example) -> list[dict[str, np.ndarray]]:
    """The batch after each transform."""
    done = accumulate(transforms, lambda result, transform: transform(result, OpenCV()), initial=examples)
    return [{name: value.numpy() for name, value in step.items()} for step in list(done)[1:]]


@cache
def scene(size: int = 96) -> Example:
    examples = empty(4, size, size, 3)
    for number in range(4):
        for place in range(OBJECTS):
            start = size // 4 + 9 * place + number
            put(examples, number, place, (start, start - 5, start + 15, start + 7))
    smooth = ndimage.gaussian_filter(examples["image"].astype(float), (0, 3, 3, 0))
    examples["image"] = smooth.round().astype(np.uint8)
    return {name: tf.constant(values) for name, values in examples.items()}


def same_fill(operation: PictureOperation) -> PictureOperation:
    changes = {"fill": FILL, "min_visible": 0.0}
    return operation.model_copy(update={name: changes[name] for name in changes if hasattr(operation, name)})


@settings(deadline=None, derandomize=True, max_examples=30, suppress_health_check=list(HealthCheck))
@given(st.lists(operations().map(same_fill), min_size=2, max_size=4))
def test_fused_equals_step_by_step(chain: list[PictureOperation]) -> None:
    examples = scene()
    transforms = drawn(chain, examples)
    fused = plan.fuse(transforms)
    assert len(fused) == 1
    once, steps = run(fused, examples), each_step(transforms, examples)
    apart = steps[-1]

    shown = (once["mask"] != 255) & (apart["mask"] != 255)
    shown = ndimage.binary_erosion(shown[..., 0], np.ones((1, 5, 5)))
    difference = np.abs(once["image"].astype(int) - apart["image"])[shown]
    assert difference.max(initial=0) <= 10 and difference.sum() <= 0.7 * difference.size

    # A box that was cut on the way stays cut, where the fused plan decides at the end.
    whole = np.all([((step["boxes"] > 0) & (step["boxes"] < 1)).all(axis=-1) for step in steps], axis=0)
    both = (once["classes"] >= 0) & (apart["classes"] >= 0) & whole
    assert (once["boxes"][both][:, :2] >= apart["boxes"][both][:, :2] - 1e-3).all()
    assert (once["boxes"][both][:, 2:] <= apart["boxes"][both][:, 2:] + 1e-3).all()
    seen = (once["points"][..., 2] > 0) & (apart["points"][..., 2] > 0)
    np.testing.assert_allclose(once["points"][seen], apart["points"][seen], atol=1e-3)


@pytest.mark.parametrize("before", [[], [Rotation(degrees=40, fill=FILL)], [Perspective(distortion=0.2, fill=FILL)]])
@pytest.mark.parametrize("after", [[], [Shear(horizontal=0.5, fill=FILL)], [HorizontalFlip(probability=1)]])
def test_bent_places_are_exact_to_a_thirtieth_of_a_pixel(
    before: list[PictureOperation], after: list[PictureOperation]
) -> None:
    """The lattice against the deformation followed pixel by pixel, at the strongest setting, root mean square."""
    examples = scene()
    chain = [*before, ElasticDeformation(magnitude=0.25, cells=3, fill=FILL), *after]
    (fused,) = plan.fuse(drawn(chain, examples))
    assert isinstance(fused, Relocations if before or after else Elastic)
    pixels = np.stack(np.meshgrid(np.arange(96), np.arange(96)), -1).reshape(1, -1, 2).repeat(4, 0)
    exact = fused.looking((96, 96), (96, 96))(tf.constant((pixels + 0.5) / 96, tf.float32)) * 96 - 0.5
    places = tf.reshape(fused.places((96, 96), (96, 96)), exact.shape)
    inside = ((exact >= 0) & (exact <= 95)).numpy().all(axis=-1)
    error = np.abs(places - exact)[inside]
    assert error.max() < 0.3 and np.sqrt(np.mean(error**2)) < 0.03


def test_size_changes_within_a_chain_are_followed() -> None:
    examples = scene(32)
    corner = np.array([[[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]]] * 4, np.float32)  # twice as large
    bend = ElasticDeformation(fill=FILL, magnitude=0).transform(tf.zeros([4, 339]), PictureShape(64, 64, 3))
    larger = Warp(tf.constant(corner), FILL, size=(64, 64))
    (fused,) = plan.fuse([larger, bend])
    result, expected = run([fused], examples), run([larger], examples)
    assert result["image"].shape == (4, 64, 64, 3) and result["masks"].shape == (4, OBJECTS, 64, 64)
    np.testing.assert_allclose(result["boxes"], expected["boxes"], atol=1e-6)
    assert np.abs(result["image"].astype(int) - expected["image"]).max() <= 1


def test_a_bend_is_fused_with_what_is_before_and_after() -> None:
    examples = scene(24)
    reflected = Rotation(fill=ReflectFill())
    kinds = [
        ([reflected, ElasticDeformation(), HorizontalFlip(), VerticalFlip()], ["Relocations"]),
        ([Rotation(), ElasticDeformation(), reflected], ["Warp", "Relocations"]),
        ([ElasticDeformation(), ColourJitter(), reflected], ["Elastic", "Recolour", "Warp"]),
    ]
    for chain, names in kinds:
        assert [type(step).__name__ for step in plan.fuse(drawn(chain, examples))] == names


def test_left_and_right_points_are_swapped_once_for_each_mirroring() -> None:
    examples = scene(24)
    both = HorizontalFlip(probability=0.5, swap_points=((0, 1),))
    chain = [both, Rotation(degrees=5), both, ElasticDeformation(magnitude=0.01), both]
    transforms = drawn(chain, examples)
    mirrored = sum(1 - transforms[place].matrices[:, 0, 0].numpy() for place in (0, 2, 4)) / 2
    result = run(plan.fuse(transforms), examples)
    assert set(mirrored % 2) == {0, 1}
    # Swapped, the "left" point is on the left again, however often the picture was mirrored.
    for points in result["points"].reshape(-1, 3, 3):
        assert points[0, 0] < points[2, 0] < points[1, 0] or not points[:, 2].all()
