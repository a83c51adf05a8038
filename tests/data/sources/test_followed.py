"""Sequences with one box a frame, as benchmarks give them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import followed_boxes
from pipeline.data.sources.followed import FollowedSequences
from pipeline.errors import DataError


def sequence(folder: Path, lines: str, frames: int = 3, pictures: str = "") -> Path:
    (folder / pictures).mkdir(parents=True, exist_ok=True)
    for number in (10, 9, 8, 7)[:frames]:
        Image.new("RGB", (40, 30), (number, 0, 0)).save(folder / pictures / f"{number}.png")
    (folder / "groundtruth.txt").write_text(lines, encoding="utf-8")
    return folder


def test_boxes_are_upright_or_around_four_corners(tmp_path: Path) -> None:
    file = tmp_path / "groundtruth.txt"
    file.write_text("1,2,3,4\n1\t2\t3\t4\n\n5 0 10 5 5 10 0 5\nnan,nan,nan,nan\n0,0,0,0\n", encoding="utf-8")
    found = followed_boxes.read(file)
    np.testing.assert_array_equal(found[:3], [[1, 2, 4, 6], [1, 2, 4, 6], [0, 0, 10, 10]])
    assert np.isnan(found[3:]).all()


@pytest.mark.parametrize("line", ["1,2,3", "1,2,3,x", "1,2,3,4,5,6"])
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "groundtruth.txt"
    file.write_text(f"1,2,3,4\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"groundtruth.txt:2: expected `left,top,width,height`"):
        followed_boxes.read(file)


def test_a_file_without_a_line_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "groundtruth.txt"
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no boxes"):
        followed_boxes.read(file)


def test_frames_come_by_their_numbers_with_the_lines(tmp_path: Path) -> None:
    sequence(tmp_path / "train" / "bag", "1,2,3,4\nnan,nan,nan,nan\n5,6,7,8\n", pictures="img1")
    sequence(tmp_path / "val" / "cup", "1,2,3,4\n", frames=1)
    source = FollowedSequences(path=tmp_path)
    source.check()
    found = list(source.examples())
    assert [one.id for one in found] == ["train/bag/8.png", "train/bag/9.png", "train/bag/10.png", "val/cup/10.png"]
    assert [one.split for one in found] == ["train", "train", "train", "validation"]
    assert [len(one.objects or ()) for one in found] == [1, 0, 1, 1]
    assert found[2].objects is not None
    assert (found[2].objects[0].box, found[2].objects[0].track) == ((5.0, 6.0, 12.0, 14.0), 1)


def test_the_folder_of_one_sequence_may_be_given(tmp_path: Path) -> None:
    sequence(tmp_path / "bag", "1,2,3,4\n", frames=1)
    assert [one.id for one in FollowedSequences(path=tmp_path / "bag").examples()] == ["bag/10.png"]


def test_frames_or_boxes_that_are_left_over_are_told(tmp_path: Path) -> None:
    sequence(tmp_path / "early", "1,2,3,4\n" * 3, frames=2)
    sequence(tmp_path / "late", "1,2,3,4\n" * 2, frames=4)
    sequence(tmp_path / "right", "1,2,3,4\n" * 3)
    source = FollowedSequences(path=tmp_path)
    assert [one.rpartition("/groundtruth.txt ")[2] for one in source.warnings()] == [
        "has boxes for 3 frames, but there are 2: the rest is passed over.",
        "has boxes for 2 frames, but there are 4: the rest is passed over.",
    ]
    assert len(list(source.examples())) == 2 + 2 + 3


def test_a_folder_without_boxes_or_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no groundtruth\.txt"):
        FollowedSequences(path=tmp_path).check()
    sequence(tmp_path / "empty", "1,2,3,4\n", frames=0)
    with pytest.raises(DataError, match="No frames lie beside"):
        list(FollowedSequences(path=tmp_path).examples())


def test_other_boxes_change_the_fingerprint(tmp_path: Path) -> None:
    source = FollowedSequences(path=sequence(tmp_path / "bag", "1,2,3,4\n"))
    before = source.fingerprint()
    (tmp_path / "bag" / "groundtruth.txt").write_text("1,2,3,44\n", encoding="utf-8")
    assert source.fingerprint() != before


def test_a_real_sequence_is_read(convoy_data: Path) -> None:
    found = list(FollowedSequences(path=convoy_data / "vot_bag").examples())
    assert len(found) == 196
    assert found[0].id == "vot_bag/00000001.jpg"
    assert found[0].objects is not None
    assert found[0].objects[0].box == pytest.approx((292.23, 128.36, 438.19, 260.83))
