"""`convoy follow` on the command line, and its page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from models.stack import keras
from pipeline import stages
from pipeline.cli import execute
from pipeline.describe import settings_of
from pipeline.run import Run
from pipeline.tasks import SingleObjectTracking
from pipeline.tracking.follower import FollowSettings
from tests.conftest import ROOT
from tests.tracking.test_follower import frame

SIDE = 44


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A network as it is made."""
    settings = {
        "picture": {"height": 2 * SIDE, "width": SIDE},
        "backbone": {"kind": "small_resnet", "depth": 6, "widths": [8, 8], "stem_stride": 2},
        "network": {"stride": 4, "channels": 8, "template_cells": 3, "head_depth": 1},
    }
    task = SingleObjectTracking.model_validate(settings)
    made = Run(tmp_path_factory.mktemp("follow") / "run")
    keras.utils.set_random_seed(5)
    stages.keep_model(made, task.build(), task)
    return made


@pytest.fixture
def video(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(1, 4):
        Image.fromarray(frame(60 + number, 60)).save(folder / f"{number}.png")
    return folder


def test_an_object_is_followed_and_told_as_json(
    run: Run, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["follow", str(run.path), str(video), "most_rings=1", "least_score=0", "--object", "50,50,20,20"]
    assert execute([*arguments, "--output", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["frames"]["count"] == 3
    assert document["lost"]["frames"] == 0
    assert (document["settings"]["most_rings"], document["settings"]["least_score"]) == (1, 0)
    assert len((tmp_path / "out" / "tracks.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_it_is_told_in_words_with_scores(
    run: Run, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = tmp_path / "groundtruth.txt"
    truth.write_text("51,50,20,20\n52,50,20,20\n53,50,20,20\n", encoding="utf-8")
    arguments = ["follow", str(run.path), str(video), "least_score=0", "--truth", str(truth)]
    assert execute([*arguments, "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "3 frames of 160 x 120 pixels" in said
    assert "lost in 0 of them" in said
    assert "mean_iou 0." in said
    assert "absence_known not defined" in said


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["--object", "1,2,3"], "expected 4 numbers"),
        (["--object", "500,0,10,10"], "within the frame of 160 x 120 pixels"),
        ([], "Nothing says which object"),
        (["most_ring=1", "--object", "50,50,20,20"], "most_rings"),
        (["--rate", "5", "--object", "50,50,20,20"], "Give --draw too"),
    ],
)
def test_what_is_wrong_is_said(
    run: Run, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str], says: str
) -> None:
    assert execute(["follow", str(run.path), str(video), *wrong, "--output", str(tmp_path / "out")]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_the_page_names_every_setting() -> None:
    page = (ROOT / "docs" / "following.md").read_text(encoding="utf-8")
    for row in settings_of(FollowSettings):
        assert f"| `{row.name}` |" in page
        assert row.meaning in page
