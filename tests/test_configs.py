"""Every configuration that is shipped can be read, and written and read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import dump, load, loads
from tests.conftest import ROOT

FILES = sorted((ROOT / "configs").glob("*.yaml"))


def test_there_are_configurations() -> None:
    assert "quickstart" in [file.stem for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_configuration_is_valid(file: Path) -> None:
    config = load(file)
    assert loads(dump(config)) == config


def test_the_line_in_flowers_that_adds_transfer_learning_is_valid() -> None:
    lines = (ROOT / "configs" / "flowers.yaml").read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if "runs/flowers_transfer" in line)
    words = " ".join(line.strip("#\\ ") for line in lines[begin : begin + 2]).split("runs/flowers_transfer ")[1]
    overrides = ["task.backbone={kind: mobilenet_v2, weights: imagenet}", "train.transfer={unfreeze_from: stride_16}"]
    assert all(override in words for override in overrides)
    assert load(ROOT / "configs" / "flowers.yaml", overrides).train.transfer is not None


@pytest.mark.parametrize(("detector", "epochs"), [("retinanet", 6), ("ssd", 4), ("faster_rcnn", 2)])
def test_detectors_are_compared_on_the_same_scenes_in_the_same_way(detector: str, epochs: int) -> None:
    """All in about the same time: Faster R-CNN takes twice the time for a picture, so it has half as many; RetinaNet
    computes in what the machine is fast at."""
    first, second = (load(ROOT / "configs" / f"scenes_{name}.yaml") for name in ("detection", detector))
    assert second.task.detector.kind == detector
    passes = {name: getattr(second.train, name) for name in ("epochs", "validate_every", "devices")}
    assert passes["epochs"] == passes["validate_every"] == epochs
    same_task = second.task.model_copy(update={"detector": first.task.detector})
    same_passes = first.train.model_copy(update=passes)
    assert second.model_copy(update={"task": same_task}) == first.model_copy(update={"train": same_passes})


@pytest.mark.parametrize("detector", ["retinanet", "ssd", "faster_rcnn"])
def test_detectors_of_blood_cells_learn_from_the_same_in_the_same_way(detector: str) -> None:
    """Passes, levels and flips are each detector's own."""
    first, second = (load(ROOT / "configs" / f"bccd{name}.yaml") for name in ("", f"_{detector}"))
    own = {name: getattr(second.task, name) for name in ("detector", "strides", "neck", "flips")}
    assert (own["detector"].kind, bool(own["flips"])) == (detector, detector != "faster_rcnn")
    same_task = first.task.model_copy(update=own)
    same_passes = first.train.model_copy(update={"epochs": second.train.epochs})
    assert second == first.model_copy(update={"task": same_task, "train": same_passes})
