"""Verdicts: differences that are there are found, chance is not, and few requests say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.answers import Said, said
from pipeline.drift import DriftSettings, compare
from pipeline.drift.features import LEAST, novelty, separation

SETTINGS = DriftSettings()


def number(reference: Any, production: Any, **settings: float) -> compare.Measured:
    found = compare.numbers("x", "pictures", np.asarray(reference), np.asarray(production), DriftSettings(**settings))
    assert found is not None
    return compare.judged([found], DriftSettings(**settings))[0]


def named(*labels: str) -> list[Said]:
    return [said({"label": label, "score": 0.5}) for label in labels]


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
