"""Objects and masks: from a source through `prepare`, the Store and tf.data to batches."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.data.example import RawExample, RawObject
from pipeline.data.input import InputSettings, evaluation_batches, training_batches
from pipeline.data.object_target import Objects
from pipeline.data.objects import mask_pixels, placed
from pipeline.data.pictures import BadPicture, StoredPicture
from pipeline.data.prepare import prepare
from pipeline.data.store import Store
from pipeline.diagnosis import DoctorSettings
from pipeline.diagnosis.examine import examine, subject_of
from pipeline.errors import ConfigError, DataError
from tests.data.planted import HEIGHT, WIDTH, filled, png, settings

PICTURE = StoredPicture(b"", HEIGHT, WIDTH, 3, "kept")


def by_id(store: Store) -> dict[str, dict[str, np.ndarray]]:
    """All examples, parsed in one batch a split."""
    found = {}
    for split, count in store.info.num_examples.items():
        batches = tf.data.TFRecordDataset(store.files(split)).batch(count).map(store.parse)
        batch = next(iter(batches.as_numpy_iterator()))
        found |= {name.decode(): {key: batch[key][place] for key in batch} for place, name in enumerate(batch["id"])}
    return found


def pixels(data: bytes) -> np.ndarray:
    return tf.io.decode_png(data).numpy()[..., 0]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return prepare(settings("boxes"), tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return prepare(settings("everything"), tmp_path_factory.mktemp("stores"))


def test_boxes_are_shares_and_padded(boxes: Store) -> None:
    assert boxes.info.fields == ("id", "image", "boxes", "classes")
    assert (boxes.info.class_names, boxes.info.max_objects) == (("disc", "ring"), 3)
    examples = by_id(boxes)
    assert len(examples) == 12
    np.testing.assert_array_equal(examples["2.png"]["classes"], [0, 1, -1])
    expected = np.float32([[0, 2 / 24, 8 / 40, 14 / 24], [4 / 40, 2 / 24, 12 / 40, 14 / 24], [0, 0, 0, 0]])
    np.testing.assert_array_equal(examples["2.png"]["boxes"], expected)
    assert examples["2.png"]["boxes"].dtype == np.float32
    for empty in ("0.png", "4.png", "5.png"):
        np.testing.assert_array_equal(examples[empty]["classes"], [-1, -1, -1])
        assert not examples[empty]["boxes"].any()


def test_one_record_parses_as_in_a_batch(everything: Store) -> None:
    batch = by_id(everything)
    for split in everything.info.num_examples:
        for one in tf.data.TFRecordDataset(everything.files(split)).map(everything.parse).as_numpy_iterator():
            for name, value in batch[one["id"].decode()].items():
                np.testing.assert_array_equal(one[name], value)


def test_objects_are_counted_by_class_and_split(boxes: Store) -> None:
    examples, statistics = by_id(boxes), boxes.statistics()
    classes = np.concatenate([row["classes"] for row in examples.values()])
    counts = np.array(list(boxes.info.class_counts.values()))
    np.testing.assert_array_equal(counts.sum(0), [np.sum(classes == 0), np.sum(classes == 1)])
    assert counts.sum(0).tolist() == [8, 9]  # the three of 5.png are not among them
    assert sum(split["count"] for split in statistics["objects"].values()) == 17
    assert sum(split["pictures_without"] for split in statistics["objects"].values()) == 4
    assert max(split["most_in_a_picture"] for split in statistics["objects"].values()) == 3


def test_objects_that_show_nothing_are_listed(boxes: Store) -> None:
    assert boxes.objects_left_out() == [
        {"id": "5.png", "where": "5.xml:0", "reason": "the box (3, 3, 3, 9) has no area"},
        {
            "id": "5.png",
            "where": "5.xml:1",
            "reason": "the box (60, 2, 70, 9) is outside the picture of 40 x 24 pixels",
        },
        {"id": "5.png", "where": "5.xml:2", "reason": "the box (nan, 0, 4, 4) is not finite"},
    ]
    assert boxes.statistics()["objects_left_out"] == 3
    assert any("3 objects were left out" in warning for warning in boxes.warnings())
    assert boxes.quarantine() == []


def test_every_optional_field(everything: Store) -> None:
    info = everything.info
    assert set(info.fields[4:]) == {"corners", "points", "difficult", "crowd", "masks", "mask"}
    assert (info.max_objects, info.num_points) == (3, 3)
    first, plain, empty = (by_id(everything)[name] for name in ("0.png", "1.png", "2.png"))
    np.testing.assert_allclose(first["boxes"][0], [0, 0, 0.5, 0.5])  # clipped
    np.testing.assert_allclose(first["boxes"][1], [2 / 40, 2 / 24, 18 / 40, 18 / 24])  # around its corners
    np.testing.assert_allclose(first["boxes"][2], [8 / 40, 4 / 24, 16 / 40, 20 / 24])  # around its mask
    np.testing.assert_allclose(first["corners"][1][0], [10 / 40, 2 / 24])
    np.testing.assert_allclose(first["corners"][0], [[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]])  # those of its box
    np.testing.assert_allclose(first["points"][0], [[0.5, 0.25, 2], [0, 0, 0], [0, 0, 0]])  # the last is outside
    assert not first["points"][1:].any()
    assert (first["difficult"].tolist(), first["crowd"].tolist()) == ([True, False, False], [False, True, False])
    np.testing.assert_array_equal(pixels(first["masks"][0]), filled((0, 0, 20, 12)))
    np.testing.assert_array_equal(pixels(first["masks"][1]), np.zeros((HEIGHT, WIDTH)))  # not known
    np.testing.assert_array_equal(pixels(first["masks"][2]), filled((8, 4, 16, 20)))
    np.testing.assert_array_equal(pixels(first["mask"]), filled((0, 0, 20, 12), 2))
    assert set(pixels(plain["mask"]).ravel()) == {255}
    assert empty["masks"].tolist() == [b"", b"", b""]


def test_tfds_reads_objects_and_masks(everything: Store) -> None:
    builder = tfds.builder_from_directory(everything.path)
    assert builder.info.features["classes"].feature.names == ["disc", "ring"]
    rows = [row for split in everything.info.num_examples for row in tfds.as_numpy(builder.as_dataset(split=split))]
    examples = by_id(everything)
    for row in rows:
        ours, count = examples[row["id"].decode()], len(row["classes"])
        for name in ("boxes", "classes", "corners", "points", "difficult", "crowd"):
            np.testing.assert_array_equal(row[name], ours[name][:count])
        np.testing.assert_array_equal(row["mask"][..., 0], pixels(ours["mask"]))
        assert len(row["masks"]) == count
        for mask, data in zip(row["masks"], ours["masks"], strict=False):
            np.testing.assert_array_equal(mask[..., 0], pixels(data))


def test_masks_alone(tmp_path: Path) -> None:
    store = prepare(settings("regions"), tmp_path)
    assert store.info.fields == ("id", "image", "mask")
    examples = by_id(store)
    np.testing.assert_array_equal(pixels(examples["4"]["mask"]), filled((0, 0, 8, 10), 1))
    assert store.objects_left_out() == []


@pytest.mark.parametrize(("content", "what"), [("everything", "objects"), ("regions", "masks")])
def test_labels_of_parts_of_a_picture_are_not_masked(tmp_path: Path, content: str, what: str) -> None:
    asked = settings(content, missing_labels="mask")
    with pytest.raises(
        ConfigError, match=f"`data.missing_labels` is mask, but the source gives {what}: .* Leave"
    ) as told:
        prepare(asked, tmp_path)
    assert told.value.place == ("data", "missing_labels")
    with pytest.raises(ConfigError, match="is mask, but the source gives"):
        examine(subject_of(asked), DoctorSettings())
    examine(subject_of(settings(content)), DoctorSettings())


def test_places_are_of_the_picture_as_it_is_shown(tmp_path: Path) -> None:
    """A JPEG that EXIF turns: the box of the upright picture is where the square is in what is stored."""
    store = prepare(settings("on_its_side", missing_classes="warn"), tmp_path)
    assert store.statistics()["changes"] == {"kept": 3, "turned upright": 1}
    example = by_id(store)["0"]
    shown = tf.io.decode_image(example["image"]).numpy()
    assert shown.shape[:2] == (HEIGHT, WIDTH)
    x_min, y_min, x_max, y_max = np.round(example["boxes"][0] * (WIDTH, HEIGHT, WIDTH, HEIGHT)).astype(int)
    assert shown[y_min:y_max, x_min:x_max].mean() > 250
    assert shown.sum() - shown[y_min:y_max, x_min:x_max].sum() < 0.02 * shown.sum()
    np.testing.assert_array_equal(pixels(example["masks"][0]), filled((30, 4, 38, 12)))


class Trivial:
    """As much of a Task as the input pipeline asks for: the batch as it comes, as inputs and as targets."""

    picture = PictureFormat(height=8, width=8)

    def encode(self, example):
        return example, {"classes": example["classes"]}

    def require_suited(self, operations):
        assert operations == ()

    def conditions(self, batch):
        return {}


def assert_unharmed(example: dict[str, np.ndarray], stored: dict[str, np.ndarray]) -> None:
    """As in the store; masks are decoded and of the model's size, with no value that was not there."""
    for name in set(stored) - {"id", "image", "mask", "masks"}:
        np.testing.assert_array_equal(example[name], stored[name])
    assert example["mask"].shape == (8, 8, 1)
    assert set(example["mask"].ravel()) == set(pixels(stored["mask"]).ravel())
    assert example["masks"].shape == (3, 8, 8)
    for mask, data in zip(example["masks"], stored["masks"], strict=True):
        share = pixels(data).mean() if data else 0.0
        assert mask.mean() == pytest.approx(share, abs=0.1)
        assert mask.max() == (share > 0)


