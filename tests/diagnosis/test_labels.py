"""Every defect of labels, texts and numbers is planted, and found."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.data.sources import Table
from pipeline.data.splits import Splits
from pipeline.diagnosis import DoctorSettings
from pipeline.diagnosis.examine import Subject, examine
from pipeline.diagnosis.labels import robust_scores
from tests.diagnosis.given import diagnosed, encoded, example, found, kinds, picture


def test_unknown_classes() -> None:
    examples = [example(0), example(1), example(2, label="ab")]
    (one,) = found(diagnosed(examples, source={"names": ("a", "b")}), "unknown_class")
    assert (one.severity, one.where, one.ids) == ("error", "list.csv:2", ("2",))
    assert "'ab'" in one.what
    assert "Valid: a, b" in one.fix
    assert "unknown_class" not in kinds(diagnosed(examples))


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"label": None}, "no label, but 3 other"),
        ({"label": ""}, "not known: the label"),
    ],
)
def test_missing_labels(held: dict[str, Any], words: str) -> None:
    diagnosis = diagnosed([*(example(number) for number in range(3)), example(3, **held)])
    (one,) = found(diagnosis, "missing_label")
    assert (one.severity, one.where) == ("error", "list.csv:3")
    assert words in one.what


def test_classes_that_are_left_open() -> None:
    examples = [example(number, labels=["x"]) for number in range(3)]
    diagnosis = diagnosed([*examples, example(3, labels=["x"], labels_unknown=["y"])])
    (one,) = found(diagnosis, "missing_label")
    assert "y" in one.what


def test_what_may_be_missing_is_a_note() -> None:
    examples = [example(number, text="word") for number in range(3)]
    (one,) = found(diagnosed([*examples, example(3)]), "missing_label")
    assert (one.severity, one.what) == ("note", "no text, but 3 other examples have one")


def test_a_label_that_is_there_twice() -> None:
    examples = [example(0, labels=["x", "y"]), example(1, labels=["x", "x"]), example(2, labels=[])]
    (one,) = found(diagnosed(examples), "repeated_label")
    assert one.where == "list.csv:1"


def test_classes_whose_names_are_nearly_the_same() -> None:
    names = ["Rose", "rose ", "tulip", "caf\u00e9", "cafe\u0301"]
    diagnosis = diagnosed([example(number, label=name) for number, name in enumerate(names)])
    first, second = found(diagnosis, "similar_class_names")
    assert "'Rose', 'rose '" in first.what
    assert second.where == "list.csv:4"


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", "empty_text", "empty"),
        (" \n", "empty_text", "empty"),
        ("a\x07b", "unusual_text", "U+0007"),
        ("a\u200bb", "unusual_text", "invisible"),
        ("a\ufffdb", "unusual_text", "could not be decoded"),
        ("cafe\u0301", "mixed_normal_forms", "NFC"),
        ("word ", "spaces_around_text", "spaces"),
    ],
)
def test_texts(text: str, kind: str, words: str) -> None:
    sound = [example(0, text="two\nlines"), example(1, text="na\u00efve \u4e2d\u6587 \u2713")]
    assert kinds(diagnosed(sound)) == set()
    (one,) = found(diagnosed([*sound, example(2, text=text)]), kind)
    assert words in one.what
    assert one.ids == ("2",)


@pytest.mark.parametrize(
    ("value", "kind"), [(math.nan, "missing_label"), (math.inf, "target_not_finite"), (-math.inf, "target_not_finite")]
)
def test_targets_that_are_no_numbers(value: float, kind: str) -> None:
    examples = [example(number, value=[float(number)]) for number in range(3)]
    diagnosis = diagnosed([*examples, example(3, value=[value])], source={"targets": ("age",)})
    (one,) = found(diagnosis, kind)
    assert (one.severity, one.where) == ("error", "list.csv:3")
    assert "age" in one.what


def test_outliers() -> None:
    values = [*np.random.default_rng(0).normal(50, 5, 40), 500.0]
    examples = [example(number, value=[value, 1.0]) for number, value in enumerate(values)]
    diagnosis = diagnosed(examples, source={"targets": ("age", "height")})
    (one,) = found(diagnosis, "outlier")
    assert one.where == "list.csv:40"
    assert "age is 500" in one.what
    assert "outlier" not in kinds(diagnosed(examples, outlier=1000))


def test_robust_scores_by_hand() -> None:
    values = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 100, np.nan])
    # of the ten numbers the median is 5.5, the distances' median 2.5, and 2.5 x 1.4826 = 3.7065
    scores = robust_scores(values)
    assert scores[[0, 9]] == pytest.approx([-4.5 / 3.7065, 94.5 / 3.7065])
    assert scores[10] == 0
    np.testing.assert_array_equal(robust_scores(np.full(20, 3.0)), np.zeros(20))
    half_the_same = np.array([0.0] * 15 + [1.0])
    assert robust_scores(half_the_same)[-1] == pytest.approx(1 / (1.2533 / 16))


def test_every_row_of_a_table_is_looked_at(tmp_path: Path) -> None:
    """`prepare` stops at the first mistake; here all are named, each with its line."""
    rows = ["image,label", "0.png,a", "1.png,", "2.png,b", "3.png,", "4.png,a"]
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(encoded(picture(number)))
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    source = Table(path=tmp_path / "list.csv", label_column="label")
    refused = examine(Subject(source, Splits()), DoctorSettings())
    assert [one.where for one in found(refused, "missing_label")] == [f"{tmp_path}/list.csv:{line}" for line in (3, 5)]
    assert {one.severity for one in found(refused, "missing_label")} == {"error"}
    masked = examine(Subject(source, Splits(), missing_labels="mask"), DoctorSettings())
    assert {one.severity for one in found(masked, "missing_label")} == {"note"}


def test_what_the_source_refuses_is_a_finding(tmp_path: Path) -> None:
    rows = ["image,label,split", "0.png,a,train", "1.png,b,somewhere", "2.png,b,test"]
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(picture(number)))
    (tmp_path / "list.csv").write_text("\n".join(rows), encoding="utf-8")
    source = Table(path=tmp_path / "list.csv", label_column="label", split_column="split")
    diagnosis = examine(Subject(source), DoctorSettings())
    (one,) = found(diagnosis, "refused")
    assert "list.csv:3" in one.what
    assert "'somewhere'" in one.what
