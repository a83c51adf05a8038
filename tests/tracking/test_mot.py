"""MOTChallenge's files: read as py-motmetrics reads them, and every wrong line named."""

from __future__ import annotations

from pathlib import Path

import motmetrics
import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.tracking import mot
from pipeline.tracking.tracker import Tracked

TRACKED = Tracked(
    np.array([1, 12]),
    np.array([[10.0, 20.0, 40.0, 60.0], [0.0, -2.5, 5.25, 8.0]]),
    np.array([0, 3]),
    np.array([0.9, 0.75]),
    np.array([1, 1], np.int8),
)


@pytest.mark.filterwarnings("ignore:Operation with tuple is deprecated")  # py-motmetrics' own
def test_a_file_is_what_others_read(tmp_path: Path) -> None:
    file = tmp_path / "tracks.csv"
    file.write_text(mot.as_text({10: TRACKED, 2: TRACKED}), encoding="utf-8")
    assert file.read_text().splitlines()[0] == "2,1,11.00,21.00,30.00,40.00,0.9000,1,-1,-1"
    others = motmetrics.io.loadtxt(str(file), fmt="mot16").loc[(2, 12)]
    assert others[["X", "Y", "Width", "Height", "Confidence", "ClassId"]].tolist() == [0, -2.5, 5.25, 10.5, 0.75, 4]
    ours = mot.read(file)
    assert sorted(ours) == [2, 10]
    np.testing.assert_allclose(ours[10].boxes, TRACKED.boxes)
    assert ours[10].ids.tolist() == [1, 12]
    assert ours[10].classes.tolist() == [-1, -1]


def test_what_the_benchmark_does_not_ask_for_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "gt.txt"
    file.write_text("1, 1, 1, 1, 10, 10, 1, 1, 1\n\n1,2,1,1,10,10,0,8,0.5\n2 1 1 1 10 10\n", encoding="utf-8")
    found = mot.read(file)
    assert found[1].ignored.tolist() == [False, True]
    assert found[2].ignored.tolist() == [False]
    assert found[1].boxes[0].tolist() == [0, 0, 10, 10]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1,1,1,10,10\n1,2,3\n", r"gt\.txt:2: expected numbers `frame, id, left.*got '1,2,3'"),
        ("1,1,1,1,10,nan\n", r"gt\.txt:1: expected numbers"),
        ("frame,id,x,y,w,h\n", r"gt\.txt:1: expected numbers"),
        ("1,7,1,1,10,10\n1,7,2,2,10,10\n", r"gt\.txt:2: track 7 stands twice in frame 1"),
        ("\n", "holds no tracks"),
    ],
)
def test_wrong_lines_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        mot.read(tmp_path / "gt.txt")


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("gone.txt", "gt.txt"):
        with pytest.raises(DataError, match="cannot be read"):
            mot.read(tmp_path / name)
