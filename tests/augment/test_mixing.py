"""Mixing of pictures: labels, objects, pixels, groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models.stack import tf
from pipeline import augment
from pipeline.augment import Augmentation, plan, random
from pipeline.augment.base import PictureShape
from pipeline.augment.engines import Engine
from pipeline.augment.fill import AnyFill, ConstantFill, NearestFill, ReflectFill
from pipeline.augment.geometry import HorizontalFlip, Rotation
from pipeline.augment.mixed_labels import known_mean, uncovered
from pipeline.augment.mixed_pictures import Cut, Tile
from pipeline.augment.mixing import CopyPaste, CutMix, Mixing, MixUp, Mosaic, beta, check_fields, check_groups
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from pipeline.augment.warp import Warp
from pipeline.errors import ConfigError
from tests.augment.pictures import batch

HEIGHT, WIDTH, COUNT = 16, 12, 8
MIXINGS = [MixUp(alpha=1.0), CutMix(), Mosaic(), CopyPaste()]
IDS = ["mix_up", "cut_mix", "mosaic", "copy_paste"]
Arrays = dict[str, np.ndarray]


def scenes(objects: int = 3, channels: int = 3, seed: int = 0, pictures: int = COUNT) -> Arrays:
    """Examples with every field there is; objects are rectangles of whole pixels, the last slot is empty."""
    draw = np.random.default_rng(seed)
    slots, label = objects + 1, np.arange(pictures)
    size = np.array([WIDTH, HEIGHT])
    low = np.floor(draw.random((pictures, slots, 2)) * (size - 3)).astype(int)
    high = low + 1 + np.floor(draw.random((pictures, slots, 2)) * (size - low)).astype(int)
    high, there = np.minimum(high, size), np.arange(slots) < objects
    rows, columns = np.arange(HEIGHT)[:, None], np.arange(WIDTH)

    def inside(axis: int, line: np.ndarray) -> np.ndarray:
        return (line >= low[..., axis, None, None]) & (line < high[..., axis, None, None])

    boxes = (np.concatenate([low, high], -1) / np.tile(size, 2) * there[:, None]).astype(np.float32)
    corners = np.stack([boxes[..., [0, 1]], boxes[..., [2, 1]], boxes[..., [2, 3]], boxes[..., [0, 3]]], axis=2)
    middle = np.concatenate(
        [(boxes[..., :2] + boxes[..., 2:]) / 2, 2.0 * there[None, :, None] + 0 * boxes[..., :1]], -1
    )
    return {
        **batch(pictures, HEIGHT, WIDTH, channels),
        "labels": np.eye(pictures, dtype=np.float32),
        "value": np.stack([label, np.where(label % 2, np.nan, label)], axis=1).astype(np.float32),
        "text": np.array([f"text {number}".encode() for number in label], object),
        "boxes": boxes,
        "classes": np.where(there, draw.integers(0, 5, (pictures, slots)), -1),
        "corners": corners,
        "points": middle[:, :, None].astype(np.float32),
        "difficult": (draw.random((pictures, slots)) < 0.5) & there,
        "crowd": np.zeros((pictures, slots), bool),
        "masks": ((inside(1, rows) & inside(0, columns)) & there[:, None, None]).astype(np.uint8),
        "mask": draw.integers(0, 4, (pictures, HEIGHT, WIDTH, 1)).astype(np.uint8),
    }


def mixed(operations: Sequence[Augmentation], examples: Arrays, seed: int = 7, engine: Engine | None = None) -> Arrays:
    tensors = {name: tf.constant(values) for name, values in examples.items()}
    return {name: values.numpy() for name, values in augment.apply(operations, tensors, seed, engine).items()}


def mixed_in_tf_data(operations: Sequence[Augmentation], examples: Arrays, seed: int = 7) -> Arrays:
    tensors = {name: tf.constant(values) for name, values in examples.items()}
    batches = tf.data.Dataset.from_tensor_slices(tensors).batch(len(examples["id"]))
    result = next(iter(batches.map(lambda examples: augment.apply(operations, examples, seed))))
    return {name: values.numpy() for name, values in result.items()}


def assert_same(left: Arrays, right: Arrays, names: Sequence[str] | None = None) -> None:
    assert names or set(left) == set(right)
    for name in names or left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


operations = st.lists(st.sampled_from([*MIXINGS, *[each.model_copy(update={"probability": 0.5}) for each in MIXINGS]]),
                      min_size=1, max_size=2)  # fmt: skip
quickly = settings(max_examples=20, deadline=None)


@quickly
@given(operations, st.integers(0, 2**31 - 1))
def test_labels_say_what_is_in_the_picture(list_of_mixings: list[Mixing], seed: int) -> None:
    examples = scenes(1)
    result = mixed(list_of_mixings, examples, seed)
    parts, shares = result["label_parts"], result["label_shares"]
    counts = [4 if isinstance(each, Mosaic) else 2 for each in list_of_mixings]
    assert parts.shape == shares.shape == (COUNT, np.prod(counts)) and parts.dtype == np.int64
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-5)
    assert shares.min() >= 0.0 and shares.max() <= 1.0
    own = np.broadcast_to(examples["label"][:, None], parts.shape)
    assert (parts[shares == 0] == own[shares == 0]).all()
    assert (parts // 4 == own // 4).all(), "only within the group of four"
    np.testing.assert_allclose(result["labels"], (np.eye(COUNT)[parts] * shares[..., None]).sum(axis=1), atol=1e-5)
    np.testing.assert_allclose(result["value"][:, 0], (parts * shares).sum(axis=1), atol=1e-4)
    assert_same(result, examples, ["id", "epoch", "label", "text"])


@quickly
@given(operations, st.integers(0, 2**31 - 1), st.integers(0, 5))
def test_nothing_leaves_the_picture(list_of_mixings: list[Mixing], seed: int, objects: int) -> None:
    examples = scenes(objects, seed=seed)
    result = mixed(list_of_mixings, examples, seed)
    boxes, there = result["boxes"], result["classes"] >= 0
    for name in ("boxes", "corners", "points"):
        places = result[name][..., :2]
        assert places.min() >= 0.0 and places.max() <= 1.0
    assert (boxes[there][:, 2:] > boxes[there][:, :2]).all()
    for name in ("boxes", "corners", "points", "masks", "difficult", "crowd"):
        assert len(result[name][0]) == there.shape[1]
        assert not result[name][~there].any(), name
    assert result["image"].shape == examples["image"].shape and result["image"].dtype == np.uint8
    assert set(np.unique(result["mask"])) <= {0, 1, 2, 3}


@quickly
@given(st.sampled_from(MIXINGS[1:]), st.integers(0, 2**31 - 1))
def test_boxes_bound_what_is_seen_of_their_objects(mixing: Mixing, seed: int) -> None:
    examples = scenes(4, seed=seed)
    result = mixed([mixing], examples, seed)
    tolerance = 1.01 if isinstance(mixing, Mosaic) else 1e-4  # resampled: the nearest pixel
    for number, slot in np.argwhere(result["classes"] >= 0):
        rows, columns = (np.flatnonzero(result["masks"][number, slot].any(axis=axis)) for axis in (1, 0))
        x_min, y_min, x_max, y_max = result["boxes"][number, slot] * np.tile([WIDTH, HEIGHT], 2)
        if isinstance(mixing, Mosaic) and not len(rows):
            assert min(x_max - x_min, y_max - y_min) < 1.01  # thinner than a pixel
            continue
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert np.abs(seen - [x_min, y_min, x_max, y_max]).max() <= tolerance


@pytest.mark.parametrize("mixing", [CutMix(), CopyPaste(objects=1.0)])
def test_pasted_pixels_come_from_the_partner_and_are_counted(mixing: Mixing) -> None:
    examples = scenes(1)
    result, changed = mixed([mixing], examples), 0
    for number in range(COUNT):
        own, other = result["label_parts"][number]
        share = result["label_shares"][number, 1]
        assert own == number
        at_partner = (result["image"][number] == examples["image"][other]).all(axis=-1)
        at_own = (result["image"][number] == examples["image"][own]).all(axis=-1)
        assert (at_partner | at_own).all()
        np.testing.assert_allclose((~at_own).mean(), share, atol=1e-6)
        pasted = ~at_own[..., None]
        expected = np.where(pasted, examples["mask"][other], examples["mask"][own])
        np.testing.assert_array_equal(result["mask"][number], expected)
        changed += share > 0
    assert changed > COUNT // 2


def test_copied_objects_cover_and_come_whole() -> None:
    examples = scenes(3, seed=3)
    result = mixed([CopyPaste(objects=1.0)], examples)
    for number in range(COUNT):
        other = result["label_parts"][number, 1]
        if result["label_shares"][number, 1] == 0:
            continue
        own, copied = np.split(result["masks"][number], 2)
        np.testing.assert_array_equal(copied, examples["masks"][other])
        np.testing.assert_array_equal(result["boxes"][number, 4:], examples["boxes"][other])
        np.testing.assert_array_equal(result["points"][number, 4:], examples["points"][other])
        left = examples["masks"][number] * ~copied.any(axis=0)
        stays = left.sum(axis=(1, 2)) > 0.099 * examples["masks"][number].sum(axis=(1, 2))
        np.testing.assert_array_equal(own, left * (stays & (left.any(axis=(1, 2))))[:, None, None])


def test_mix_up_is_a_mean_and_the_mask_is_of_the_larger_share() -> None:
    examples = scenes(2)
    result = mixed([MixUp(alpha=1.0, min_visible=0.3)], examples)
    for number in range(COUNT):
        own, other = result["label_parts"][number]
        share = result["label_shares"][number, 1]
        mean = examples["image"][own] * (1 - share) + examples["image"][other] * share
        assert np.abs(result["image"][number] - mean).max() < 0.501
        np.testing.assert_array_equal(result["mask"][number], examples["mask"][other if share > 0.5 else own])
        none = np.full(3, -1)
        kept = [examples["classes"][part] if seen >= 0.3 else none for part, seen in ((own, 1 - share), (other, share))]
        np.testing.assert_array_equal(result["classes"][number], np.concatenate(kept))


@pytest.mark.parametrize("mixing", MIXINGS, ids=IDS)
@pytest.mark.parametrize(("objects", "channels"), [(0, 3), (4, 3), (2, 1)])
def test_eagerly_in_tf_data_and_by_both_engines(mixing: Mixing, objects: int, channels: int) -> None:
    examples = scenes(objects, channels)
    result = mixed([mixing], examples)
    assert_same(result, mixed_in_tf_data([mixing], examples))
    other = mixed([mixing], examples, engine=TensorFlow())
    assert np.abs(result["image"].astype(int) - other["image"]).max() <= 1
    assert_same(result, other, ["label_parts", "label_shares", "classes", "boxes", "points"])


@pytest.mark.parametrize("mixing", MIXINGS, ids=IDS)
def test_without_objects_or_labels(mixing: Mixing) -> None:
    if mixing.needs:
        return
    examples = {name: values for name, values in scenes().items() if name in ("id", "epoch", "image")}
    assert set(mixed([mixing], examples)) == {"id", "epoch", "image"}


@pytest.mark.parametrize("mixing", MIXINGS, ids=IDS)
def test_not_drawn_is_no_change(mixing: Mixing) -> None:
    examples = scenes(3)
    result = mixed([mixing.model_copy(update={"probability": 0.0})], examples)
    assert_same(result, examples, ["image", "mask", "labels", "value", "label", "text"])
    slots = examples["classes"].shape[1]
    for name in ("classes", "boxes", "corners", "points", "masks", "difficult"):
        exact = not isinstance(mixing, Mosaic) or name in ("classes", "masks", "difficult")
        np.testing.assert_allclose(result[name][:, :slots], examples[name], atol=0 if exact else 1e-6, err_msg=name)
        assert not (result[name][:, slots:] + (name == "classes")).any()
    np.testing.assert_array_equal(
        result["label_parts"], np.tile(examples["label"][:, None], result["label_parts"].shape[1])
    )
    assert (result["label_shares"][:, 0] == 1).all() and not result["label_shares"][:, 1:].any()


def test_each_example_is_drawn_by_itself() -> None:
    shares = mixed([CutMix(probability=0.5)], scenes(1, pictures=400))["label_shares"][:, 1]
    assert 0.4 < (shares > 0).mean() < 0.55


def test_partners_are_the_others_of_the_group() -> None:
    keys = random.keys(tf.strings.as_string(tf.range(4000)), tf.zeros(4000, tf.int64), 0)
    partners = MixUp().partners(random.uniform(keys, 0, 2)).numpy()
    place = np.arange(4000)
    assert (partners // 4 == place // 4).all() and (partners != place).all()
    counts = np.bincount((partners - place) % 4, minlength=4)
    assert stats.chisquare(counts[1:]).pvalue > 1e-3


@pytest.mark.parametrize("mixing", MIXINGS, ids=IDS)
def test_a_group_is_the_same_alone(mixing: Mixing) -> None:
    examples = scenes(2)
    together = mixed([mixing], examples)
    alone = mixed([mixing], {name: values[4:] for name, values in examples.items()})
    parts = alone.pop("label_parts")
    np.testing.assert_array_equal(together.pop("label_parts")[4:], parts)
    assert_same({name: values[4:] for name, values in together.items()}, alone)


def test_mosaic_at_half_size_shows_all_four_whole() -> None:
    examples = scenes(1)
    examples["image"] = np.broadcast_to(examples["label"][:, None, None, None] * 20, examples["image"].shape).astype(
        np.uint8
    )
    result = mixed([Mosaic(scale=(0.5, 0.5))], examples)
    np.testing.assert_allclose(result["label_shares"], 0.25)
    for picture, parts in zip(result["image"][..., 0], result["label_parts"], strict=True):
        assert sorted(parts // 4) == [parts[0] // 4] * 4 and len(set(parts)) == 4
        quadrants = np.block([[np.full((8, 6), parts[0] * 20), np.full((8, 6), parts[1] * 20)],
                              [np.full((8, 6), parts[2] * 20), np.full((8, 6), parts[3] * 20)]])  # fmt: skip
        np.testing.assert_array_equal(picture, quadrants)


def test_shares_of_a_mosaic_are_those_of_its_pixels() -> None:
    examples = scenes(1)
    examples["image"] = np.broadcast_to(examples["label"][:, None, None, None] * 20, examples["image"].shape).astype(
        np.uint8
    )
    result = mixed([Mosaic(scale=(0.6, 1.5))], examples)
    for picture, parts, shares in zip(
        result["image"][..., 0], result["label_parts"], result["label_shares"], strict=True
    ):
        seen = [(picture == part * 20).mean() for part in parts]
        np.testing.assert_allclose(seen, shares, atol=1.5 / WIDTH + 1.5 / HEIGHT)


def planned(*operations: Augmentation) -> list:
    keys = random.keys(tf.strings.as_string(tf.range(4)), tf.zeros(4, tf.int64), 0)
    return plan.fuse(plan.transforms(operations, keys, PictureShape(HEIGHT, WIDTH, 3)))


def test_a_mosaic_is_resampled_once_with_what_follows() -> None:
    steps = planned(Mosaic(), HorizontalFlip(), Rotation(), MixUp())
    assert [type(step).__name__ for step in steps] == ["Tile", "Warp", "Blend"]
    assert steps[1].size == (HEIGHT, WIDTH)
    assert [type(step) for step in planned(Mosaic(fill=ReflectFill()), Rotation())] == [Tile, Warp, Warp]


@pytest.mark.parametrize("fill", [ConstantFill(value=77), ReflectFill(), NearestFill()])
def test_around_a_picture_without_mosaic_the_fill_is_seen(fill: AnyFill) -> None:
    """Though a canvas with room for three more pictures is what the fused resampling sees."""
    examples = {name: values for name, values in scenes().items() if name in ("id", "epoch", "image", "mask")}
    turn = Rotation(degrees=60, fill=fill)
    with_mosaic = mixed([Mosaic(probability=0.0, fill=fill), turn], examples)
    # The same draws: the number of an operation in the list decides them.
    without = mixed([HorizontalFlip(probability=0.0), turn], examples)
    assert np.abs(with_mosaic["image"].astype(int) - without["image"]).max() <= 1
    assert (with_mosaic["mask"] != without["mask"]).mean() < 0.01


def test_known_parts_of_a_label_count_alone() -> None:
    unknown = np.nan
    parts = tf.constant([[[1.0, unknown, unknown], [3.0, 5.0, unknown]], [[2.0, unknown, 1.0], [9.0, 9.0, 9.0]]])
    mean = known_mean(parts, tf.constant([[[0.25], [0.75]], [[1.0], [0.0]]])).numpy()
    np.testing.assert_allclose(mean, [[2.5, 5.0, unknown], [2.0, unknown, 1.0]])


def test_without_masks_boxes_stay_until_hidden() -> None:
    """A picture of 10 x 10 whose left half is covered."""
    region = np.zeros((1, 10, 10), bool)
    region[:, :, :5] = True
    objects = {
        "boxes": tf.constant(
            [[[0.0, 0.0, 1.0, 1.0], [0.0, 0.2, 0.5, 0.4], [0.1, 0.0, 0.6, 0.1], [0.6, 0.6, 0.9, 0.9]]]
        ),
        "classes": tf.constant([[3, 4, 5, 6]], tf.int64),
        "points": tf.constant([[[[0.4, 0.5, 2.0]], [[0.1, 0.3, 2.0]], [[0.55, 0.05, 1.0]], [[0.7, 0.7, 2.0]]]]),
    }
    left = uncovered(objects, tf.constant(region), 0.3)
    np.testing.assert_array_equal(left["classes"], [[3, -1, -1, 6]])
    np.testing.assert_array_equal(left["boxes"].numpy()[0, [0, 3]], objects["boxes"][0].numpy()[[0, 3]])
    np.testing.assert_array_equal(left["points"][0, :, 0, 2], [1.0, 0.0, 0.0, 2.0])
    np.testing.assert_array_equal(uncovered(objects, tf.constant(region), 0.2)["classes"], [[3, -1, 5, 6]])


def test_without_masks_pasted_boxes_are_clipped_to_the_rectangle() -> None:
    examples = {
        "image": tf.zeros([4, 10, 10, 1], tf.uint8),
        "boxes": tf.tile([[[0.1, 0.1, 0.9, 0.5], [0.0, 0.0, 0.3, 1.0]]], [4, 1, 1]),
        "classes": tf.tile(tf.constant([[1, 2]], tf.int64), [4, 1]),
    }
    result = Cut(tf.constant([1, 0, 3, 2]), tf.constant([[0, 5, 10, 10]] * 4), 0.1)(examples, OpenCV())
    np.testing.assert_array_equal(result["classes"], [[1, 2, 1, -1]] * 4)
    np.testing.assert_allclose(
        result["boxes"][0], [[0.1, 0.1, 0.9, 0.5], [0, 0, 0.3, 1], [0.5, 0.1, 0.9, 0.5], [0] * 4]
    )


@pytest.mark.parametrize("mixing", [MixUp, CutMix])
def test_an_alpha_that_mixes_nothing_is_refused(mixing: type[MixUp | CutMix]) -> None:
    with pytest.raises(ValueError, match="alpha"):
        mixing(alpha=1e-320)
    assert np.isfinite(beta(tf.constant([0.0, 0.3, 0.7, 0.999]), mixing(alpha=0.01).alpha).numpy()).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 8.0])
def test_draws_follow_the_beta_distribution(alpha: float) -> None:
    drawn = beta(tf.constant(np.random.default_rng(0).random(20000), tf.float32), alpha).numpy()
    assert drawn.min() >= 0.0 and drawn.max() <= 1.0
    assert stats.kstest(drawn, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_what_cannot_be_mixed_is_refused() -> None:
    flip, copy = HorizontalFlip(), CopyPaste()
    check_groups([flip], 7)
    check_groups([flip, copy], 8)
    with pytest.raises(ConfigError, match=r"`augment\.1` \(mosaic\) mixes groups of 4 .* replica is 6"):
        check_groups([flip, Mosaic()], 6)
    check_fields([copy], ["image", "masks"])
    with pytest.raises(ConfigError, match=r"`augment\.0` \(copy_paste\) needs the field 'masks', but .*image, boxes"):
        check_fields([copy], ["image", "boxes"])
    with pytest.raises(ValueError, match=r"0\.5 <= least <= largest"):
        Mosaic(scale=(0.4, 1.0))
