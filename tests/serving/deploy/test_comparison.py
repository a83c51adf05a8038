"""Two versions side by side: agreement, differences, latency, the metric, limits."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.errors import DataError, ServerError, VerificationError
from pipeline.labelled_pictures import LabelledPicture, TaskJudge, pictures_of, same_answer
from pipeline.tasks import Classification, MultiLabel, Regression
from serving.comparison import Comparison, ComparisonLimits, compare
from tests.serving.deploy.runs import CLASS_NAMES, encoded_picture, task

ANY_LATENCY = ComparisonLimits(max_latency_ratio=1e9)


class Answers:
    """A version that gives prepared scores in turn, after the first three that are not counted."""

    def __init__(self, rows: Sequence[Sequence[float] | None]):
        self._rows, self._asked = [*rows[:3], *rows], 0

    def predict(self, pictures: Sequence[bytes]) -> dict[str, np.ndarray]:
        assert len(pictures) == 1
        row = self._rows[self._asked]
        self._asked += 1
        if row is None:
            raise ServerError("Predict: UNAVAILABLE", "UNAVAILABLE")
        return {"scores": np.array([row], np.float32)}


def labelled(*labels: int) -> list[LabelledPicture]:
    return [LabelledPicture(f"{number}.jpg", b"x", {"label": np.int64(one)}) for number, one in enumerate(labels)]


ROSE, DAISY, LILY = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8)


def compared(stable: Sequence[Any], canary: Sequence[Any], limits: ComparisonLimits = ANY_LATENCY) -> Comparison:
    pictures = labelled(0, 0, 1, 2)
    return compare((1, Answers(stable)), (2, Answers(canary)), pictures, TaskJudge(task()), limits)


def test_golden_values() -> None:
    found = compared([ROSE, ROSE, DAISY, LILY], [ROSE, LILY, DAISY, (0.1, 0.2, 0.7)])
    assert (found.pictures, found.labelled, found.agreement) == (4, 4, 0.75)
    assert found.disagreements == ("1.jpg",)
    assert found.differences["scores"] == pytest.approx(0.7, abs=1e-6)
    assert (found.stable.metric, found.canary.metric) == (1.0, 0.75)
    assert found.missed == ("agreement 0.7500 (limit 0.9)", "accuracy drops by 0.25 (limit 0.01)")
    with pytest.raises(VerificationError, match=r"Version 2 misses its limits beside version 1: agreement 0\.75"):
        found.require_passed()


def test_a_better_version_passes() -> None:
    found = compared([ROSE, LILY, DAISY, LILY], [ROSE, ROSE, DAISY, LILY], ComparisonLimits(min_agreement=0.7))
    assert found.canary.metric == 1.0 and not [reason for reason in found.missed if "latency" not in reason]


def test_requests_that_fail_are_counted() -> None:
    found = compared([ROSE, ROSE, DAISY, LILY], [ROSE, None, DAISY, LILY])
    assert (found.stable.failed, found.canary.failed, found.labelled) == (0, 1, 3)
    assert found.missed == ("25.0% more requests fail (limit 0.0%)",)
    allowed = ComparisonLimits(max_latency_ratio=1e9, max_failed=0.25)
    assert compared([ROSE, ROSE, DAISY, LILY], [ROSE, None, DAISY, LILY], allowed).passed


def test_a_version_that_answers_nothing_is_named() -> None:
    with pytest.raises(DataError, match="The canary version answers none of 4 pictures: Predict: UNAVAILABLE"):
        compared([ROSE] * 4, [None] * 4)


def test_answers_that_are_not_finite_miss_every_limit_of_the_metric() -> None:
    found = compared([ROSE] * 4, [(math.nan,) * 3] * 4, ComparisonLimits(max_latency_ratio=1e9, min_agreement=0))
    assert not found.passed and "accuracy drops by nan" in found.missed[0]


def test_latency_is_the_median_of_each() -> None:
    found = compared([ROSE] * 4, [ROSE] * 4, ComparisonLimits(max_latency_ratio=1e-9))
    assert found.latency_ratio == found.canary.latency_ms / found.stable.latency_ms
    assert any(reason.startswith("latency ratio") for reason in found.missed)


def test_what_is_the_same_answer() -> None:
    classes, several = task(), MultiLabel(class_names=CLASS_NAMES, thresholds=(0.5, 0.5, 0.5))
    numbers = Regression(value_names=("age",), value_mean=(0.0,), value_std=(1.0,))

    def same(judge: TaskJudge, name: str, one: Sequence[float], other: Sequence[float]) -> bool:
        return judge.same(*({name: np.array([row], np.float32)} for row in (one, other)))

    assert same(TaskJudge(classes), "scores", (0.5, 0.3, 0.2), (0.9, 0.05, 0.05))
    assert not same(TaskJudge(classes), "scores", (0.5, 0.3, 0.2), (0.3, 0.5, 0.2))
    assert same(TaskJudge(several), "scores", (0.9, 0.6, 0.1), (0.6, 0.9, 0.4))
    assert not same(TaskJudge(several), "scores", (0.9, 0.6, 0.1), (0.9, 0.4, 0.1))
    assert same(TaskJudge(numbers), "values", (100.0,), (104.0,))
    assert not same(TaskJudge(numbers), "values", (100.0,), (106.0,))
    assert not same_answer({"label": "a"}, {"other": "a"})
    assert same_answer({"box": [0.1, 0.5]}, {"box": [0.1, 0.51]})
    assert not same_answer({"box": [0.1, 0.5]}, {"box": [0.5, 0.1]})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders: ten pictures each of two of the three classes."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(20):
        file = folder / CLASS_NAMES[number % 2] / f"{number}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encoded_picture(number))
    return folder


def test_class_folders_are_labelled_and_spread(pictures: Path) -> None:
    found = pictures_of(pictures, task(), 7)
    assert len(found) == 7
    assert {int(one.labels["label"]) for one in found} == {0, 1}
    assert all(one.name.startswith(CLASS_NAMES[int(one.labels["label"])]) for one in found)


def test_a_picture_that_cannot_be_read_is_named(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(pictures, tmp_path / "pictures"))
    (folder / "rose" / "broken.jpg").write_bytes(b"no picture")
    assert len(pictures_of(folder, task(), 1000)) == 20
    assert "1 of 21 pictures cannot be read: rose/broken.jpg" in capsys.readouterr().err.replace("\n", " ")


def test_pictures_alone_have_no_labels(pictures: Path) -> None:
    found = pictures_of(pictures / CLASS_NAMES[1], task(), 5)
    assert len(found) == 5 and not any(one.labels for one in found)
    assert TaskJudge(task()).score([], []) is None
    with pytest.raises(DataError, match="There is no"):
        pictures_of(pictures / "none", task(), 5)


def test_a_table_is_labelled(pictures: Path, tmp_path: Path) -> None:
    files = sorted(pictures.rglob("?.jpg"))
    rows = {"image": [str(file) for file in files], "label": [file.parent.name for file in files]}
    rows["label"][0] = "thistle"  # of which the model knows nothing
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    found = pictures_of(tmp_path / "table.csv", task(), 100)
    assert [one.labels.get("label") for one in found][:2] == [None, CLASS_NAMES.index(files[1].parent.name)]


def test_a_prepared_data_set_gives_its_evaluation_split(tmp_path: Path) -> None:
    from pipeline.data.prepare import DataSettings, prepare

    for number in range(24):
        file = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number * 10, np.uint8)).save(file)
    source = {"kind": "folders", "path": tmp_path / "pictures"}
    settings = DataSettings.model_validate({"source": source, "splits": {"validation": 0.2, "test": 0.25}})
    store = prepare(settings, tmp_path / "store")
    found = pictures_of(store.path, Classification(class_names=("a", "b")), 4)
    assert len(found) == 4
    assert all("ab"[int(one.labels["label"])] == one.name[0] for one in found)
