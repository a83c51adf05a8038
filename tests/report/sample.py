"""Run folders as the stages leave them, made of the real evaluators' results for made-up answers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.example import DataInfo
from pipeline.diagnosis.drift import Drift
from pipeline.diagnosis.findings import Diagnosis, Finding
from pipeline.diagnosis.illustrations import Illustration
from pipeline.metrics.base import Evaluator
from pipeline.metrics.classification import ClassificationEvaluator
from pipeline.metrics.multi_label import MultiLabelEvaluator
from pipeline.metrics.plots import save_plots
from pipeline.metrics.regression import RegressionEvaluator
from pipeline.run import Run

HOSTILE = '<img src=x onerror="alert(1)"> & "quoted" {{ 7 * 7 }}'
COUNT = 400


def classification_run(folder: Path, names: tuple[str, ...] = tuple("0123456789")) -> Run:
    """A classifier with one variant that is not blessed."""
    generator = np.random.default_rng(1)
    labels = generator.integers(len(names), size=COUNT)
    logits = generator.normal(size=(COUNT, len(names))) * 1.1 + 3.2 * np.eye(len(names))[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    evaluator = ClassificationEvaluator(names)
    evaluator.update({"id": _ids(), "label": labels}, {"scores": scores})
    counts = {split: [share * (12 + 3 * (k % 4)) for k in range(len(names))] for split, share in SPLITS.items()}
    info = DataInfo(fields=("id", "image", "label"), class_names=names, class_counts=counts, **_pictures_info())
    return _run(folder, "classification", info, evaluator, "accuracy", "max")


def multi_label_run(folder: Path) -> Run:
    """Many classes, one with a name that is markup."""
    names = (HOSTILE, *(f"genre {number}" for number in range(24)))
    generator = np.random.default_rng(2)
    labels = (generator.random((COUNT, len(names))) < 0.15).astype(np.float32)
    scores = 1 / (1 + np.exp(-(generator.normal(size=labels.shape) * 1.5 - 2.5 + 4.0 * labels)))
    evaluator = MultiLabelEvaluator(names)
    evaluator.update({"id": _ids(), "labels": labels}, {"scores": scores})
    counts = {split: [share * (3 + k) for k in range(len(names))] for split, share in SPLITS.items()}
    info = DataInfo(fields=("id", "image", "labels"), class_names=names, class_counts=counts, **_pictures_info())
    return _run(folder, "multi_label", info, evaluator, "mean_average_precision", "max")


def regression_run(folder: Path) -> Run:
    """Two targets, one with a name that is markup."""
    names = ("red cells", HOSTILE)
    generator = np.random.default_rng(3)
    truth = generator.gamma(6.0, 2.0, size=(COUNT, 2))
    evaluator = RegressionEvaluator(names)
    evaluator.update({"id": _ids(), "value": truth}, {"values": truth + generator.normal(size=truth.shape)})
    info = DataInfo(
        fields=("id", "image", "value"),
        value_names=names,
        value_mean=(12.0, 12.1),
        value_std=(4.9, 5.0),
        **_pictures_info(),
    )
    return _run(folder, "regression", info, evaluator, "mean_absolute_error", "min")


SPLITS = {"train": 8, "validation": 1, "test": 1}


def _ids() -> np.ndarray:
    return np.array([f"test/{HOSTILE if row == 3 else row}.png" for row in range(COUNT)])


def _pictures_info() -> dict[str, Any]:
    return {
        "num_examples": {"train": 1437, "validation": 160, "test": COUNT},
        "picture_sizes": dict.fromkeys(SPLITS, (8, 8, 8, 8)),
        "image_bytes": {"train": 196_869, "validation": 21_920, "test": 54_800},
    }


def _run(folder: Path, task: str, info: DataInfo, evaluator: Evaluator, metric: str, direction: str) -> Run:
    run = Run(folder)
    result = evaluator.result()
    run.write_json(run.data, {"store": "store/5c1d", "info": asdict(info), "quarantine": 2})
    run.config.write_text(f"seed: 1\ntask:\n  kind: {task}\n  note: '{HOSTILE}'\n" + "train:\n  epochs: 12\n" * 30)
    run.write_json(run.environment, ENVIRONMENT)
    run.write_json(run.training, TRAINING)
    run.history.write_text(_history())
    run.write_json(run.evaluation, result)
    save_plots(evaluator.plots(), run.metrics)
    _write_mistakes(run, evaluator)
    variants = _variants(metric, result[metric])
    summary = {"task": task, "metric": {"name": metric, "direction": direction}, "data": info.num_examples}
    run.write_json(run.summary, {**summary, "train": TRAINING, "variants": variants})
    run.write_json(run.verification, VERIFICATION | {"variants": variants})
    return run


def with_parts(run: Run) -> Run:
    """The Run of a network that is called in parts, one file of which is not blessed."""
    verification = run.read_json(run.verification, "verify")
    parts = {
        f"parts/{name}": {
            **{key: value for key, value in verification["variants"][name].items() if key in PART_FIELDS},
            "file": f"export/parts/{name}.tflite",
            "zipped_bytes": 123_456,
            "latency_ms": {"template": 1.25, "search": 2.75},
        }
        for name in ("float32", "int16x8")
    }
    run.write_json(run.verification, {**verification, "parts": parts})
    return run


PART_FIELDS = ("bytes", "metrics", "drop", "agreement", "max_difference", "mean_difference", "blessed", "why")


def with_diagnosis(run: Run) -> Run:
    """The Run after `convoy doctor data`: a pair of pictures, a picture alone, and a kind with more than is shown."""
    findings = (
        Finding("leakage", "error", f"near-duplicates: {HOSTILE}", "photos/a.png", "Keep one.", ("a", "b")),
        *(Finding("tiny_box", "warning", f"box {n}", f"marks/{n}.xml:12", "Remove it.", ("a",)) for n in range(20)),
        Finding("passed_over", "note", "3 files were passed over"),
    )
    spread = {"least": 1.0, "median": 2.0, "largest": 3.0}
    drift = [
        Drift("classes", "test", 0.01, 0.9, "alike"),
        Drift("width", "test", 0.05, 1e-5, "slightly different"),
        Drift("height", "test", 0.5, 1e-9, "different"),
    ]
    statistics = {
        "drift": [one.as_document() for one in drift],
        "measures": {split: {"width": spread, "height": spread} for split in ("train", "test")},
    }
    pictures = [Illustration(0, "0-0.jpg", "a"), Illustration(0, "0-1.jpg", "b"), Illustration(1, "1-0.jpg", "a")]
    run.create(run.diagnosis_pictures)
    for one in pictures:
        Image.effect_noise((320, 200), 90).save(run.diagnosis_pictures / one.file)
    document = Diagnosis(findings, statistics).as_document()
    run.write_json(run.diagnosis, {**document, "pictures": [one.as_document() for one in pictures]})
    return run


ENVIRONMENT = {
    "versions": {"python": "3.11.2", "tensorflow": "2.21.0", "tf-keras": "2.21.0"},
    "git_revision": None,
    "seed": 1,
    "devices": ["CPU:0"],
    "host": {"processor": "An Example Processor @ 2.5 GHz", "cores": 2},
}
TRAINING = {"seconds": 83.4, "images_per_second": 4312.7, "steps": 540, "replicas": 1, "best_step": 495}


VERIFICATION = {
    "split": "test",
    "examples": COUNT,
    "parity": {
        "saved_model": {
            "way": "the SavedModel's own decoding",
            "pictures": 32,
            "agreement": 1.0,
            "max_difference": 0.0,
            "pixel_difference": None,
            "passed": True,
        },
        "int8": {
            "way": "a client with Pillow, as the file's metadata says",
            "pictures": 32,
            "agreement": 0.96875,
            "max_difference": 0.041,
            "pixel_difference": 0.37,
            "passed": True,
        },
    },
    "host": {"description": "An Example Processor @ 2.5 GHz", "threads": 1, "runs": 50},
}


def _history() -> str:
    rows = ["step,epoch,phase,learning_rate,seconds,images_per_second,loss,accuracy,val_loss,val_accuracy"]
    for epoch in range(1, 13):
        phase = "frozen" if epoch <= 3 else "unfrozen"
        loss, validated = 2.3 * 0.62**epoch, 2.3 * 0.66**epoch + 0.04
        values = f"{loss:.4f},{1 - loss / 4:.4f}," + (f"{validated:.4f},{1 - validated / 4:.4f}" if epoch % 2 else ",")
        rows.append(f"{45 * epoch},{epoch},{phase},{0.001 * (1 - epoch / 13):.6f},6.1,4300.0,{values}")
    return "\n".join(rows) + "\n"


def _write_mistakes(run: Run, evaluator: Evaluator) -> None:
    pictures = np.random.default_rng(4).integers(0, 255, (16, 8, 8, 3), np.uint8)
    mistakes = [asdict(mistake) for mistake in evaluator.mistakes(16)]
    for index, picture in enumerate(pictures):
        for place in (run.metrics / "mistakes", run.samples):
            run.create(place)
            Image.fromarray(picture).save(place / f"{index:03}.png")
    rows = [{"file": f"mistakes/{index:03}.png", **mistake} for index, mistake in enumerate(mistakes)]
    run.write_json(run.mistakes, rows)


def _variants(metric: str, value: float) -> dict[str, Any]:
    made = {
        "saved_model": (1_412_000, 0.0, 1.0, 0.0, 4.81, None, True),
        "float32": (1_096_412, 0.0, 1.0, 3.6e-7, 0.412, 42, True),
        "float16": (556_120, 0.0, 1.0, 0.0021, 0.431, 42, True),
        "dynamic_int8": (301_440, 0.0025, 0.995, 0.0612, 0.288, 9, True),
        "int8": (309_512, 0.0025, 0.9925, 0.0941, 0.187, 0, True),
        "int16x8": (317_208, 0.0175, 0.96, 0.2113, 0.644, 0, False),
    }
    return {name: _variant(name, metric, value, *numbers) for name, numbers in made.items()}


def _variant(
    name: str,
    metric: str,
    value: float,
    size: int,
    drop: float,
    agreement: float,
    difference: float,
    latency: float,
    float_ops: int | None,
    blessed: bool,
) -> dict[str, Any]:
    return {
        "file": "export/saved_model/1" if name == "saved_model" else f"export/tflite/{name}.tflite",
        "bytes": size,
        "metrics": {metric: value - drop, "num_examples": COUNT},
        "drop": drop,
        "agreement": agreement,
        "max_difference": difference,
        "mean_difference": difference / 10,
        "latency_ms": latency,
        "float_ops": float_ops,
        "dtypes": {} if name == "saved_model" else {"int8": 60, "int32": 21},
        "operators": {} if name == "saved_model" else {"CONV_2D": 21, "ADD": 9, "FULLY_CONNECTED": 1, "SOFTMAX": 1},
        "blessed": blessed,
        "why": "" if blessed else f"{metric} drops by 1.75 points, the limit is 0.50 points",
    }