@pytest.mark.parametrize("cache", ["decoded", "encoded", "none"])
def test_training_batches_carry_them_unharmed(everything: Store, cache: str) -> None:
    stored = by_id(everything)
    batches = training_batches(everything, Trivial(), (), InputSettings(cache=cache), batch_size=4, seed=0)
    for inputs, targets in batches.take(4).as_numpy_iterator():
        assert targets["classes"].shape == (4, 3)
        for place, name in enumerate(inputs["id"]):
            assert_unharmed({field: inputs[field][place] for field in inputs}, stored[name.decode()])


def test_evaluation_batches_carry_them_unharmed(everything: Store) -> None:
    stored, seen = by_id(everything), []
    for batch in evaluation_batches(everything, Trivial(), "train", 4).as_numpy_iterator():
        assert batch["image"].shape == (4, 8, 8, 3)
        for place in np.flatnonzero(batch["real"]):
            name = batch["id"][place].decode()
            seen.append(name)
            assert_unharmed({field: batch[field][place] for field in batch}, stored[name])
        assert set(batch["classes"][~batch["real"]].ravel()) <= {-1}
    assert len(seen) == len(set(seen)) == everything.info.num_examples["train"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (RawObject("a"), "neither box, corners, mask nor a labelled point"),
        (RawObject("a", (0, 0, 4, 4), corners=[(0, 0), (1, 1)]), "expected four corners"),
        (RawObject("a", mask=np.zeros((HEIGHT, WIDTH), bool)), "its mask is empty"),
        (RawObject("a", mask=np.ones((WIDTH, HEIGHT), bool)), r"its mask has the shape \[40, 24\]"),
        (RawObject("a", mask=b"no"), "its mask cannot be read"),
        (RawObject("a", (40, 0, 44, 4)), "is outside"),
        (RawObject("a", (-9, 0, 1e-60, 4)), "has no area"),
    ],
)
def test_why_objects_are_left_out(raw: RawObject, reason: str) -> None:
    example, left_out = placed(
        RawExample("1", b"", objects=[raw, RawObject("b", (0, 0, 4, 4))], where="w"), PICTURE, {"corners", "masks"}
    )
    assert [one.label for one in example.objects] == ["b"]
    (one,) = left_out
    assert (one.number, one.where) == (0, "w")
    assert re.search(reason, one.reason)


