"""The benchmarks' own arithmetic, their JSON form, and the table of blood cells."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import (
    cell_count_table,
    compression,
    distillation,
    int8_detectors,
    measure,
    road,
    robust_detection,
    tracking_settings,
)
from pipeline.compress import CompressSettings
from pipeline.sweep.rows import Row
from pipeline.tasks import Detection
from pipeline.tracking.mot import Objects
from tests.conftest import ROOT

KEYS = {"name", "ratio", "low", "high", "goal", "met", "value", "unit"}


def test_a_ratio_is_formed_within_each_round() -> None:
    compared = measure.compare("a / b", [100.0, 50.0, 90.0], [100.0, 100.0, 100.0], "pictures/s")
    assert (compared.low, compared.ratio, compared.high, compared.value) == (0.5, 0.9, 1.0, 90.0)
    assert compared.met is None
    assert measure.at_least(compared, 0.9).met is True
    assert measure.at_least(compared, 0.91).met is False


def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def side(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    found = measure.interleave({"a": lambda: side("a"), "b": lambda: side("b")}, rounds=2)
    assert calls == ["a", "b", "a", "b", "b", "a"]
    assert found == {"a": [3.0, 6.0], "b": [4.0, 5.0]}


def test_shares_of_the_road_sum_to_one() -> None:
    lines = road.shares([{"start": 1.0, "train": 3.0}])
    assert [(line.ratio, line.value) for line in lines] == [(0.25, 1.0), (0.75, 3.0), (1.0, 4.0)]
    assert all(line.goal is None and line.met is None for line in lines)


def test_the_detector_of_known_errors_makes_them() -> None:
    boxes = np.tile([40.0, 40.0, 60.0, 80.0], (1000, 1))
    ignored = np.arange(1000) >= 800
    there = Objects(np.arange(1, 1001), boxes, np.full(1000, 3), ignored, in_parts=ignored)
    random = np.random.default_rng(1)
    found = tracking_settings.detected(there, random)
    near = np.abs(found.boxes - boxes[0]).max(axis=1) < 20
    assert near.sum() == pytest.approx(0.9 * 800, abs=30)
    np.testing.assert_allclose((found.boxes[near] - boxes[0]).std(axis=0), [1.0, 2.0, 1.0, 2.0], rtol=0.1)
    assert set(found.classes[near]) == {3}
    nothing = [len(tracking_settings.detected(there.where(ignored), random)) for _ in range(500)]
    assert sum(nothing) / 500 == pytest.approx(0.3, abs=0.1)


def test_the_table_of_tracking_settings_holds_the_means() -> None:
    results = [
        {"mota": 0.8, "idf1": 0.9, "hota": 0.7, "identity_switches": 1},
        {"mota": 0.9, "idf1": 1.0, "hota": 0.9, "identity_switches": 2},
    ]
    table = tracking_settings.markdown({"defaults": results})
    assert table.splitlines()[-1] == "| defaults | 0.850 | 0.950 | 0.800 | 1.5 |"


def test_the_gain_of_a_teacher_is_formed_for_each_seed_and_its_mean_is_judged() -> None:
    def row(side: str, seed: int, accuracy: float) -> distillation.Row:
        return distillation.Row(side, seed, accuracy, parameters=10, cpu_seconds=60.0, settings="")

    rows = [row("alone", 2, 0.80), row("alone", 3, 0.82), row("attention", 3, 0.83), row("attention", 2, 0.80)]
    goal = [row(distillation.GOAL, 2, 0.81), row(distillation.GOAL, 3, 0.82)]
    attention, asked = distillation.measures_of([*rows, *goal])
    assert (attention.low, attention.ratio, attention.high) == pytest.approx((0.0, 0.5, 1.0))
    assert attention.met is None
    assert (asked.ratio, asked.goal, asked.met) == (pytest.approx(0.5), 0.5, asked.ratio >= 0.5)
    table = distillation.as_markdown(row("teacher", 0, 0.9), [*rows, *goal])
    assert "| attention | 81.50 | +0.50 (+0.00 to +1.00) | 10 | 1.0 |" in table


def test_a_finished_training_is_not_made_again_and_a_line_cut_short_is_passed_over(tmp_path: Path) -> None:
    bench = distillation.Bench(tmp_path, tmp_path / "data", epochs=1, teacher_epochs=1)
    known = json.dumps(bench.settings("alone", 2), sort_keys=True)
    row = distillation.Row("alone", 2, 0.5, 10, 1.0, known)
    bench.rows.write_text(json.dumps(vars(row)) + "\n" + json.dumps(vars(row))[:30], encoding="utf-8")
    assert distillation.row_of(bench, "alone", 2) == row
    other = replace(row, seed=3)
    distillation.write_row(bench.rows, other)
    assert distillation.read_rows(bench.rows) == [row, other]


def test_robust_detection_trains_alike_but_for_what_hides_and_darkens() -> None:
    plain, robust = (robust_detection.configuration(side, 3, 1500, hidden=0.2) for side in ("without", "with"))
    added = [one.kind for one in robust.augment[len(plain.augment) :]]
    assert robust.augment[: len(plain.augment)] == plain.augment
    assert added == ["occluders", "light_gradient", "shadow", "gamma"]
    assert plain.model_copy(update={"augment": robust.augment}) == robust
    assert robust.seed == 3 and (robust.train.epochs, robust.data.source.most_hidden) == (2, 0.2)
    assert robust_detection.configuration("with", 1, 10, hidden=0.2).data.source.train == 160


def test_robust_detection_compares_bin_by_bin() -> None:
    def result(ap: float, hidden: float) -> dict[str, Any]:
        bins = {"25% to 50%": {"objects": 3, "ap_50": hidden}, "75% to 100%": {"objects": 9, "ap_50": ap}}
        return {"map_50": ap, "num_objects": 12, "by_visible": bins, "by_brightness": {"0% to 25%": bins["25% to 50%"]}}

    found = {"without": [result(0.5, 0.2), result(0.6, 0.0)], "with": [result(0.6, 0.3), result(0.6, 0.1)]}
    rows = robust_detection.rows_of(found)
    whole, bright = robust_detection.ratios(rows)  # what one side did not find at all has no ratio
    assert (whole.low, whole.high) == pytest.approx((1.0, 1.2)) and "75% to 100%" in bright.name
    table = robust_detection.markdown(found, rows)
    assert "| visible 25% to 50% | 3 | 0.100 | 0.200 |" in table and "| all objects | 12 | 0.550 | 0.600 |" in table


def test_startup_writes_the_json_form_and_runs_among_all(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.startup", "--rounds", "1", "--json", str(file)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    document = json.loads(file.read_text(encoding="utf-8"))
    assert set(document) == {"host", "measures"}
    assert document["host"]["cores"] >= 1
    (line,) = document["measures"]
    assert set(line) == KEYS
    assert line["low"] <= line["ratio"] <= line["high"]
    assert line["met"] is (line["value"] < 0.5)
    assert measure.read(file)[0].unit == "s"


def test_an_unknown_benchmark_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks", "speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "there is no benchmark speed; choose from startup, training_overhead" in done.stderr


def test_a_crash_is_told_apart_from_a_result(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import __main__ as all_of_them

    monkeypatch.setattr(all_of_them, "BENCHMARKS", ("not_there",))
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    with pytest.raises(SystemExit, match="Crashed: not_there"):
        all_of_them.main()
    assert "No module named benchmarks.not_there" in capfd.readouterr().err


def test_the_time_of_an_operation_is_told_for_both_engines_and_keras_cv(tmp_path: Path) -> None:
    table, result = tmp_path / "operations.csv", tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.augment_operations", "grayscale", "shadow", "--rounds", "1"]
    command += ["--batches", "1", "--csv", str(table), "--json", str(result)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    grayscale, shadow = ["opencv", "tensorflow", "keras_cv"], ["opencv", "tensorflow"]
    assert [row["operation"] for row in rows] == ["grayscale"] * 3 + ["shadow"] * 2
    assert [row["side"] for row in rows] == grayscale + shadow
    assert all(0 < float(row["least"]) <= float(row["ms_per_picture"]) <= float(row["most"]) for row in rows)
    assert [line.name for line in measure.read(result)] == [
        "grayscale: opencv / tensorflow",
        "grayscale: opencv / keras_cv",
        "shadow: opencv / tensorflow",
    ]


ANNOTATION = """<annotation>
<object><name>RBC</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>
<object><name>RBC</name><bndbox><xmin>4</xmin><ymin>4</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object>
<object><name>RBC</name><bndbox><xmin>4</xmin><ymin>4</ymin><xmax>4</xmax><ymax>8</ymax></bndbox></object>
<object><name>WBC</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>
</annotation>"""


def test_boxes_without_area_are_not_cells(tmp_path: Path) -> None:
    (tmp_path / "one.xml").write_text(ANNOTATION, encoding="utf-8")
    assert cell_count_table.red_blood_cells(tmp_path / "one.xml") == 1


def test_the_table_of_the_real_pictures(
    convoy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "cells.csv"
    monkeypatch.setenv("CONVOY_DATA", str(convoy_data))
    monkeypatch.setattr(sys, "argv", ["cell_count_table", str(output)])
    cell_count_table.main()
    with output.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["split"] for row in rows} == {"train", "val"}
    assert all((convoy_data / "bccd" / row["image"]).is_file() for row in rows)
    assert len({row["image"] for row in rows}) == len(rows)
    assert str(sum(int(row["red_blood_cells"]) for row in rows)) in capsys.readouterr().out


def compressed(name: str, size: int, drop: float, **more: Any) -> Row:
    return Row(name, {"kind": name}, metric=0.93 - drop, drop=drop, bytes=size, zipped_bytes=size // 2, **more)


def test_the_table_of_compression_says_what_is_missed() -> None:
    cases = compression.chosen(["int8", "pruned", "binary", "pcqat"])
    assert [case.name for case in cases] == ["float32", "int8", "pruned", "pcqat", "binary"]
    rows = [
        compressed("float32", 1000, 0.0),
        compressed("int8", 260, 0.004, cpu_seconds=90.0),
        compressed("pruned", 500, 0.002, slow_operators={"CONV_2D": 2}),
        Row("pcqat", {}, error="a layer cannot be quantized"),
        compressed("binary", 100, 0.02, weight_bytes={"uint8": 10, "float32": 6}),
    ]
    found = {line.name: line for line in compression.measures(cases, rows)}
    assert found["int8: drop, points"].met is False and found["int8: size"].met is True
    assert found["pruned: size"].ratio == 0.25  # zipped
    assert found["binary: size"].ratio == 16 / 320
    assert not [name for name in found if name.startswith("pcqat")]
    lines = compression.as_markdown(cases, rows, 0.93).splitlines()
    assert "| 0.260 | 0.130 | 1.5 | **missed** |" in lines[5]
    assert lines[6].endswith("| 2 operators without fast kernel |")
    assert "a layer cannot be quantized" in lines[7]
    assert len({line.count("|") for line in lines[2:]}) == 1


def test_every_row_of_compression_is_a_variant() -> None:
    settings = CompressSettings.model_validate({"sweep": {"variants": [case.variant for case in compression.CASES]}})
    assert {variant.variant_name for variant in settings.sweep.variants} == {case.name for case in compression.CASES}


def test_the_padding_of_a_convolution_is_that_of_tensorflow() -> None:
    """SAME with stride 2: at 6 pixels one zero behind, at 7 one on either side."""
    from benchmarks.latency import described
    from models.stack import keras
    from pipeline.compress import flatbuffer
    from pipeline.compress.convert import tflite_file

    for size, pads in ((6, [0, 0, 1, 1]), (7, [1, 1, 1, 1])):
        image = keras.Input((size, size, 1), name="image")
        layer = keras.layers.Conv2D(2, 3, strides=2, padding="same", activation="relu")
        model = flatbuffer.unpack(tflite_file(keras.Model(image, {"values": layer(image)})))
        operator = described(model, model.subgraphs[0].operators[0])
        assert (operator["kind"], operator["activation"]) == ("CONV_2D", "RELU")
        assert (operator["strides"], operator["pads"]) == ([2, 2], pads)


@pytest.mark.slow
def test_latency_beside_float_without_the_peer(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks.latency", "--size", "32", "--rounds", "1", "--runs", "2"]
    environment = {**os.environ, "CONVOY_PEERS_PYTHON": ""}
    subprocess.run(
        [*command, "--json", str(file)], cwd=ROOT, check=True, capture_output=True, env=environment, timeout=300
    )
    (line,) = measure.read(file)
    assert line.name == "MobileNetV2, 32 px, 1 thread: int8 / float32 TFLite"
    assert line.goal == 0.6


def test_a_form_that_a_detector_has_not_is_left_out_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (Detection.model_validate({"detector": {"kind": kind}}) for kind in ("ssd", "faster_rcnn"))
    assert int8_detectors.forms_of(one) == ["one tensor", "decoded within", "boxes within", "shipped"]
    assert capsys.readouterr().err == ""
    assert int8_detectors.forms_of(two) == ["one tensor", "decoded within", "shipped"]
    assert capsys.readouterr().err.startswith("boxes within: left out, since faster_rcnn has two stages")
