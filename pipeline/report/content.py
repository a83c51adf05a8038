"""From the files of a Run to what the page shows.

Reads what the stages that were run have left; what is missing is said in the page, not guessed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.metrics import plots
from pipeline.report import numbers
from pipeline.report.diagnosis import diagnosis
from pipeline.report.figures import Shown, inline_svg, learning_curves, picture_uri, variants_figure
from pipeline.report.settings import ReportSettings
from pipeline.run import Run

MOST_CLASS_BARS = 40
"""Classes whose pictures are counted in the page; the most and the least frequent where there are more."""

SMALL_PICTURE = 64
"""Pixels up to which a picture's pixels are shown as squares, which is what the model sees."""

Content = dict[str, Any]


def collect(run: Run, settings: ReportSettings) -> Content:
    """All that the page's template needs, as plain values, inline figures and data URIs.

    Raises:
        RunError: `prepare` has not been run, or a file of the Run is damaged.
    """
    data = run.read_json(run.data, "prepare")
    summary = _json(run, run.summary, "verify") or {}
    evaluation = _json(run, run.evaluation, "evaluate") or {}
    training = _json(run, run.training, "train") or {}
    environment = _json(run, run.environment, "prepare") or {}
    verification = _json(run, run.verification, "verify") or {}
    variants = verification.get("variants") or summary.get("variants") or {}
    parts = verification.get("parts") or summary.get("parts") or {}
    metric = (summary.get("metric") or {}).get("name") or next(iter(scalars(evaluation)), "")
    content = {
        "title": settings.title or run.path.resolve().name,
        "task": summary.get("task") or "",
        "metric": {"name": metric, "direction": (summary.get("metric") or {}).get("direction")},
        "verdict": verdict({**variants, **parts}, "file" if parts else "variant"),
        "split": "test" if data["info"]["num_examples"].get("test") else "validation",
        "data": _data(data, run),
        "diagnosis": diagnosis(run),
        "training": {**training, "facts": list(_facts(training)), "learned_from": _learned_from(run)},
        "evaluation": _evaluation(evaluation, run),
        "variants": variants,
        "parts": parts,
        "outcomes": _outcomes(run, variants),
        "sweep": _json(run, run.sweep_result, "compress --sweep"),
        "smallest": _best(variants, "bytes"),
        "fastest": _best(variants, "latency_ms"),
        "verification": verification,
        "config": run.config.read_text(encoding="utf-8") if run.config.exists() else "",
        "environment": list(flat(environment)),
        "folder": run.path.resolve().name,
    }
    return {**content, "shown": _figures(run, variants, metric)}


def verdict(variants: Mapping[str, Mapping[str, Any]], what: str = "variant") -> Content:
    """Whether what was exported may be shipped.

    Args:
        what: one of them is called.

    Returns:
        `text`, a sentence; `tone`, `good`, `mixed`, `bad` or `open`; `refused`, (name, why not) of each.
    """
    blessed = [name for name, variant in variants.items() if variant["blessed"]]
    refused = [(name, variant["why"]) for name, variant in variants.items() if not variant["blessed"]]
    count = len(variants)
    if not count:
        text, tone = "Not verified yet", "open"
    elif len(blessed) == count:
        text = f"The only {what} is blessed" if count == 1 else f"All {count} {what}s are blessed"
        tone = "good"
    elif blessed:
        text, tone = f"{len(blessed)} of {count} {what}s {'is' if len(blessed) == 1 else 'are'} blessed", "mixed"
    else:
        text, tone = f"None of {count} {what}s is blessed" if count > 1 else f"The only {what} is not blessed", "bad"
    return {"text": text, "tone": tone, "refused": refused}


def scalars(result: Mapping[str, Any]) -> dict[str, Any]:
    """The single numbers of an evaluator's result."""
    return {key: value for key, value in result.items() if not isinstance(value, Mapping | list)}


def tables(result: Mapping[str, Any]) -> dict[str, Content]:
    """The nested parts of an evaluator's result, such as `per_class`, as tables with `columns` and `rows`."""
    nested = {
        key: value for key, value in result.items() if isinstance(value, Mapping) and value and key != "intervals"
    }
    return {key: _table(key, value) for key, value in nested.items()}


