"""Which pixels are known, as a channel of the picture: in the store, through augmentation, into the model, exported."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import keras, tf
from pipeline import augment, drawing
from pipeline.augment.base import PictureOperation
from pipeline.augment.colour import ColourJitter
from pipeline.augment.crops import RandomResizedCrop
from pipeline.augment.geometry import HorizontalFlip, Rotation, Translation
from pipeline.augment.mixing import CutMix, MixUp, Mosaic
from pipeline.augment.noise import GaussianNoise
from pipeline.augment.policies import AugMix
from pipeline.data.input import InputSettings, evaluation_batches, reading_of, training_batches
from pipeline.data.known import ReadingOfKnown
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.store import Store
from pipeline.errors import DataError
from pipeline.export.metadata_reader import Preparation, prepare_picture
from pipeline.tasks.classification import Classification

SIDE = 16
HOLE = np.zeros((SIDE, SIDE), bool)
HOLE[4:12, 2:8] = True


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def coloured(number: int) -> np.ndarray:
    """A plain picture, red or green, with a hole of an odd colour."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8) + 40
    pixels[..., number % 2] = 150 + number
    pixels[HOLE] = (9, 250, 7)
    return pixels


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve PNG files, half of them with a mask that marks the hole."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "hole.png").write_bytes(png(HOLE.astype(np.uint8)))
    rows = ["image,kind,split,holes"]
    for number in range(12):
        (folder / f"{number}.png").write_bytes(png(coloured(number)))
        split = "val" if number >= 8 else "train"
        rows.append(f"{number}.png,{'ab'[number % 2]},{split},{'hole.png' if number % 4 < 2 else ''}")
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    return folder / "t.csv"


def store_of(table: Path, **regions: Any) -> Store:
    columns = {"label_column": "kind", "split_column": "split", "missing_column": "holes"}
    source = {"kind": "table", "path": str(table), **columns}
    return prepare(DataSettings.model_validate({"source": source, "missing_regions": regions}), table.parent / "stores")


@pytest.fixture(scope="module")
def store(table: Path) -> Store:
    return store_of(table, mark=True, fill={"kind": "zero"})


def task_of(store: Store, channels: int = 4, **picture: Any) -> Classification:
    format = PictureFormat(height=SIDE, width=SIDE, channels=channels, **picture)
    backbone = {"kind": "small_resnet", "depth": 6, "widths": [8, 8]}
    return Classification.model_validate({"picture": format.model_dump(), "backbone": backbone}).resolve(store.info)


# ------------------------------------------------------------------------------------------------- decoding


@pytest.mark.parametrize("channels", [2, 4])
def test_a_transparent_pixel_is_a_missing_one(channels: int) -> None:
    alpha = np.where(HOLE, 0, 255).astype(np.uint8)
    alpha[0, 0] = 1  # hardly to be seen, but there
    rgba = np.dstack([coloured(1), alpha])
    for missing, beneath in (("zero", (0, 0, 0)), ("mean", (40, 151, 40)), ("kept", (9, 250, 7))):
        format = PictureFormat(height=SIDE, width=SIDE, channels=channels, missing=missing)
        decoded = preprocess.decode_picture(tf.constant(png(rgba)), format).numpy()
        plain = preprocess.decode_picture(tf.constant(png(coloured(1))), PictureFormat(channels=format.colours)).numpy()
        np.testing.assert_array_equal(decoded[..., -1], np.where(HOLE, 0, 255))
        np.testing.assert_array_equal(decoded[~HOLE, :-1], plain[~HOLE])
        expected = np.array(beneath) if channels == 4 else {"zero": 0, "mean": plain[0, 0, 0]}.get(missing, plain[5, 5])
        assert (decoded[HOLE, :-1] == expected).all()


def test_what_has_no_transparency_is_all_known() -> None:
    for data in (png(coloured(0)), png(coloured(0)[..., 0]), jpeg(coloured(0))):
        for channels in (2, 4):
            for fit in ("stretch", "crop"):
                format = PictureFormat(height=8, width=10, channels=channels, fit=fit)
                both = preprocess.decode_and_fit(tf.constant(data), format).numpy()
                alone = PictureFormat(height=8, width=10, channels=channels - 1, fit=fit)
                np.testing.assert_array_equal(both[..., :-1], preprocess.decode_and_fit(tf.constant(data), alone))
                assert both.shape == format.shape and (both[..., -1] == 255).all()


