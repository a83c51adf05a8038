"""Following one object from end to end: frames in, files and scores out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ConfigError, DataError
from pipeline.tracking import mot
from pipeline.tracking.follow_run import Asked, follow
from pipeline.tracking.follower import FollowSettings
from pipeline.tracking.outcome import Outcome
from tests.tracking.test_follower import HEIGHT, OBJECT, WIDTH, Comparing, frame
from tests.tracking.test_run import silent

FRAMES, HIDDEN, BROKEN = 9, (4, 5), 7
"""In frames 4 and 5 the object is not there; frame 7 is no picture."""


def place(number: int) -> tuple[float, float]:
    return 50.0 + 4 * number, 60.0


@pytest.fixture
def video(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(1, FRAMES + 1):
        pixels = frame() if number in HIDDEN else frame(*place(number))
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / f"{BROKEN}.png").write_bytes(b"nothing")
    return folder


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    lines = []
    for number in range(1, FRAMES + 1):
        x, y = place(number)
        lines.append("nan,nan,nan,nan" if number in HIDDEN else f"{x - 10},{y - 10},{OBJECT},{OBJECT}")
    file = tmp_path / "groundtruth.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def followed(asked: Asked, tmp_path: Path) -> Outcome:
    return follow(Comparing(), asked, FollowSettings(), tmp_path / "out", silent)


def test_what_is_followed_is_written_and_scored(video: Path, truth: Path, tmp_path: Path) -> None:
    outcome = followed(Asked(video, truth=truth, draw=tmp_path / "drawn"), tmp_path)
    scores = outcome.document["scores"]
    assert (scores["frames"], scores["missed"], scores["absence_known"]) == (6, 1, 1.0)  # the broken frame is missed
    assert scores["mean_iou"] > 0.6
    assert outcome.document["lost"] == {"frames": 3, "first": 4}
    assert outcome.document["thresholds"] == {"least_score": Comparing.threshold}
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8")) == outcome.document
    written = mot.read(tmp_path / "out" / "tracks.csv")
    assert sorted(written) == [1, 2, 3, 6, 8, 9]
    middle = written[9].boxes[0].reshape(2, 2).mean(axis=0)
    np.testing.assert_allclose(middle, place(9), atol=4)
    drawn = sorted((tmp_path / "drawn").iterdir())
    assert [int(one.stem) for one in drawn] == [1, 2, 3, 4, 5, 6, 8, 9]
    curves = outcome.document["curves"]
    assert curves["success"]["overlap"][:3] == [0.0, 0.05, 0.1]
    assert np.mean(curves["success"]["share"]) == pytest.approx(scores["success"])
    assert curves["precision"]["pixels"][20] == 20
    assert curves["precision"]["share"][20] == scores["precision"]
    assert Path(outcome.document["files"]["curves"]).read_bytes().startswith(b"\x89PNG")
    changed = np.any(np.asarray(Image.open(drawn[0])) != frame(*place(1)), axis=-1)
    assert changed.mean() > 0.01
    with pytest.raises(DataError, match="frame 7"):
        outcome.require_whole()


def test_the_box_may_be_given_without_a_truth(video: Path, tmp_path: Path) -> None:
    x, y = place(1)
    outcome = followed(Asked(video, box=(x - 10, y - 10, OBJECT, OBJECT)), tmp_path)
    assert outcome.document["scores"] is None and outcome.document["curves"] is None
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["summary.json", "tracks.csv"]
    assert outcome.document["frames"] == {"count": FRAMES, "a_second": None, "width": WIDTH, "height": HEIGHT}


def test_where_the_first_frame_is_broken_the_truth_of_the_next_counts(video: Path, truth: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        (video / f"{number}.png").write_bytes(b"nothing")
    lines = truth.read_text(encoding="utf-8").splitlines()
    truth.write_text("\n".join(["nan,nan,nan,nan", *lines[1:]]) + "\n", encoding="utf-8")
    outcome = followed(Asked(video, truth=truth), tmp_path)
    assert outcome.document["scores"]["frames"] == 4, "6 to 9: 3 was given, 1 and 2 were before"
    first = mot.read(tmp_path / "out" / "tracks.csv")[3]
    np.testing.assert_allclose(first.boxes[0].reshape(2, 2).mean(axis=0), place(3), atol=1e-3)
    (video / "3.png").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="have none in frame 4, the first that can be read"):
        followed(Asked(video, truth=truth), tmp_path)


def test_without_a_box_nothing_is_followed(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Nothing says which object"):
        followed(Asked(video), tmp_path)
    absent = tmp_path / "absent.txt"
    absent.write_text("nan,nan,nan,nan\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="Nothing says which object"):
        followed(Asked(video, truth=absent), tmp_path)


def test_a_box_beyond_the_frame_is_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="within the frame of 160 x 120 pixels"):
        followed(Asked(video, box=(500, 0, 10, 10)), tmp_path)


def test_a_folder_of_broken_frames_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="holds no frame that can be read"):
        followed(Asked(folder, box=(0, 0, 10, 10)), tmp_path)
