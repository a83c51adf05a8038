"""Pairs of crops: what they show, how far apart they are, and that a store and the task take them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.example import RawExample, RawObject, content_of
from pipeline.data.input import evaluation_batches
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources.csv_boxes import CsvBoxes
from pipeline.data.sources.followed import FollowedSequences
from pipeline.data.sources.scenes import SceneSequences
from pipeline.data.sources.template_pairs import TemplatePairs, in_pixels_of_picture, tracks_of
from pipeline.data.sources.voc import PascalVoc
from pipeline.errors import DataError
from pipeline.tasks.single_object import SingleObjectTracking

SIDE, FRAMES, OBJECT = 48, 8, 12
RED = np.array([200, 30, 30])
SMALL: dict[str, Any] = {"network": {"stride": 16, "template_cells": 1}}


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> FollowedSequences:
    """A red square that moves over blue, five pixels a frame."""
    folder, lines = tmp_path_factory.mktemp("moving"), []
    for frame in range(FRAMES):
        pixels = np.full((80, 100, 3), (30, 30, 200), np.uint8)
        x = 10 + 5 * frame
        pixels[30 : 30 + OBJECT, x : x + OBJECT] = RED
        Image.fromarray(pixels).save(folder / f"{frame + 1}.png")
        lines.append(f"{x},30,{OBJECT},{OBJECT}\n")
    (folder / "groundtruth.txt").write_text("".join(lines), encoding="utf-8")
    return FollowedSequences(path=folder)


def pairs(source: Any, **settings: Any) -> list[RawExample]:
    return list(TemplatePairs(sources=(source,), **{"side": SIDE, "light": 0.0, **settings}).examples())


def halves(example: RawExample) -> tuple[np.ndarray, np.ndarray]:
    """Search and template crop."""
    pixels = np.asarray(Image.open(io.BytesIO(content_of(example.image))))
    assert pixels.shape == (2 * SIDE, SIDE, 3)
    return pixels[:SIDE], pixels[SIDE:]


def is_red(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(pixels[..., 0].astype(int) - pixels[..., 2] > 60)


def frames_of(example: RawExample) -> tuple[int, int]:
    """Line of the search crop and of the template."""
    search, template = example.where.removesuffix(")").split(" (template: ")
    return int(search.rpartition(":")[2]), int(template.rpartition(":")[2])


def test_the_box_is_around_the_object_and_the_template_in_the_middle(moving: FollowedSequences) -> None:
    found = pairs(moving, absent=0.0, pairs=12)
    assert [one.id for one in found[:2]] == [f"{Path(moving.path).name}/track 1/{number:04}" for number in range(2)]
    for example in found:
        search, template = halves(example)
        assert example.objects is not None
        assert example.objects[0].box is not None
        x_min, y_min, x_max, y_max = np.array(example.objects[0].box) * (SIDE, 2 * SIDE, SIDE, 2 * SIDE)
        rows, columns = np.nonzero(is_red(search))
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(edges, (x_min, y_min, x_max, y_max), atol=1.5)
        rows, columns = np.nonzero(is_red(template))
        middle = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
        np.testing.assert_allclose(middle, (SIDE / 2, SIDE / 2), atol=1.5)


def test_pairs_are_no_further_apart_than_asked_for(moving: FollowedSequences) -> None:
    apart = [abs(search - template) for search, template in map(frames_of, pairs(moving, max_apart=2, pairs=40))]
    assert set(apart) == {0, 1, 2}


def test_some_search_crops_do_not_show_the_object(moving: FollowedSequences) -> None:
    found = pairs(moving, absent=0.5, pairs=60)
    without = [one for one in found if not one.objects]
    assert 15 <= len(without) <= 45
    for example in without:
        search, template = halves(example)
        assert not is_red(search).any()
        assert is_red(template).any()


def test_each_crop_has_its_own_light(moving: FollowedSequences) -> None:
    dark = [halves(one) for one in pairs(moving, light=0.5, pairs=20, absent=0.0)]
    ratios = [search.max(initial=1) / template.max(initial=1) for search, template in dark]
    assert max(ratios) > 1.3
    assert min(ratios) < 0.8


def test_the_template_alone_is_turned(moving: FollowedSequences) -> None:
    def widths(half: int) -> np.ndarray:
        seen = [np.nonzero(is_red(halves(one)[half]).any(axis=0))[0] for one in found]
        return np.array([columns.max() + 1 - columns.min() for columns in seen])

    found = pairs(moving, turn=45.0, absent=0.0, scale=0.0, shift=0.0, pairs=20)
    assert widths(0).max() <= OBJECT + 1
    assert widths(1).min() <= OBJECT + 2
    assert widths(1).max() >= OBJECT * 1.3  # of a square turned by 45 degrees it is 1.41


def test_the_seed_decides(moving: FollowedSequences) -> None:
    first, again, other = (pairs(moving, seed=seed, pairs=5) for seed in (1, 1, 2))
    assert [content_of(one.image) for one in first] == [content_of(one.image) for one in again]
    assert [one.where for one in first] != [one.where for one in other]


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    pixels = np.zeros((60, 60, 3), np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    table = tmp_path / "boxes.csv"
    rows = [
        "image,x_min,y_min,x_max,y_max,class",
        "a.png,10,10,30,30,cat",
        "a.png,40,40,50,50,dog",
        "b.png,5,5,7,30,cat",
    ]
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def test_objects_of_single_pictures_are_pairs_with_themselves(stills: Path) -> None:
    found = pairs(CsvBoxes(path=stills), pairs=2)
    names = [one.id.rpartition("/")[0] for one in found]
    assert names == [
        "a.png/object 0",
        "a.png/object 0",
        "a.png/object 1",
        "a.png/object 1",
    ]  # that of b.png is too thin


def test_boxes_in_shares_are_of_their_picture(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    table = tmp_path / "boxes.csv"
    table.write_text("image,x_min,y_min,x_max,y_max,class\na.png,0.2,0.25,0.4,0.5,cat\n", encoding="utf-8")
    (example,) = CsvBoxes(path=table, unit="picture").examples()
    (track,) = tracks_of("", [in_pixels_of_picture(example)])
    assert track.sights[0].box.tolist() == [10, 10, 20, 20]


def test_a_picture_that_cannot_be_used_is_set_aside_once(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    table = tmp_path / "boxes.csv"
    rows = [f"{name}.png,0.2,0.25,0.4,0.5,cat" for name in "abc"]
    table.write_text("\n".join(["image,x_min,y_min,x_max,y_max,class", *rows]) + "\n", encoding="utf-8")
    source = TemplatePairs(sources=(CsvBoxes(path=table, unit="picture"),), side=SIDE, pairs=1)
    assert [(one.id, one.unusable, one.objects == ()) for one in source.examples() if one.unusable] == [
        ("b.png", f"the file {tmp_path / 'b.png'} does not exist", True),
        ("c.png", "not a picture in any format that Pillow reads", True),
    ]
    assert [one.id for one in source.examples() if not one.unusable] == ["a.png/object 0/0000"]


def test_labels_that_cannot_be_read_are_in_the_quarantine(tmp_path: Path) -> None:
    for number in range(8):
        Image.new("RGB", (60, 60), (number, 0, 0)).save(tmp_path / f"{number}.png")
        box = "<xmin>10</xmin><ymin>10</ymin><xmax>30</xmax><ymax>30</ymax>"
        xml = f"<annotation><object><name>cat</name><bndbox>{box}</bndbox></object></annotation>"
        (tmp_path / f"{number}.xml").write_text(xml if number else xml[:50], encoding="utf-8")
    source = TemplatePairs(sources=(PascalVoc(path=tmp_path),), side=SIDE, pairs=2)
    store = prepare(DataSettings(source=source, max_bad_pictures=1), tmp_path / "stores")
    assert [row["id"] for row in store.quarantine()] == ["0"]
    assert sum(store.info.num_examples.values()) == 7 * 2


def test_objects_that_cannot_be_used_are_counted_and_named(tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    rows = ["10,10,30,30,cat", "10,10,30,,cat", "10,10,10,30,cat", "10,10,inf,30,cat", "10,10,12,30,cat"]
    table.write_text(
        "\n".join(["x_min,y_min,x_max,y_max,class,image", *(f"{row},a.png" for row in rows)]), encoding="utf-8"
    )
    source = TemplatePairs(sources=(CsvBoxes(path=table),), side=SIDE, pairs=1)
    assert [one.id for one in source.examples()] == ["a.png/object 0/0000"]
    assert source.warnings() == [
        f"3 objects were passed over, since they cannot be used: {table}:3 (expected four numbers in x_min, y_min, "
        f"x_max, y_max, found ['10', '10', '30', '']), {table}:4 (its box has no area), {table}:5 (its box is not "
        "finite)."
    ]


def test_an_object_without_a_box_is_refused() -> None:
    example = RawExample(id="a", image=b"", objects=[RawObject("cat", mask=b"")], where="a.json")
    with pytest.raises(DataError, match=r"a\.json: pairs are cut around boxes"):
        tracks_of("", [example])


def test_several_sources_come_one_after_the_other(moving: FollowedSequences, stills: Path) -> None:
    found = list(TemplatePairs(sources=(moving, CsvBoxes(path=stills)), side=SIDE, pairs=1).examples())
    assert [one.id.split("/")[0] for one in found] == ["0", "1", "1"]
    assert [one.id.rpartition("/")[0] for one in found][1:] == ["1/a.png/object 0", "1/a.png/object 1"]


def test_a_store_of_pairs_is_what_the_task_takes(tmp_path: Path) -> None:
    scenes = SceneSequences(
        train=1, validation=1, test=0, frames=4, height=64, width=64, digits=(1, 2), scale=(0.2, 0.3)
    )
    store = prepare(DataSettings(source=TemplatePairs(sources=(scenes,), side=SIDE, pairs=3, absent=0.5)), tmp_path)
    assert store.info.max_objects == 1
    assert store.info.picture_sizes["train"] == (2 * SIDE, SIDE, 2 * SIDE, SIDE)
    task = SingleObjectTracking.model_validate({"picture": {"height": 2 * SIDE, "width": SIDE}, **SMALL})
    assert task.resolve(store.info) == task
    batch = next(iter(evaluation_batches(store, task, "train", store.info.num_examples["train"])))
    targets = task.encode(batch)[1]["place_scores"].numpy()
    there = targets[:, 4] > 0
    assert {True, False} == set(there.tolist())
    np.testing.assert_allclose(targets[there, :4], batch["boxes"].numpy()[there, 0] * (1, 2, 1, 2), rtol=1e-6)
    assert targets[there, :4].max() <= 1.0


def test_pictures_with_several_objects_are_not_pairs(tmp_path: Path) -> None:
    scenes = SceneSequences(train=1, validation=0, test=0, frames=3, height=64, width=64, digits=(2, 3))
    info = prepare(DataSettings(source=scenes), tmp_path).info
    with pytest.raises(DataError, match=r"data\.source\.kind=template_pairs"):
        SingleObjectTracking().resolve(info)