def test_a_picture_of_which_nothing_is_known() -> None:
    data = png(np.zeros((4, 4, 4), np.uint8) + np.array([9, 9, 9, 0], np.uint8))
    format = PictureFormat(height=4, width=4, channels=4, missing="mean")
    assert not preprocess.decode_and_fit(tf.constant(data), format).numpy().any()


def test_bars_are_not_known() -> None:
    format = PictureFormat(height=8, width=16, channels=4, fit="letterbox")
    picture = preprocess.decode_and_fit(tf.constant(jpeg(coloured(0))), format).numpy()
    assert (picture[:, :4, :3] == preprocess.LETTERBOX_GREY).all() and not picture[:, :4, 3].any()
    assert (picture[:, 4:12, 3] == 255).all()


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
@pytest.mark.parametrize("missing", ["zero", "mean", "kept"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_pillow_comes_to_the_same(fit: Any, missing: Any, mode: str) -> None:
    rgba = np.dstack([coloured(1), np.where(HOLE, 0, 255).astype(np.uint8)])
    data = png(np.asarray(Image.fromarray(rgba).convert(mode)))
    format = PictureFormat(height=9, width=12, channels=len(mode), fit=fit, missing=missing)
    client = prepare_picture(data, Preparation(9, 12, mode, 0.0, 1.0), fit, missing)
    ours = preprocess.decode_and_fit(tf.constant(data), format).numpy()
    assert np.abs(client.astype(int) - ours).mean() < 1.0


# ------------------------------------------------------------------------------------------------- store


def test_the_store_keeps_what_is_missing(store: Store, table: Path) -> None:
    assert store.info.marks_missing and not store_of(table).info.marks_missing
    task = task_of(store)
    batch = next(evaluation_batches(store, task, "train", 8).as_numpy_iterator())
    by_id = dict(zip(batch["id"], batch["image"], strict=True))
    for number in range(8):
        picture = by_id[f"{number}.png".encode()]
        hole = HOLE if number % 4 < 2 else np.zeros_like(HOLE)
        np.testing.assert_array_equal(picture[..., 3], np.where(hole, 0, 255))
        assert not picture[hole].any()
        np.testing.assert_array_equal(picture[~hole, :3], coloured(number)[~hole])
    alone = next(evaluation_batches(store, task_of(store, 3), "train", 8).as_numpy_iterator())
    np.testing.assert_array_equal(alone["image"], batch["image"][..., :3])


def test_a_jpeg_with_a_hole_becomes_a_png(tmp_path: Path) -> None:
    (tmp_path / "hole.png").write_bytes(png(HOLE.astype(np.uint8)))
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(coloured(number)))
    rows = [f"{number}.jpg,{'ab'[number % 2]},{'train' if number < 2 else 'val'},hole.png" for number in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["image,kind,split,holes", *rows]) + "\n")
    store = store_of(tmp_path / "t.csv", mark=True, fill={"kind": "mean"})
    batch = next(evaluation_batches(store, task_of(store, missing="kept"), "train", 2).as_numpy_iterator())
    assert (batch["image"][:, HOLE, 3] == 0).all() and batch["image"][:, HOLE, :3].min() > 20
    assert store.statistics()["channels"] == 3


def test_a_store_without_it_is_refused(table: Path) -> None:
    with pytest.raises(DataError, match=r"task\.picture\.channels is 4.*missing_regions\.mark=true"):
        task_of(store_of(table))


# ------------------------------------------------------------------------------------------------- augmentation


def first(store: Store, operations: tuple[PictureOperation, ...], cache: Any = "auto", **picture: Any) -> Any:
    task = task_of(store, **picture)
    batches = training_batches(store, task, operations, InputSettings(cache=cache), 8, seed=3)
    return next(iter(batches.as_numpy_iterator()))[0]["image"]