def test_box_around_visible_points() -> None:
    raw = RawObject("a", points=[(10, 6, 2), (0, 0, 0), (20, 12, 1)])
    (found,) = placed(RawExample("1", b"", objects=[raw]), PICTURE, ())[0].objects
    assert found.box == pytest.approx((0.25, 0.25, 0.5, 0.5))


def test_a_mask_that_is_not_of_the_picture() -> None:
    with pytest.raises(BadPicture, match=r"shape \[24, 24\], the upright picture \[24, 40\]"):
        mask_pixels(np.zeros((24, 24), np.uint8), PICTURE)
    with pytest.raises(BadPicture, match="mode RGB"):
        mask_pixels(png(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), PICTURE)
    with pytest.raises(BadPicture, match="int64, expected uint8"):
        mask_pixels(np.zeros((HEIGHT, WIDTH), np.int64), PICTURE)


def test_what_cannot_be_learned_from() -> None:
    target = Objects(None)
    with pytest.raises(DataError, match="no list of objects"):
        target.collect(RawExample("1", b"", where="1.png"))
    target.collect(RawExample("1", b"", objects=[RawObject("a", points=[(0, 0, 1)])], where="1.png"))
    with pytest.raises(DataError, match="2 key points, but other objects have 1"):
        target.collect(RawExample("2", b"", objects=[RawObject("a", points=[(0, 0, 1)] * 2)], where="2.png"))
    target = Objects(None)
    target.collect(RawExample("1", b"", objects=[RawObject("a", (0, 0, 1, 1))], where="1.png"))
    target.leave_out(0, 0)
    with pytest.raises(DataError, match="No picture has any object"):
        target.check(np.zeros(1, np.int8), "auto")
