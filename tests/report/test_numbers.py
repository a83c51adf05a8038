from __future__ import annotations

import pytest

from pipeline.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (12345, "12,345"),
        (12345.678, "12,346"),
        (0.123456, "0.1235"),
        (-0.5, "−0.5"),
        (3.6e-07, "3.6 × 10⁻⁷"),
        (5.0, "5"),
        ("int8", "int8"),
    ],
)
def test_numbers_have_no_more_digits_than_help(value: object, text: str):
    assert numbers.number(value) == text.replace(" ", numbers.SPACE)


def test_shares_are_per_cent_and_their_drops_points():
    assert numbers.measure(0.98612, "accuracy") == "98.61\u00a0%"
    assert numbers.measure(0.98612, "log_loss") == "0.9861"
    assert numbers.measure(None, "f1") == "–"
    assert numbers.drop(0.0025, "accuracy") == "0.25\u00a0points"
    assert numbers.drop(-0.0025, "accuracy") == "−0.25\u00a0points"
    assert numbers.drop(-1e-9, "accuracy") == "0.00\u00a0points"
    assert numbers.drop(0.123456, "mean_absolute_error") == "0.1235"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_096_412, "1.1 MB"), (98_765_432, "98.8 MB"), (2.5e12, "2,500 GB")],
)
def test_sizes_are_decimal(count: float, text: str):
    assert numbers.size(count) == text.replace(" ", numbers.SPACE)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1234, "0.123_s"), (59.4, "59.4_s"), (125, "2_min 05_s"), (11520, "3_h 12_min"), (None, "–")],
)
def test_durations_have_two_units_at_most(seconds: float | None, text: str):
    assert numbers.duration(seconds) == text.replace("_", numbers.SPACE)


def test_keys_become_words():
    assert numbers.title("mean_absolute_error") == "Mean absolute error"
    assert numbers.title("roc_auc") == "ROC AUC"
    assert numbers.name("top_5") == "top-5 accuracy"


def test_the_measures_of_detection_are_shares_with_their_usual_names() -> None:
    assert numbers.title("map") == "Mean AP 50:95"
    assert numbers.measure(0.4306, "map_50") == numbers.measure(0.4306, "voc_map_50") == "43.06\u00a0%"
    assert numbers.drop(0.0123, "map") == "1.23\u00a0points"


def test_a_confusion_without_its_zeros_has_columns_in_the_order_of_its_rows() -> None:
    from pipeline.report.content import tables

    confusion = {"a": {"c": 1, "a": 2}, "b": {}, "c": {"background": 1}, "background": {"b": 3}}
    table = tables({"confusion": confusion})["confusion"]
    assert table["columns"] == ["a", "b", "c", "background"]
    assert table["rows"]["a"] == [2, None, 1, None]
    assert tables({"per_class": {"a": {"recall": 1, "f1": 2}}})["per_class"]["columns"] == ["recall", "f1"]