@pytest.mark.parametrize("cache", ["decoded", "encoded", "none"])
@pytest.mark.parametrize("channels", [2, 4])
def test_the_channel_moves_with_the_picture(store: Store, cache: Any, channels: int) -> None:
    """Missing pixels are black and all others are not, so the two always tell the same."""
    moved = (RandomResizedCrop(area=(0.5, 0.9)), HorizontalFlip(), Translation(fill={"kind": "constant", "value": 0}))
    pictures = first(store, moved, cache, channels=channels)
    assert pictures.shape == (8, SIDE, SIDE, channels)
    known, black = pictures[..., -1] > 127, pictures[..., :-1].max(axis=-1) < 20
    assert (known != black).mean() > 0.97  # but for blurred edges
    assert (~known).any(axis=(1, 2)).sum() >= 4


def test_colour_and_noise_leave_the_channel_alone(store: Store) -> None:
    plain, changed = first(store, ()), first(store, (ColourJitter(hue=0.2), GaussianNoise(deviation=(0.1, 0.1))))
    np.testing.assert_array_equal(plain[..., 3], changed[..., 3])
    assert (plain[..., :3] != changed[..., :3]).any()


def test_what_moves_uncover_is_not_known_whatever_its_fill(store: Store) -> None:
    white = {"kind": "constant", "value": 255}
    pictures = first(store, (Rotation(degrees=45, fill=white), Translation(height=0.4, width=0.4, fill=white)))
    uncovered = (pictures[..., :3] == 255).all(axis=-1)
    assert uncovered.mean() > 0.1 and not pictures[uncovered][:, 3].any()


def test_mixing_takes_it_along(store: Store) -> None:
    for mixing in (CutMix(), Mosaic()):
        pictures = first(store, (mixing,))
        known, black = pictures[..., 3] > 127, pictures[..., :3].max(axis=-1) < 20
        assert (known != black).mean() > 0.97
    both = first(store, (MixUp(alpha=5.0),))
    assert len(np.unique(both[..., 3])) > 3  # as much as is known of both


def test_augmix_moves_nothing_here(store: Store) -> None:
    reading = reading_of(store, task_of(store), (AugMix(),), InputSettings(), 8, 0)
    assert isinstance(reading, ReadingOfKnown) and "rotation" not in reading.operations[0].operations
    np.testing.assert_array_equal(first(store, (AugMix(),))[..., 3], first(store, ())[..., 3])


def test_it_is_drawn_as_chequers(store: Store) -> None:
    picture = first(store, ())[0:1]
    pixels = np.asarray(drawing.drawn({"image": picture[0]}, drawing.Names()))
    missing = picture[0, ..., 3] == 0
    assert set(np.unique(pixels[missing])) <= {200, 235}
    np.testing.assert_array_equal(pixels[~missing], picture[0, ~missing, :3])


# ------------------------------------------------------------------------------------------------- model


@pytest.mark.parametrize("channels", [2, 4])
def test_a_model_takes_it_and_learns_from_it(table: Path, channels: int) -> None:
    store = store_of(table, mark=True)
    task = task_of(store, channels)
    keras.utils.set_random_seed(0)
    model = task.build()
    assert model.input_shape == (None, SIDE, SIDE, channels)
    picture = np.full((1, SIDE, SIDE, channels), 90, np.uint8)
    answers = []
    for value in (0, 255):
        picture[..., -1] = value
        answers.append(model(picture)["logits"].numpy())
    assert np.abs(answers[0] - answers[1]).max() > 1e-3
    model.compile("adam", loss=task.losses(), run_eagerly=True)  # two steps are not worth tracing
    history = model.fit(training_batches(store, task, (), InputSettings(), 8, seed=0), steps_per_epoch=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_fields_are_apart_while_augmented(store: Store) -> None:
    """`known` is a field that an operation sees, beside a picture of colours alone."""
    examples = {
        "id": tf.constant(["a"]),
        "epoch": tf.constant([0], tf.int64),
        "image": tf.constant(coloured(0)[np.newaxis]),
        "known": tf.constant(np.where(HOLE, 0, 255).astype(np.uint8)[np.newaxis, ..., np.newaxis]),
    }
    result = augment.apply([HorizontalFlip(probability=1)], examples, 0)
    np.testing.assert_array_equal(result["known"], examples["known"].numpy()[:, :, ::-1])
