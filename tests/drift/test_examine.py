"""Production against a Run, for every task: the same pictures have not drifted, changed ones have."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pipeline import stages
from pipeline.data.requests.reader import Choice, RequestLog
from pipeline.drift import DriftSettings, keep, picking
from pipeline.drift.examine import Reference, compared
from pipeline.drift.figures import figures
from pipeline.drift.logged import Translation
from pipeline.drift.picking import Model
from pipeline.drift.report import DriftReport
from pipeline.errors import VerificationError
from pipeline.labelled_requests import score
from pipeline.run import Run
from pipeline.tasks import TASKS, Regression
from tests.data.requests.given import picture, written
from tests.drift.runs import darker, logged, make_run

QUICK = DriftSettings(reference=200, furthest=6)
LOOKS = ["height", "width", "aspect", "brightness", "contrast", "saturation", "sharpness"]
ANSWERS = {
    "classification": ["score", "class"],
    "detection": ["score", "classes in an answer", "class"],
    "multi_label": ["score", "classes in an answer", "class"],
    "regression": ["answer: x", "answer: millions"],
    "single_object_tracking": ["answer: score"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    return {kind: make_run(tmp_path_factory.mktemp(kind), kind) for kind in TASKS}


@functools.cache
def reference_of(run: Run) -> Reference:
    return Reference.of(run, QUICK.reference)


def examined(run: Run, log: RequestLog, settings: DriftSettings = QUICK) -> DriftReport:
    return compared(reference_of(run), log, Choice(), settings)


def verdicts(report: DriftReport) -> dict[str, str]:
    return {one.measure: one.verdict for one in report.measured}


@pytest.mark.parametrize("kind", sorted(TASKS))
def test_every_task(kind: str, runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs[kind]
    alike = examined(run, logged(run, tmp_path / "alike"))
    count = stages.open_store(run).info.num_examples["test"]
    assert alike.agreement == 1 and alike.looked_at == alike.answered == alike.logged == count >= 60
    assert sorted(verdicts(alike)) == sorted([*LOOKS, *ANSWERS[kind], "novelty"])
    assert alike.missed == [] and "drifted" not in verdicts(alike).values()
    dark = examined(run, logged(run, tmp_path / "dark", darker))
    assert {name for name in LOOKS if verdicts(dark)[name] == "drifted"} >= {"brightness", "contrast", "sharpness"}
    assert {verdicts(dark)[name] for name in ("height", "width", "aspect")} <= {"alike", "too few"}
    before, after = (next(one for one in each.measured if one.measure == "brightness") for each in (alike, dark))
    assert after.production == pytest.approx(before.production * 0.5, rel=0.03)  # of the very same pictures
    with pytest.raises(VerificationError, match=r"has drifted from training: .*brightness: PSI"):
        dark.require_alike()


def test_blur_takes_the_sharpness_and_leaves_the_brightness(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["classification"]
    found = verdicts(examined(run, logged(run, tmp_path, lambda one: one.filter(ImageFilter.GaussianBlur(1)))))
    assert found["sharpness"] == "drifted" and found["brightness"] != "drifted"


@pytest.mark.parametrize(("kind", "signature"), [("classification", "classify"), ("multi_label", "classify")])
def test_answers_of_classify_are_understood(kind: str, signature: str, runs: dict[str, Run], tmp_path: Path) -> None:
    report = examined(runs[kind], logged(runs[kind], tmp_path, signature=signature))
    assert report.answered == report.looked_at and report.agreement == 1


def test_answers_of_another_form_are_told_and_pictures_still_compared(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["classification"]
    report = examined(run, logged(run, tmp_path, outputs={"scores": np.zeros(7, np.float32)}))
    assert (report.answered, report.agreement) == (0, None)
    assert sorted(verdicts(report)) == sorted([*LOOKS, "novelty"])
    assert any("have no answer of this task's form" in text for text in report.cautions)


def test_a_server_of_another_model_is_told(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["classification"]
    report = examined(run, logged(run, tmp_path, outputs={"scores": np.array([0.1, 0.2, 0.7], np.float32)}))
    assert report.agreement is not None and report.agreement < 0.9
    assert any("serves another model or variant" in text for text in report.cautions)
    assert verdicts(report)["class"] == "drifted"


def test_sizes_of_pixels_are_the_model_s_own(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["classification"]
    large = logged(run, tmp_path / "files", lambda one: one.resize((64, 64), Image.Resampling.NEAREST))
    assert verdicts(examined(run, large))["height"] == "drifted"
    pixels = logged(run, tmp_path / "pixels", came_as="pixels", signature="images")
    assert sorted(verdicts(examined(run, pixels))) == sorted([*LOOKS[3:], *ANSWERS["classification"], "novelty"])


def test_few_requests(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["classification"]
    report = examined(run, logged(run, tmp_path), DriftSettings(requests=12, reference=200))
    assert report.looked_at == 12 and report.missed == []
    assert "say nothing: of 12 requests" in report.cautions[0]


def test_what_cannot_be_decoded_is_passed_over(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["classification"]
    whole = logged(run, tmp_path / "whole")
    pictures = list(whole.pictures(whole.ids(Choice())))
    damaged = picture(1, model="m", image=pictures[0].image[:60])
    report = examined(run, written(tmp_path / "damaged", [damaged, *pictures]))
    assert (report.logged, report.looked_at) == (len(pictures) + 1, len(pictures))


def test_the_page_leaves_out_what_cannot_be_drawn(runs: dict[str, Run], tmp_path: Path) -> None:
    """A picture that only TensorFlow decodes; and NaN, such as the score of an answer without a class."""
    run = runs["classification"]
    report = examined(run, logged(run, tmp_path))
    first, *others = report.furthest
    damaged = replace(report, furthest=[replace(first, image=first.image[:60]), *others])
    assert [one["id"] for one in keep.content(damaged, "Run")["pictures"]] == [one.id for one in others]
    assert len({one.image for one in report.furthest}) == QUICK.furthest
    holes = {name: (np.append(known, np.nan), asked) for name, (known, asked) in report.samples.items()}
    drawn = figures(report)
    assert len(drawn) > 3 and figures(replace(report, samples=holes)).keys() == drawn.keys()


def test_an_empty_list_of_classes_is_a_label(runs: dict[str, Run], tmp_path: Path) -> None:
    log, model = logged(runs["multi_label"], tmp_path / "log"), Model.of(runs["multi_label"])
    table = picking.write(log, log.ids(Choice())[:3], tmp_path / "lab", "far", model)
    header, first, *others = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([header, f"{first}red", *others]), encoding="utf-8")
    found = score(log, Choice(), table, model)
    assert found.labelled == 3 and found.picked == {"far": 3}
    assert "(3 far): this is not the figure of production" in found.as_text()


def test_the_one_number_of_regress_is_the_task_s_value() -> None:
    task = Regression(value_names=("age",), value_mean=(0.0,), value_std=(1.0,))
    translation = Translation(task, {"values": np.zeros((1, 1), np.float32)})
    outputs = {"outputs": np.array([31.5], np.float32)}
    found = translation.predictions(picture(1, signature="regress", outputs=outputs))
    assert found is not None and found["values"].tolist() == [31.5]
    assert translation.predictions(picture(1, signature="serving_default", outputs=outputs)) is None
    stored = {"outputs": np.array([31], np.int64)}  # as a quantized file stores it
    assert translation.predictions(picture(1, signature="regress", outputs=stored)) is None
