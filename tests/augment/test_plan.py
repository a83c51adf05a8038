"""The list of operations: order, fusing, independence of the batch."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import ndimage

from models.stack import tf
from pipeline import augment
from pipeline.augment import OPERATIONS, Operation, plan, random
from pipeline.augment.base import PictureShape
from pipeline.augment.colour import ColourJitter
from pipeline.augment.crops import RandomCrop, RandomResizedCrop, ScaleJitter
from pipeline.augment.elastic import ElasticDeformation
from pipeline.augment.fill import ConstantFill, ReflectFill
from pipeline.augment.geometry import HorizontalFlip, Perspective, Rotation, Shear, Translation, VerticalFlip, Zoom
from pipeline.augment.occlusion import Cutout
from pipeline.augment.opencv_engine import OpenCV
from pipeline.errors import ConfigError
from tests.augment.pictures import batch, eagerly, in_tf_data

EVERYTHING = [
    RandomResizedCrop(),
    HorizontalFlip(),
    Rotation(),
    Translation(),
    RandomCrop(padding=1),
    ColourJitter(hue=0.1),
    Cutout(),
    VerticalFlip(),
    Shear(),
    Zoom(),
    ScaleJitter(),
    Perspective(),
    ElasticDeformation(),
]


def planned(*operations: augment.Augmentation, channels: int = 3) -> list:
    keys = random.keys(tf.constant(["a", "b"]), tf.zeros(2, tf.int64), 0)
    return plan.fuse(plan.transforms(operations, keys, PictureShape(8, 8, channels)))


def test_the_list_names_every_operation_once() -> None:
    members = get_args(get_args(Operation)[0])
    assert set(OPERATIONS.values()) == set(members) and len(OPERATIONS) == len(members)
    for kind, operation in OPERATIONS.items():
        assert type(TypeAdapter(Operation).validate_python({"kind": kind})) is operation


@pytest.mark.parametrize("channels", [1, 3])
def test_everything_together_eagerly_and_in_tf_data(channels: int) -> None:
    examples = batch(6, 16, 12, channels)
    result = eagerly(EVERYTHING, examples)
    assert result.dtype == np.uint8 and result.shape == examples["image"].shape
    np.testing.assert_array_equal(result, in_tf_data(EVERYTHING, examples))


def test_draws_do_not_depend_on_the_batch() -> None:
    examples = batch(8, 16, 12)
    together = eagerly(EVERYTHING, examples)
    order = [5, 2, 7]
    some = {name: values[order] for name, values in examples.items()}
    np.testing.assert_array_equal(eagerly(EVERYTHING, some), together[order])


def test_another_epoch_or_seed_is_another_draw() -> None:
    examples = batch(8, 16, 12)
    first = eagerly(EVERYTHING, examples)
    assert (eagerly(EVERYTHING, examples, seed=8) != first).any(axis=(1, 2, 3)).all()
    assert (eagerly(EVERYTHING, batch(8, 16, 12, epoch=1)) != first).any(axis=(1, 2, 3)).all()


def test_the_same_operation_twice_draws_twice() -> None:
    keys = random.keys(tf.strings.as_string(tf.range(50)), tf.zeros(50, tf.int64), 0)
    twice = plan.transforms([RandomCrop(), RandomCrop()], keys, PictureShape(8, 8, 1))
    assert np.any(twice[0].matrices != twice[1].matrices)


def test_neighbours_are_fused_and_order_is_kept() -> None:
    assert [type(step).__name__ for step in planned(HorizontalFlip(), Rotation(), Translation())] == ["Warp"]
    assert [type(step).__name__ for step in planned(ColourJitter(), ColourJitter())] == ["Recolour"]
    mixed = planned(HorizontalFlip(), ColourJitter(), Cutout(), RandomCrop(), VerticalFlip())
    assert [type(step).__name__ for step in mixed] == ["Warp", "Recolour", "Cover", "Warp"]


def test_warps_with_different_fills_stay_two() -> None:
    fills = planned(RandomCrop(fill=ReflectFill()), HorizontalFlip(), Rotation(fill=ConstantFill()))
    assert [step.fill.kind for step in fills] == ["reflect", "constant"]


def test_cutout_before_and_after_a_flip_differ() -> None:
    examples = batch(4, 8, 8)
    before, after = [Cutout(), HorizontalFlip(probability=1)], [HorizontalFlip(probability=1), Cutout()]
    assert (eagerly(before, examples) != eagerly(after, examples)).any()


def test_fused_flips_and_crops_equal_one_after_the_other() -> None:
    """The same draws, made by numpy and SciPy step by step."""
    examples = batch(10, 12, 9)
    operations = [HorizontalFlip(), RandomCrop(padding=3), VerticalFlip()]
    keys = random.keys(tf.constant(examples["id"]), tf.constant(examples["epoch"]), 7)
    flip, crop, tip = plan.transforms(operations, keys, PictureShape(12, 9, 3))
    result = eagerly(operations, examples)
    for number, picture in enumerate(examples["image"]):
        picture = picture[:, ::-1] if flip.matrices[number, 0, 0] < 0 else picture
        right, down = -crop.matrices[number, 0, 2].numpy(), -crop.matrices[number, 1, 2].numpy()
        picture = ndimage.shift(picture, (down, right, 0), order=0)
        picture = picture[::-1] if tip.matrices[number, 1, 1] < 0 else picture
        np.testing.assert_array_equal(result[number], picture)


def test_fusing_resamples_once() -> None:
    """A turn to and fro is nothing, where two resamplings would blur."""
    examples = batch(2, 11, 11)
    to = Rotation(degrees=20).transform(tf.constant([[0, 1.0], [0, 0.3]]), PictureShape(11, 11, 3))
    fro = Rotation(degrees=20).transform(tf.constant([[0, 0.0], [0, 0.7]]), PictureShape(11, 11, 3))
    result = to.then(fro)({"image": tf.constant(examples["image"])}, OpenCV())["image"]
    assert np.abs(result.numpy().astype(int) - examples["image"]).max() <= 1


def test_a_resized_crop_has_to_be_first() -> None:
    crop = RandomResizedCrop()
    assert augment.head_crop([crop, HorizontalFlip()]) == crop
    assert augment.head_crop([HorizontalFlip()]) is augment.head_crop([]) is None
    with pytest.raises(ConfigError, match=r"`augment\.1` is random_resized_crop"):
        augment.head_crop([HorizontalFlip(), crop])


def test_other_fields_pass_through() -> None:
    examples = {name: tf.constant(values) for name, values in batch(3).items()}
    result = augment.apply([HorizontalFlip()], examples, 0)
    assert set(result) == set(examples) and result["label"] is examples["label"]
