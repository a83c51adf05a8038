"""`convoy preview` and the printed plan, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import cli
from pipeline.config import load
from pipeline.console import terminal
from pipeline.data.store import Store
from pipeline.preview import contact_sheet, read_examples
from tests.data.stores import make_store

CONFIG = """
data: {source: digits}
task: {kind: classification, picture: {height: 12, width: 12, channels: 1}}
train: {batch_size: 8}
augment:
  - {kind: random_resized_crop, area: [0.5, 1.0]}
  - horizontal_flip
  - rotation
  - {kind: mix_up, alpha: 1.0}
  - colour_jitter
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(CONFIG, encoding="utf-8")
    yield
    terminal.configure()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("store"), {"train": 6}, [(12, 12)])


def test_examples_are_those_of_an_epoch(store: Store) -> None:
    config = load(Path("mine.yaml"))
    task = config.task.resolve(store.info)
    plain = read_examples(config, store, task, (), 8)
    ids = [example["id"] for example in plain]
    assert len(ids) == 8 and len(set(ids)) == 6, "few examples come again"
    for number, example in enumerate(plain):
        assert example["image"][0, 0, 0] == number % 6
    one, again, other = (read_examples(config, store, task, config.augment, 8, epoch) for epoch in (0, 0, 1))
    for left, right in zip(one, again, strict=True):
        np.testing.assert_array_equal(left["image"], right["image"])
        assert left["label_shares"].sum() == pytest.approx(1.0)
    assert any((left["image"] != right["image"]).any() for left, right in zip(one, other, strict=True))


def test_groups_that_are_mixed_are_shown_whole(store: Store) -> None:
    config = load(Path("mine.yaml"))
    task = config.task.resolve(store.info)
    assert len(read_examples(config, store, task, (), 3)) == 4
    without = config.model_copy(update={"augment": config.augment[:2]})
    assert len(read_examples(without, store, task, without.augment, 3)) == 3
    assert contact_sheet(without, store, task, 1).width < contact_sheet(config, store, task, 1).height


def test_the_sheet_is_written_and_the_run_can_still_be_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.execute(["preview", "mine.yaml", "--count", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"run": "runs/mine", "preview": "runs/mine/preview.png"}
    wide = Image.open(tmp_path / "runs/mine/preview.png")
    assert 700 < wide.width < 1200 and wide.height > 600
    changed = ["preview", "mine.yaml", "augment=[]", "--count", "2", "--output", "sheets/plain.png", "-q"]
    assert cli.execute(changed) == 0
    assert capsys.readouterr().out == "preview: sheets/plain.png\n"
    assert Image.open(tmp_path / "sheets/plain.png").height < wide.height
    assert load(Path("runs/mine/config.yaml")).augment, "another preview leaves the Run's configuration alone"


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        ("mine.yaml/x.png", 8, "is a file. Give a folder."),
        ("/proc/x/y.png", 8, "Cannot"),
        (".", 2, "Got the folder . as --output, expected a file"),
        ("sheet.jpg", 2, "Got sheet.jpg as --output, but the sheet is a PNG. Call it sheet.png."),
    ],
)
def test_where_no_sheet_can_be_written(output: str, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["preview", "mine.yaml", "--count", "1", "--output", output, "-q"]) == code
    assert words in " ".join(capsys.readouterr().err.split())


def test_the_plan_is_that_of_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    """Objects are marked: augmix makes no moves, so nothing is resampled."""
    Path("objects.yaml").write_text(
        "data: {source: {kind: coco, path: photos}}\ntask: {kind: detection}\naugment: [augmix]\n", encoding="utf-8"
    )
    assert cli.execute(["describe", "augment", "--config", "objects.yaml"]) == 0
    assert "resampling" not in capsys.readouterr().out


def test_overrides_go_into_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["describe", "augment", "--config", "mine.yaml", "augment=[invert]"]) == 0
    assert capsys.readouterr().out == "1. invert: one lookup table\n"


def test_an_operation_that_suits_nothing_is_named_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("objects.yaml").write_text(
        "data: {source: {kind: coco, path: photos}}\ntask: {kind: detection}\n"
        "augment:\n- {kind: augmix, operations: [rotation]}\n",
        encoding="utf-8",
    )
    assert cli.execute(["describe", "augment", "--config", "objects.yaml"]) == 2
    assert "objects.yaml:4: `augment.0`: augmix has only operations that move" in capsys.readouterr().err


def test_describe_prints_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["describe", "augment", "--config", "mine.yaml"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1. random_resized_crop + horizontal_flip + rotation: crop-aware decode and one resampling",
        "2. mix_up: two pictures blended",
        "3. colour_jitter: one colour matrix",
    ]
    assert cli.execute(["describe", "augment", "--config", "mine.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"][0]["operations"][1:] == ["horizontal_flip", "rotation"]
    assert cli.execute(["describe", "task", "--config", "mine.yaml"]) == 2
    assert "convoy describe augment --config" in capsys.readouterr().err
