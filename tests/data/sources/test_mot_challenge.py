"""MOTChallenge's folders: what is an object, what is ignored, how sequences are split, and what is wrong with them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from pipeline.data.example import CLASSES, CROWD, DIFFICULT, TRACKS, VISIBLE, RawObject
from pipeline.data.input import evaluation_batches
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources.mot_challenge import NAMES, MotChallenge
from pipeline.data.sources.template_pairs import TemplatePairs, tracks_of
from pipeline.errors import DataError
from pipeline.tasks import Detection
from pipeline.tracking.mot import read
from pipeline.tracking.stored import StoredSequence

WIDTH, HEIGHT = 40, 30
WALKER = "1,11,21,10,5,1,1,0.8"
"""An id and what follows it: the box from 10, 20 to 20, 25 of a pedestrian."""


def sequence(folder: Path, lines: Sequence[str], frames: int = 3, info: str = "", suffix: str = ".png") -> Path:
    """A folder as the benchmark has it, its frames without any content."""
    (folder / "img1").mkdir(parents=True)
    for number in range(1, frames + 1):
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(folder / "img1" / f"{number:06}{suffix}")
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / "seqinfo.ini").write_text(
        info
        or f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate=25\nseqLength={frames}\nimWidth={WIDTH}\n"
        f"imHeight={HEIGHT}\nimExt={suffix}\n"
    )
    return folder


def walking(frames: int = 3) -> list[str]:
    return [f"{frame},{WALKER}" for frame in range(1, frames + 1)]


def objects(folder: Path, *lines: str, **settings: Any) -> list[RawObject]:
    """Of the first frame."""
    source = MotChallenge(path=sequence(folder, lines, frames=1), **settings)
    return list(next(source.examples()).objects or ())


def summed_up(one: RawObject) -> tuple[Any, ...]:
    return one.label, one.track, one.difficult, one.crowd, one.visible


def test_pedestrians_are_objects_and_all_else_is_ignored(tmp_path: Path) -> None:
    walker, flagged, car, crowd = objects(
        tmp_path, f"1,{WALKER}", "1,2,1,1,4,4,0,1,1", "1,3,1,1,4,4,1,3,0.5", "1 4 1 1 9 9 0 13 1"
    )
    assert summed_up(walker) == ("pedestrian", 1, False, False, 0.8)
    assert (walker.box, walker.unit, walker.where) == ((10, 20, 20, 25), "pixel", f"{tmp_path}/gt/gt.txt:1")
    assert summed_up(flagged) == ("pedestrian", 2, True, False, 1.0)
    assert summed_up(car) == ("pedestrian", 3, True, False, 0.5)
    assert summed_up(crowd) == ("pedestrian", 4, False, True, 1.0)


def test_which_classes_are_found_ignored_or_background(tmp_path: Path) -> None:
    lines = [f"1,{number},1,1,4,4,1,{number},1" for number in range(1, 13)]
    found = objects(tmp_path, *lines, classes=("car", "pedestrian"), ignored=("static person", "reflection"))
    assert [(one.label, one.track, one.difficult) for one in found] == [
        ("pedestrian", 1, False),
        ("car", 3, False),
        ("car", 7, True),
        ("car", 12, True),
    ]


def test_the_names_of_classes_can_be_others(tmp_path: Path) -> None:
    (dog,) = objects(tmp_path, "1,1,1,1,4,4,1,2,1", names=("cat", "dog"), classes=("dog",))
    assert (dog.label, dog.difficult) == ("dog", False)


def test_objects_that_are_hardly_visible_are_ignored(tmp_path: Path) -> None:
    lines = ("1,1,1,1,4,4,1,1,0.24", "1,2,1,1,4,4,1,1,0.25", "1,3,1,1,4,4,1,1,-1")
    found = objects(tmp_path, *lines, least_visible=0.25)
    assert [(one.difficult, one.visible) for one in found] == [(True, 0.24), (False, 0.25), (False, None)]


@pytest.mark.parametrize(
    "line",
    [
        "1,1,11,21,10,5,1,-1,-1,-1",  # MOT15
        "1,1,11,21,10,5,1,3,-9.1,0",  # MOT15 with a place in the world
        "1,1,11,21,10,5,1",
        "1,1,11,21,10,5",
    ],
)
def test_lines_without_class_and_visible_share(tmp_path: Path, line: str) -> None:
    (one,) = objects(tmp_path, line)
    assert (summed_up(one), one.box) == (("pedestrian", 1, False, False, None), (10, 20, 20, 25))


def test_ten_numbers_may_hold_a_class(tmp_path: Path) -> None:
    (one,) = objects(tmp_path, "1,1,11,21,10,5,1,3,0.5,-1")
    assert (one.difficult, one.visible) == (True, 0.5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,1,x,21,10,5,1,1,1", "expected numbers `frame, id, left, top, width, height, ...`, found '1,1,x,21"),
        ("1,1,nan,21,10,5,1,1,1", "expected numbers"),
        ("1,1,11,21,10", "expected numbers"),
        ("1,0,11,21,10,5,1,1,1", "expected an id from 1 to 2147483647, found 0"),
        ("1,1.5,11,21,10,5,1,1,1", "found 1.5"),
        ("1,3000000000,11,21,10,5,1,1,1", "found 3e+09"),
        ("1,7,11,21,10,5,1,1,1", "the id 7 stands in this frame before"),
        ("1,1,11,21,10,5,1,14,1", "its class 14 has no name: data.source.names gives 13"),
        ("1,1,11,21,10,5,1,0,1", "its class 0 has no name"),
    ],
)
def test_a_wrong_line_sets_its_object_aside(tmp_path: Path, line: str, message: str) -> None:
    first, bad, good = objects(tmp_path, "1,7,1,1,4,4,1,1,1", line, "1,8,1,1,4,4,1,1,1")
    assert message in bad.unusable
    assert bad.where == f"{tmp_path}/gt/gt.txt:2"
    assert (first.track, good.track, first.unusable, good.unusable) == (7, 8, "", "")


def test_lines_and_frames_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    source = MotChallenge(
        path=sequence(tmp_path, ["one,2,3", "", "nan,1", f"1,{WALKER}", f"9,{WALKER}", f"-1,{WALKER}"])
    )
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "img1" / "3.bmp")
    gt, pictures = tmp_path / "gt" / "gt.txt", tmp_path / "img1"
    assert source.warnings() == [
        f"2 lines were passed over, since they do not begin with the number of a frame: {gt}:1, {gt}:3.",
        f"2 lines were passed over, since no picture has the number of their frame: {gt}:5, {gt}:6.",
        f"2 frames without a line in gt.txt were taken for background: {pictures}/000002.png, {pictures}/3.bmp.",
        f"1 picture was passed over, since another has its number: {pictures}/000003.png.",
    ]
    assert [len(one.objects or ()) for one in source.examples()] == [1, 0, 0]
    left_out = MotChallenge(path=tmp_path, without_labels="leave_out")
    assert [bool(one.unusable) for one in left_out.examples()] == [False, True, True]
    assert "gt.txt were left out: " in left_out.warnings()[2]


def test_pictures_that_are_not_what_seqinfo_says(tmp_path: Path) -> None:
    info = "[Sequence]\nseqLength=5\nimWidth=80\nimHeight=60\n"
    few, size = MotChallenge(path=sequence(tmp_path, walking(), info=info)).warnings()
    assert few == f"{tmp_path}/seqinfo.ini says that there are 5 frames, but there are 3."
    assert size.startswith(f"{tmp_path}/seqinfo.ini says that pictures are 80 x 60 pixels, but they are 40 x 30: boxes")


def test_boxes_are_kept_within_pictures_that_are_shown_turned(tmp_path: Path) -> None:
    folder = sequence(tmp_path, [f"1,{WALKER}"])
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, shown upright
    for file in (folder / "img1").iterdir():
        Image.new("RGB", (HEIGHT, WIDTH)).save(file, exif=exif)
    assert MotChallenge(path=folder).sequences()[0].size == (WIDTH, HEIGHT)


def test_without_seqinfo_and_with_other_names_of_frames(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "street", ["2," + WALKER], info="[Sequence]\nimDir=frames\n")
    (folder / "img1").rename(folder / "frames")
    assert len(list(MotChallenge(path=folder).examples())) == 3
    (folder / "seqinfo.ini").unlink()
    (folder / "frames").rename(folder / "img1")
    for number in (1, 2, 3):
        (folder / "img1" / f"{number:06}.png").rename(folder / "img1" / f"frame{number + 7}.png")
    found = list(MotChallenge(path=folder).examples())
    assert [one.id for one in found] == [f"street/frame{number}.png" for number in (8, 9, 10)]
    assert [len(one.objects or ()) for one in found] == [0, 1, 0]


def test_a_seqinfo_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    source = MotChallenge(path=sequence(tmp_path, walking(), info="name=street\n"))
    with pytest.raises(DataError, match=r"seqinfo\.ini cannot be read: File contains no section headers.*line: 1"):
        source.check()
    (tmp_path / "seqinfo.ini").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"seqinfo\.ini is not UTF-8 text"):
        MotChallenge(path=tmp_path).check()


def splits(source: MotChallenge) -> dict[str, str | None]:
    source.check()
    return {one.group: one.split for one in source.examples()}


def test_sequences_of_the_benchmark_without_tracks_and_copies_are_left_out(tmp_path: Path) -> None:
    for name in ("MOT17-02-FRCNN", "MOT17-02-DPM", "MOT17-02-SDP", "MOT17-10-DPM"):
        sequence(tmp_path / "train" / name, walking())
    (sequence(tmp_path / "test" / "MOT17-01-DPM", []) / "gt" / "gt.txt").unlink()
    source = MotChallenge(path=tmp_path)
    assert splits(source) == {"train/MOT17-02-DPM/": "train", "train/MOT17-10-DPM/": "train"}
    assert source.warnings() == [
        "1 sequence was passed over, since it has no gt/gt.txt: MOT17-01-DPM.",
        "2 sequences were passed over, since they are others again, with other detections: MOT17-02-FRCNN, "
        "MOT17-02-SDP.",
    ]
    assert splits(MotChallenge(path=tmp_path / "train")) == {"MOT17-02-DPM/": None, "MOT17-10-DPM/": None}
    assert splits(MotChallenge(path=tmp_path / "train" / "MOT17-10-DPM")) == {"MOT17-10-DPM/": None}
    named = MotChallenge(path=tmp_path, validation=("MOT17-10",))
    assert splits(named) == {"train/MOT17-02-DPM/": "train", "validation/MOT17-10-DPM/": "validation"}


def test_folders_and_names_give_splits(tmp_path: Path) -> None:
    for place in ("train/a", "val/a", "b", "c"):
        sequence(tmp_path / place, walking(1), frames=1)
    assert splits(MotChallenge(path=tmp_path)) == {
        "b/": None,
        "c/": None,
        "train/a/": "train",
        "validation/a/": "validation",
    }
    assert splits(MotChallenge(path=tmp_path, test=("c",))) == {
        "train/b/": "train",
        "test/c/": "test",
        "train/a/": "train",
        "validation/a/": "validation",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"classes": ("pedestrians",)},
            "classes holds 'pedestrians', which is none of `names`. Did you mean 'pedestrian'",
        ),
        ({"ignored": ("cra",)}, "ignored holds 'cra'"),
        ({"ignored": ("pedestrian",)}, "'pedestrian' stands twice in classes and ignored"),
        ({"classes": ()}, "at least 1 item"),
        ({"validation": ("a",), "test": ("a",)}, "the sequence 'a' stands twice in validation and test"),
    ],
)
def test_settings_that_cannot_be_meant(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MotChallenge(path=tmp_path, **settings)


def test_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder in .* holds gt/gt\.txt"):
        MotChallenge(path=tmp_path).check()
    sequence(tmp_path / "street", walking())
    with pytest.raises(DataError, match=r"no sequence 'stret' in .*Did you mean 'street'"):
        MotChallenge(path=tmp_path, test=("stret",)).check()
    sequence(tmp_path / "empty", walking(), frames=0)
    with pytest.raises(DataError, match=r"img1 holds no pictures.*imDir in .*seqinfo\.ini"):
        MotChallenge(path=tmp_path).check()


def test_other_lines_and_frames_change_the_fingerprint(tmp_path: Path) -> None:
    source = MotChallenge(path=sequence(tmp_path, walking()))
    before = source.fingerprint()
    (tmp_path / "img1" / "000003.png").unlink()
    without = source.fingerprint()
    (tmp_path / "gt" / "gt.txt").write_text(f"1,{WALKER}0\n")
    assert len({before, without, source.fingerprint()}) == 3


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """Two sequences with a walker who reaches out of the picture, and an ignored car; in the first, broken boxes."""
    lines = [line for n in (1, 2, 3) for line in (f"{n},{WALKER}", f"{n},2,-3,1,8,8,1,1,1", f"{n},3,1,1,9,9,1,3,1")]
    sequence(tmp_path / "train" / "A", [*lines, "1,5,3,3,0,4,1,1,1", "1,6,99,3,4,4,1,1,1"])
    sequence(tmp_path / "train" / "B", lines)
    return tmp_path


def test_a_store_that_a_detector_learns_from(benchmark: Path, tmp_path: Path) -> None:
    settings = DataSettings(source=MotChallenge(path=benchmark, validation=("B",)))
    store = prepare(settings, tmp_path / "store")
    assert store.info.class_names == ("pedestrian",)
    assert store.info.num_examples == {"train": 3, "validation": 3}
    assert {DIFFICULT, TRACKS, VISIBLE} < set(store.info.fields) and CROWD not in store.info.fields
    with (store.path / "objects_left_out.csv").open() as stream:
        gone = [(row["where"].rpartition(":")[2], row["reason"]) for row in csv.DictReader(stream)]
    assert gone == [
        ("10", "the box (2, 2, 2, 6) has no area"),
        ("11", "the box (98, 2, 102, 6) is outside the picture of 40 x 30 pixels"),
    ]
    task = Detection().resolve(store.info)
    batch = next(iter(evaluation_batches(store, task, "train", 3)))
    np.testing.assert_array_equal(batch[CLASSES].numpy(), [[0, 0, 0]] * 3)
    np.testing.assert_array_equal(batch[DIFFICULT].numpy(), [[False, False, True]] * 3)


def test_a_stored_sequence_is_its_own_truth(benchmark: Path, tmp_path: Path) -> None:
    store = prepare(DataSettings(source=MotChallenge(path=benchmark, validation=("B",))), tmp_path / "store")
    stored = StoredSequence.open(store.path, "validation/B")
    assert [frame.name.rpartition("/")[2] for frame in stored.frames()] == ["000001.png", "000002.png", "000003.png"]
    truth, given = stored.truth(HEIGHT, WIDTH, ["car", "pedestrian"]), read(benchmark / "train" / "B" / "gt" / "gt.txt")
    assert sorted(truth) == sorted(given) == [1, 2, 3]
    for number, found in truth.items():
        np.testing.assert_array_equal(found.ids, [1, 2, 3])
        np.testing.assert_array_equal(found.classes, [1, 1, 1])
        np.testing.assert_array_equal(found.ignored, [False, False, True])
        np.testing.assert_allclose(found.boxes, np.maximum(given[number].boxes, 0), atol=1e-5)


def test_whole_sequences_are_drawn_into_splits(tmp_path: Path) -> None:
    for name in "abcdef":
        sequence(tmp_path / "data" / name, walking(5), frames=5)
    store = prepare(DataSettings(source=MotChallenge(path=tmp_path / "data")), tmp_path / "store")
    with (store.path / "splits.csv").open() as stream:
        places = {(row["id"].partition("/")[0], row["split"]) for row in csv.DictReader(stream)}
    assert len(places) == 6
    assert {split for _, split in places} == {"train", "validation", "test"}


def test_pairs_are_cut_from_its_tracks(benchmark: Path, tmp_path: Path) -> None:
    source = MotChallenge(path=benchmark, validation=("B",))
    frames = [one for one in source.examples() if one.group == "train/A/"]
    found = tracks_of("train/A", frames)
    assert [(one.name, one.split, len(one.sights)) for one in found] == [
        ("train/A/track 1", "train", 3),
        ("train/A/track 2", "train", 3),
    ]
    assert found[1].sights[0].box.tolist() == [0, 0, 4, 8]  # as far as it is in the picture
    pairs = TemplatePairs(sources=(source,), side=48, pairs=2)
    pairs.check()
    assert "A/gt/gt.txt:10 (the box (2, 2, 2, 6) has no area)" in pairs.warnings()[-1]
    store = prepare(DataSettings(source=pairs), tmp_path / "store")
    assert store.info.num_examples == {"train": 4, "validation": 4}


def test_the_names_are_those_of_the_benchmarks() -> None:
    assert [NAMES.index(name) + 1 for name in ("pedestrian", "car", "static person", "reflection")] == [1, 3, 7, 12]
