"""The Config: round trips, short forms, and messages that name file, line and the nearest valid name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Config, dump, load, loads
from pipeline.errors import ConfigError
from pipeline.tasks import TASKS

BASE = """\
data:
  source: digits
task:
  kind: classification
"""
ROOT = Path(__file__).parent.parent


def problem(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loads(text, overrides, name="test.yaml")
    return str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_round_trip_with_every_default(task: str) -> None:
    config = loads(BASE.replace("classification", task))
    assert loads(dump(config)) == config


def test_round_trip_with_much_that_is_set() -> None:
    overrides = [
        "seed=7",
        "run=runs/x",
        "task.backbone=mobilenet_v2",
        "task.backbone.alpha=0.5",
        "augment.0=horizontal_flip",
        "augment.0.probability=0.3",
        "augment.1={kind: rotation, degrees: 10}",
        "train.optimizer={kind: sgd, learning_rate: 1e-3}",
        "train.transfer={}",
        "compress.variants=[float16, int8]",
        "compress.variants.1.input_output=int8",
    ]
    config = loads(BASE, overrides)
    assert loads(dump(config)) == config
    assert config.augment[0].probability == 0.3
    assert config.train.optimizer.learning_rate == 0.001
    assert [variant.kind for variant in config.compress.variants] == ["float16", "int8"]
    assert config.train.transfer is not None


def test_overrides_reach_into_lists_that_only_the_defaults_hold() -> None:
    kinds = [variant.kind for variant in loads(BASE).compress.variants]
    place = kinds.index("int8")
    changed = loads(BASE, [f"compress.variants.{place}.input_output=int8"])
    assert [variant.kind for variant in changed.compress.variants] == kinds
    assert changed.compress.variants[place].model_dump()["input_output"] == "int8"


def test_short_forms_work_from_python_too() -> None:
    config = Config.model_validate(
        {"data": {"source": "digits"}, "task": {"kind": "classification"}, "augment": ["cutout"]}
    )
    assert config.augment[0].kind == "cutout"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trian: {}\n", ["test.yaml:5: there is no setting 'trian'. Did you mean 'train'?"]),
        ("train:\n  epohcs: 3\n", ["test.yaml:6: there is no setting 'epohcs' in train. Did you mean 'epochs'?"]),
        ("train:\n  epochs: three\n", ["test.yaml:6: train.epochs is 'three': it should be a valid integer"]),
        (
            "augment:\n- cutout\n- rotatoin\n",
            ["test.yaml:7: augment.1 has no kind 'rotatoin'", "Did you mean 'rotation'?"],
        ),
        (
            "augment:\n- kind: rotation\n  degres: 3\n",
            ["test.yaml:7: there is no setting 'degres' in augment.0", "'degrees'?"],
        ),
        ("augment:\n- degrees: 3\n", ["test.yaml:6: augment.0 needs a `kind`. Valid: ", "rotation"]),
        ("augment: cutout\n", ["test.yaml:5: augment is 'cutout', expected a list"]),
        ("train: 3\n", ["test.yaml:5: train is 3, expected settings of its own"]),
        ("learner: supervisd\n", ["test.yaml:5: learner has no kind 'supervisd'", "Did you mean 'supervised'?"]),
        ("  picture: {fit: strech}\n", ["test.yaml:5: task.picture.fit is 'strech'", "Did you mean 'stretch'?"]),
        ("  backbone: {depth: 21}\n", ["test.yaml:5: task.backbone: depth 21 does not divide"]),
        ("augment: [cutout, random_resized_crop]\n", ["test.yaml:5: `augment.1`", "has to be the first"]),
        ("seed: -1\n", ["test.yaml:5: seed is -1: it should be greater than or equal to 0"]),
        ("task: {kind: regression}\n", ['test.yaml:5: the key "task" stands twice']),
    ],
)
def test_mistakes_in_the_file(text: str, expected: list[str]) -> None:
    message = problem(BASE + text)
    for part in expected:
        assert part in message


def test_missing_settings_are_all_named() -> None:
    message = problem("seed: 1\n")
    assert "data is missing" in message
    assert "task is missing" in message


def test_several_mistakes_are_a_line_each() -> None:
    assert len(problem(BASE + "trian: 1\nseed: x\nexport: {model_nam: y}\n").splitlines()) == 3


def test_a_mistake_in_an_override_names_the_override() -> None:
    assert problem(BASE, "train.epochs=x").startswith("override 'train.epochs=x': train.epochs is 'x'")
    assert problem(BASE, "train.optmizer=sgd").startswith("override 'train.optmizer=sgd': there is no setting")


def test_files_for_runtimes_that_know_anchors_are_refused_before_any_training() -> None:
    detector = "data: {source: scenes}\ntask: {kind: detection, detector: DETECTOR}\nexport:\n  anchored: true\n"
    assert loads(detector.replace("DETECTOR", "retinanet")).export.anchored
    assert problem(detector.replace("DETECTOR", "yolo")).startswith(
        "test.yaml:4: `export.anchored` needs a detector with anchors"
    )
    assert "the task 'classification' has none" in problem(BASE, "export.anchored=true")


def test_several_sizes_are_refused_before_anything_is_prepared() -> None:
    detection = "data: {source: scenes}\ntask: {kind: detection, detector: DETECTOR}\ninput:\n  multi_scale: {}\n"
    assert loads(detection.replace("DETECTOR", "yolo")).input.multi_scale
    assert (
        "test.yaml:4: `input.multi_scale` asks for pictures of several sizes, but the network of the task"
        in problem(detection.replace("DETECTOR", "faster_rcnn"))
    )
    distilled = "learner: {kind: distilled, teacher: runs/teacher}\n"
    assert "but the learner takes those of one" in problem(detection.replace("DETECTOR", "yolo") + distilled)


def test_load_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(BASE + "seed: x\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"{path}:5: seed is 'x'"):
        load(path)


def test_every_setting_has_a_description() -> None:
    from pipeline.describe import describe

    empty = [setting.name for setting in describe("", Config).settings if not setting.meaning]
    assert empty == []
