"""Verdicts: differences that are there are found, chance is not, and few requests say so."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from pipeline.answers import Said, said
from pipeline.drift import DriftSettings, compare, statistics
from pipeline.drift.features import LEAST, novelty, separation
from pipeline.drift.report import DriftReport

SETTINGS = DriftSettings()


def number(reference: Any, production: Any, **settings: float) -> compare.Measured:
    found = compare.numbers("x", "pictures", np.asarray(reference), np.asarray(production), DriftSettings(**settings))
    assert found is not None
    return compare.judged([found], DriftSettings(**settings))[0]


def named(*labels: str) -> list[Said]:
    return [said({"label": label, "score": 0.5}) for label in labels]


def classes(reference: list[Said], production: list[Said]) -> compare.Measured:
    found = compare.classes(reference, production, SETTINGS)
    assert found is not None
    return found


def report_of(*measured: compare.Measured) -> DriftReport:
    count = measured[0].count
    return DriftReport(
        folder="log",
        logged=count,
        looked_at=count,
        answered=count,
        first=0.0,
        last=0.0,
        versions={1: count},
        agreement=1.0,
        measured=measured,
        separation=None,
        samples={},
        class_counts={},
        furthest=(),
        settings=SETTINGS,
    )


def test_what_answers_say() -> None:
    best = [{"label": "rose", "score": 0.9}, {"label": "lily", "score": 0.1}]
    assert said({"label": "rose", "score": 0.9, "best": best}) == Said(("rose",), (0.9,), {}, False)
    assert said({"labels": best}) == Said(("rose", "lily"), (0.9, 0.1), {}, True)
    assert said({"labels": []}) == Said((), (), {}, True)
    assert said({"values": {"age": 31.5, "height": 1.7}}) == Said((), (), {"age": 31.5, "height": 1.7}, False)


def test_measures_of_answers() -> None:
    several = [said({"labels": [{"label": "a", "score": 0.9}, {"label": "b", "score": 0.6}]}), said({"labels": []})]
    assert {name: values.tolist() for name, values in compare.answers(several).items()} == {
        "score": [0.6, pytest.approx(np.nan, nan_ok=True)],
        "classes in an answer": [2.0, 0.0],
    }
    numbers = [said({"values": {"age": 1.0}}), said({"values": {"age": 2.0}})]
    assert {name: values.tolist() for name, values in compare.answers(numbers).items()} == {"answer: age": [1.0, 2.0]}
    assert compare.class_counts((several, named("b", "c"))) == {"a": [1, 0], "b": [1, 1], "c": [0, 1]}


def test_a_shift_is_found_and_chance_is_not() -> None:
    generator = np.random.default_rng(0)
    verdicts = [number(generator.normal(size=1000), generator.normal(size=400)).verdict for _ in range(200)]
    assert verdicts.count("alike") >= 199
    reference = generator.normal(size=1000)
    moved = number(reference, generator.normal(1.0, size=400))
    assert moved.verdict == "drifted" and moved.psi > 0.5 and moved.moved == pytest.approx(1.0, abs=0.15)
    assert moved.p_value < 1e-30 and moved.distance == pytest.approx(0.38, abs=0.06)


def test_small_but_certain_differences_are_no_drift() -> None:
    generator = np.random.default_rng(1)
    found = number(generator.normal(size=50_000), generator.normal(0.1, size=50_000))
    assert found.p_value < 1e-20 and found.psi < 0.05 and found.verdict == "alike"
    between = number(generator.normal(size=50_000), generator.normal(0.4, size=50_000))
    assert 0.1 < between.psi < 0.25 and between.verdict == "slightly different"
    assert number(generator.normal(size=50_000), generator.normal(0.4, size=50_000), max_psi=0.1).verdict == "drifted"


def test_few_requests_tell_little_but_not_nothing() -> None:
    generator = np.random.default_rng(2)
    reference = generator.normal(size=2000)
    assert number(reference, generator.normal(size=20)).verdict == "too few"
    assert number(reference, generator.normal(5, size=20)).verdict == "drifted"
    assert number(reference, [0.1]).verdict == "too few"


def test_nan_is_passed_over() -> None:
    assert number([1, 2, np.nan, 3], [2, np.nan]).count == 1
    assert compare.numbers("x", "pictures", np.ones(3), np.full(2, np.nan), SETTINGS) is None


def test_classes_that_shift() -> None:
    reference = named(*"aaabbbccc" * 50)
    alike, shifted = (compare.classes(reference, named(*labels * 50), SETTINGS) for labels in ("abc", "aab"))
    assert alike is not None and shifted is not None
    assert (alike.psi, alike.distance, alike.moved, alike.p_value) == (
        pytest.approx(0, abs=1e-6),
        0,
        pytest.approx(0, abs=1e-6),
        1,
    )
    assert alike.reference == "a 33%" and shifted.production == "a 67%"
    assert shifted.distance == pytest.approx(1 / 3) and shifted.p_value < 0.001
    assert compare.judged([shifted], SETTINGS)[0].verdict == "drifted"
    assert compare.classes([said({"values": {"x": 1.0}})], [said({"values": {"x": 1.0}})], SETTINGS) is None


def test_a_thousand_classes_and_few_requests_are_no_drift() -> None:
    generator = np.random.default_rng(3)
    sides = [named(*(str(label) for label in generator.integers(0, 1000, count))) for count in (2000, 300)]
    found = compare.classes(*sides, SETTINGS)
    assert found is not None and compare.judged([found], SETTINGS)[0].verdict in ("alike", "too few")


def some_of(classes: int, count: int, generator: np.random.Generator, first: int = 0) -> list[Said]:
    return named(*(str(first + label) for label in generator.integers(0, classes, count)))


def test_many_classes_are_alike_only_if_they_can_be_told_apart() -> None:
    """Most of a thousand classes are too rare for a bin; what they hide is not passed over."""
    generator = np.random.default_rng(5)
    reference = some_of(1000, 2000, generator)
    half, others = some_of(500, 2000, generator), some_of(1000, 2000, generator, first=1000)
    found = [compare.judged([one], SETTINGS)[0] for one in (classes(reference, half), classes(reference, others))]
    assert [one.verdict for one in found] == ["too few", "drifted"]
    assert all(one.told_apart < 0.5 and one.p_value < 0.001 for one in found)
    (text,) = report_of(found[0]).cautions
    assert "class says little" in text and "p = 0.0005" in text and "by chance" not in text
    assert report_of(found[1]).missed[0].startswith("class: PSI")


def test_the_index_of_classes_is_no_more_than_it_is() -> None:
    """Pinsker's inequality against the index itself, of shares without any bins put together."""
    first, second = np.array([500_000, 300_000, 200_000]), np.array([200_000, 300_000, 500_000])
    exact = statistics.stability(first, second, 0.01).psi
    assert 4 * 0.3**2 * 0.98 < statistics.stability_at_least(first, second) < exact
    assert statistics.stability_at_least(first, first // 100) == 0


@pytest.mark.parametrize("p_value", [0.01, 0.001])
def test_classes_can_drift_alone_at_any_p_value(p_value: float) -> None:
    """Beside ten measures that are alike, whose number its p-value is corrected for."""
    settings = DriftSettings(p_value=p_value)
    shifted = compare.classes(named(*"abc" * 50), named(*"aab" * 50), settings)
    alike = compare.numbers("x", "pictures", np.arange(150.0), np.arange(150.0), settings)
    assert shifted is not None and alike is not None
    assert compare.judged([shifted, *[alike] * 10], settings)[0].verdict == "drifted"


@pytest.mark.parametrize("count", [5, 20, 60])
def test_as_many_requests_as_are_said_to_be_needed_are_enough(count: int) -> None:
    generator = np.random.default_rng(6)
    reference = generator.normal(size=2000)
    (text,) = report_of(number(reference, generator.normal(size=count))).cautions
    told = re.search(r"About (\d+) are needed for the limit of 0.25", text)
    assert told is not None
    enough = number(reference, generator.normal(size=int(told[1])))
    assert enough.by_chance <= 0.25 and enough.verdict != "too few"
    (text,) = report_of(number(reference[:50], generator.normal(size=count))).cautions
    assert "The reference is too small for this limit." in text


def test_bins_are_those_that_hold_anything() -> None:
    """A value that never varied has bins at either side of it, which are empty and take no part."""
    assert number(np.full(500, 8.0), np.full(500, 8.0)).bins == 1
    assert number(np.full(500, 8.0), np.full(500, 9.0)).bins == 2


def test_novelty_by_hand() -> None:
    """Distances of directions: the same 0, at right angles the root of 2, opposite 2. Length plays no part."""
    bank = np.repeat(np.array([[1.0, 0.0]], np.float32), 10, axis=0)
    features = np.array([[7, 0], [0, 3], [-1, 0], [1, 1]], np.float32)
    expected = [0, np.sqrt(2), 2, np.sqrt(2 - np.sqrt(2))]
    assert novelty(bank, features).tolist() == pytest.approx(expected, abs=1e-6)
    assert novelty(bank[:2], features)[1] == pytest.approx(np.sqrt(2))
    assert novelty(bank, features[:0]).tolist() == []


def test_separation() -> None:
    generator = np.random.default_rng(4)
    first, second = (generator.normal(size=(400, 16)) for _ in range(2))
    alike = separation(first, second, 0.01)
    assert alike is not None and alike.auc < alike.by_chance and alike.p_value > 0.01
    apart = separation(first, second + np.eye(16)[0] * 2, 0.01)
    assert apart is not None and apart.auc == pytest.approx(0.92, abs=0.03)  # Phi(2 / sqrt(2)) = 0.921
    assert apart.p_value < 1e-50
    assert separation(first, second[: LEAST - 1], 0.01) is None
