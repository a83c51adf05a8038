from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from pipeline.metrics import plots
from pipeline.metrics.classification import ClassificationEvaluator
from pipeline.metrics.multi_label import MultiLabelEvaluator
from pipeline.metrics.regression import RegressionEvaluator


def classified(names: list[str]) -> ClassificationEvaluator:
    generator = np.random.default_rng(0)
    labels = generator.integers(len(names), size=400)
    scores = generator.random((400, len(names))) + 2 * np.eye(len(names))[labels] * (generator.random((400, 1)) < 0.8)
    evaluator = ClassificationEvaluator(names)
    ids = np.arange(400).astype(str)
    evaluator.update({"id": ids, "label": labels}, {"scores": scores / scores.sum(axis=1, keepdims=True)})
    return evaluator


def texts(svg: str) -> list[str]:
    return [
        text for element in ElementTree.fromstring(svg).findall(".//{*}text") if (text := "".join(element.itertext()))
    ]


@pytest.mark.parametrize("count", [2, 10, 100, 130])
def test_every_class_of_a_confusion_matrix_is_named(count: int):
    names = [f"class {number}" for number in range(count)]
    figures = classified(names).plots()
    assert list(figures) == ["Confusion matrix", "Most confused classes", "Precision and recall", "Reliability"]
    svg = plots.to_svg(figures["Confusion matrix"], "x")
    named = [text for text in texts(svg) if text.startswith("class ")]
    assert len(named) == 2 * min(count, plots.MOST_CLASSES)
    assert len(svg) < 200_000


def test_names_that_are_markup_or_formulas_are_shown_as_they_are():
    names = ["<script>1</script>", "5$ & 10$", r"a\b_{2}", "花"]
    svg = plots.to_svg(classified(names).plots()["Confusion matrix"], "x")
    assert "<script" not in svg
    assert {text for text in texts(svg) if not text.isdigit()} == {*names, "answered", "expected"}


def test_a_perfect_classifier_has_no_confused_pairs():
    evaluator = ClassificationEvaluator(["a", "b"])
    evaluator.update({"id": np.array(["1", "2"]), "label": np.array([0, 1])}, {"scores": np.eye(2)})
    assert "Most confused classes" not in evaluator.plots()


def test_the_pairs_are_counted():
    counts = np.array([[5, 3, 0], [0, 9, 0], [1, 0, 7]])
    found = texts(plots.to_svg(plots.confused_pairs(counts, ["cat", "dog", "fox"]), "x"))
    assert [text for text in found if "→" in text][1:] == ["cat → dog", "fox → cat"]
    assert {"3", "1"} <= set(found)


def test_the_same_numbers_give_the_same_picture():
    first, second = (plots.to_svg(classified(["a", "b"]).plots()["Reliability"], "x") for _ in range(2))
    assert first == second


def test_figures_of_all_kinds_hold_only_the_page_s_colours():
    generator = np.random.default_rng(0)
    present = generator.random((50, 3)) < 0.4
    labels = MultiLabelEvaluator(["a", "b", "c"])
    labels.update({"id": np.arange(50).astype(str), "labels": present}, {"scores": generator.random((50, 3))})
    values = RegressionEvaluator(["cells"])
    truth = generator.normal(size=(50, 1))
    values.update({"id": np.arange(50).astype(str), "value": truth}, {"values": truth + 0.1})
    allowed = {plots.INK, plots.MUTED, plots.LINE, plots.ACCENT, plots.SECOND, plots.PAPER}
    for figure in {**classified(["a", "b"]).plots(), **labels.plots(), **values.plots()}.values():
        assert set(re.findall(r"#[0-9a-f]{6}\b", plots.to_svg(figure, "x"))) <= allowed


def test_saved_figures_hold_their_titles_and_replace_older_ones(tmp_path: Path):
    for number in range(7):
        (tmp_path / f"{number:02}.svg").write_text("old")
    figures = classified(["a", "b"]).plots()
    plots.save_plots({"<b> & a/b": figures["Reliability"], "second": figures["Precision and recall"]}, tmp_path)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["00.svg", "01.svg"]
    titles = [ElementTree.fromstring(file.read_text()).findtext("{*}title") for file in files]
    assert titles == ["<b> & a/b", "second"]
