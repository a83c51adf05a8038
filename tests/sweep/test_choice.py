"""Fronts, limits and picks, on rows small enough to check on paper."""

from __future__ import annotations

import csv
import io

import pytest

from pipeline.compress import CompressSettings
from pipeline.errors import ExportError, VerificationError
from pipeline.sweep.choice import Bounds, choose
from pipeline.sweep.figure import staircase, sweep_figure
from pipeline.sweep.keep import require_picks
from pipeline.sweep.rows import Row, as_csv
from pipeline.sweep.settings import SweepLimits


def row(name: str, size: int, drop: float, latency: float, **more: object) -> Row:
    known = {"metric": 0.9 - drop, "zipped_bytes": size // 2, "float_ops": 5, **more}
    return Row(name, {"kind": name}, bytes=size, drop=drop, latency_ms=latency, **known)


FLOAT = row("float32", 1000, 0.0, 2.0)
HALF = row("float16", 500, 0.0, 2.5)
INT8 = row("int8", 260, 0.002, 1.0, float_ops=0)
WIDE = row("int16x8", 270, 0.0005, 9.0, float_ops=0, slow_operators={"CONV_2D": 3})
FOUR = row("int4", 140, 0.008, 3.0)
BEATEN = row("int8_twin", 260, 0.003, 1.0, float_ops=0)
FAILED = Row("int8_qat", {"kind": "int8_qat"}, error="gem cannot be quantized")
ROWS = (FLOAT, HALF, INT8, WIDE, FOUR, BEATEN, FAILED)


def bounds(**limits: object) -> Bounds:
    settings = SweepLimits(**limits)
    return Bounds(settings, settings.max_drop, "accuracy")


def picks(rows: object, **limits: object) -> dict[str, str]:
    return {name: pick.name for name, pick in choose(rows, bounds(**limits)).picks.items()}


def test_the_front_holds_what_no_other_beats_everywhere() -> None:
    assert choose(ROWS, bounds()).front == ("float32", "float16", "int8", "int16x8", "int4")


def test_equals_do_not_beat_each_other() -> None:
    twin = row("twin", 260, 0.002, 1.0)
    assert choose((INT8, twin), bounds()).front == ("int8", "twin")


def test_picks_by_size_by_integers_and_by_speed() -> None:
    assert picks(ROWS, max_drop=0.01) == {"smallest": "int4", "phone": "int8", "server": "int8"}
    assert picks(ROWS, max_drop=0.001) == {"smallest": "int16x8", "phone": "int16x8", "server": "float32"}


def test_a_phone_takes_integers_with_fast_kernels_where_there_are_any() -> None:
    """int16x8 is as small, but for its kernels; without int8 there is no such file, and the reason says so."""
    why = choose((FLOAT, WIDE), bounds(max_drop=0.001)).picks["phone"].why
    assert why.startswith("none within the limits computes by integers alone")
    assert "3 operators without fast kernel" in why
    assert "compute by builtin integer operators" in choose(ROWS, bounds()).picks["phone"].why


def test_limits_leave_out_what_misses_them_and_say_by_how_much() -> None:
    strict = bounds(max_bytes=600, max_latency_ms=2.6, max_drop=0.0025)
    assert choose(ROWS, strict).within == ("float16", "int8")
    assert strict.misses(FLOAT) == "1,000 bytes (limit 600)"
    assert strict.misses(FOUR) == "drop 0.80\u00a0points (limit 0.25\u00a0points), 3 ms (limit 2.6 ms)"
    assert strict.misses(INT8) == ""


def test_the_size_that_counts_can_be_the_zipped_one() -> None:
    pruned = row("pruned", 1000, 0.0, 2.0, zipped_bytes=50)
    assert picks((*ROWS, pruned), size="zipped_bytes")["smallest"] == "pruned"
    assert picks((*ROWS, pruned))["smallest"] == "int4"
    zipped = bounds(size="zipped_bytes", max_bytes=40)
    assert zipped.misses(pruned) == "50 bytes zipped (limit 40)"
    assert choose((pruned,), bounds(size="zipped_bytes")).picks["smallest"].why.count("50 bytes zipped, drop") == 1


def test_the_closest_is_named_where_nothing_keeps_the_limits() -> None:
    """int8 is 30 % too large and keeps the rest; int4 is smaller, but four times over the drop."""
    choice = choose(ROWS, bounds(max_bytes=200, max_drop=0.002))
    assert choice.picks == {} and choice.within == ()
    assert choice.closest is not None and choice.closest.name == "int8"
    with pytest.raises(VerificationError, match=r"closest is int8: 260 bytes \(limit 200\)"):
        require_picks(ROWS, choice)


def test_no_variant_that_could_be_made_is_an_export_error() -> None:
    with pytest.raises(ExportError, match="int8_qat: gem cannot be quantized"):
        require_picks((FAILED,), choose((FAILED,), bounds()))


def test_a_limit_of_nothing_is_a_limit() -> None:
    assert choose((INT8, FLOAT), bounds(max_drop=0)).within == ("float32",)


def test_an_error_is_limited_as_a_share_of_the_trained_models() -> None:
    from pipeline.tasks.base import Metric

    limits = SweepLimits(max_increase=0.05)
    assert limits.allowed(Metric("mean_absolute_error", "min"), 20.0) == 1.0
    assert limits.allowed(Metric("accuracy", "max"), 20.0) == 0.01


def test_the_front_of_a_panel_goes_down_in_drop_only() -> None:
    points = [(260.0, 0.2, 89.8), (140.0, 0.8, 89.2), (1000.0, 0.0, 90.0), (500.0, 0.2, 89.8)]
    assert staircase(points) == [(140.0, 89.2), (260.0, 89.8), (1000.0, 90.0)]


def test_the_figure_names_every_variant() -> None:
    from pipeline.metrics.plots import to_svg

    made = [one for one in ROWS if one.made]
    svg = to_svg(sweep_figure(made, choose(ROWS, bounds()), bounds()), "Sweep")
    assert all(f"{number} {one.name}" in svg for number, one in enumerate(made, 1))


def test_the_table_has_a_line_for_each_row_and_plain_cells() -> None:
    text = as_csv(ROWS, [{"pareto": one is FLOAT} for one in ROWS])
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["name"] for line in lines] == [one.name for one in ROWS]
    assert lines[0]["pareto"] == "yes" and lines[1]["pareto"] == "no"
    assert lines[3]["slow_operators"] == '{"CONV_2D": 3}'
    assert (lines[-1]["error"], lines[-1]["bytes"]) == ("gem cannot be quantized", "")


def test_the_grid_is_unique_and_trains_nothing_by_default() -> None:
    grid = CompressSettings().sweep.variants
    assert not [variant.variant_name for variant in grid if "epochs" in type(variant).model_fields]
    with pytest.raises(ValueError, match="two variants are called int8"):
        CompressSettings.model_validate({"sweep": {"variants": [{"kind": "int8"}, {"kind": "int8"}]}})