def flat(values: Any, name: str = "") -> Iterable[tuple[str, str]]:
    """Nested JSON values as (dotted name, text), in order."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from flat(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, list):
        yield name, ", ".join(str(value) for value in values) or numbers.NONE
    else:
        yield name, numbers.NONE if values is None else str(values)


def _json(run: Run, file: Path, stage: str) -> Any:
    return run.read_json(file, stage) if file.exists() else None


def _table(key: str, rows: Mapping[str, Any]) -> Content:
    if not all(isinstance(row, Mapping) for row in rows.values()):
        return {"columns": [key], "rows": {name: [row] for name, row in rows.items()}}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    if set(columns) <= set(rows):  # such as a confusion, whose zeros are left out: in the order of the rows
        columns = [name for name in rows if name in columns]
    return {"columns": columns, "rows": {name: [row.get(column) for column in columns] for name, row in rows.items()}}


def _best(variants: Mapping[str, Mapping[str, Any]], key: str) -> Content | None:
    """The blessed variant with the least of something, with its name."""
    known = [{**v, "name": name} for name, v in variants.items() if v.get("blessed") and v.get(key) is not None]
    return min(known, key=lambda variant: variant[key], default=None)


def _outcomes(run: Run, names: Iterable[str]) -> dict[str, str]:
    """Variant -> what was decided while it was made, of those where anything was."""
    files = {name: run.variants / name / "variant.json" for name in names}
    made = {name: _json(run, file, "compress") or {} for name, file in files.items()}
    says = {name: (variant.get("outcome") or {}).get("says") for name, variant in made.items()}
    return {name: text for name, text in says.items() if text}


def _facts(training: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for key, value in training.items():
        yield key, numbers.duration(value) if key == "seconds" else numbers.number(value)


def _learned_from(run: Run) -> dict[str, str]:
    """What was learned from besides the data, such as a teacher, and what it is."""
    sources = _json(run, run.learned_from, "train") or {}
    return {name: source["description"] for name, source in sources.items()}


def _data(data: Content, run: Run) -> Content:
    info, samples = data["info"], sorted(run.samples.glob("*.png"))
    captions = run.read_json(run.captions, "train") if run.captions.exists() else {}
    return {
        "info": info,
        "quarantine": data.get("quarantine", 0),
        "classes": _class_counts(info),
        "num_classes": len(info["class_names"]),
        "samples": [{"picture": picture_uri(file), "caption": captions.get(file.name, "")} for file in samples],
        "preview": picture_uri(run.preview) if run.preview.exists() else "",
        "small": bool(samples) and _width(samples[0]) <= SMALL_PICTURE,
    }


def _class_counts(info: Content) -> list[Content]:
    """Per class its pictures in each split, the most frequent first."""
    splits = [split for split in info["num_examples"] if split in info["class_counts"]]
    counted = [
        {"name": name, "counts": {split: info["class_counts"][split][index] for split in splits}}
        for index, name in enumerate(info["class_names"])
    ]
    if len(counted) > MOST_CLASS_BARS:
        counted.sort(key=lambda row: -sum(row["counts"].values()))
        half = MOST_CLASS_BARS // 2
        counted = counted[:half] + counted[-half:]
    largest = max((sum(row["counts"].values()) for row in counted), default=0) or 1
    return [{**row, "share": round(100 * sum(row["counts"].values()) / largest, 1)} for row in counted]


def _evaluation(evaluation: Content, run: Run) -> Content:
    mistakes = _json(run, run.mistakes, "evaluate") or []
    return {
        "scalars": scalars(evaluation),
        "intervals": evaluation.get("intervals", {}),
        "tables": tables(evaluation),
        "mistakes": [_mistake(mistake, run) for mistake in mistakes],
    }


def _mistake(mistake: Content, run: Run) -> Content:
    file = run.metrics / mistake["file"]
    return {**mistake, "uri": picture_uri(file) if file.exists() else None}


def _figures(run: Run, variants: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, list[Shown]]:
    saved = sorted(run.metrics.glob("*.svg"))
    curves = learning_curves(_history(run.history))
    compared = {"Size, quality and latency": variants_figure(variants, metric)} if variants else {}
    swept = sorted(run.sweep.glob("*.svg"))
    return {
        "evaluation": [inline_svg(file.read_text(encoding="utf-8"), f"e{n}") for n, file in enumerate(saved)],
        "training": [
            inline_svg(plots.to_svg(curve, title), f"t{n}") for n, (title, curve) in enumerate(curves.items())
        ],
        "variants": [inline_svg(plots.to_svg(figure, title), "v") for title, figure in compared.items()],
        "sweep": [inline_svg(file.read_text(encoding="utf-8"), f"s{n}") for n, file in enumerate(swept)],
    }


def _history(file: Path) -> list[dict[str, Any]]:
    """The rows with numbers as numbers; NaN where a number is missing."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return [{key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(stream)]


def _value(key: str, text: str) -> Any:
    if key == "phase":
        return text
    return float(text) if text else math.nan


def _width(file: Path) -> int:
    from PIL import Image

    with Image.open(file) as picture:
        return int(picture.width)
