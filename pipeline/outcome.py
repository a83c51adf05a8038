"""What a verb shows when it is done, read from the Run folder: a document for machines, lines or a table for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.console import terminal
from pipeline.run import Run
from pipeline.wording import quantity

if TYPE_CHECKING:
    from rich.console import RenderableType

Document = dict[str, Any]


def show(verb: str, run: Run) -> None:
    """Prints what `verb` has left in the Run, as the terminal is set."""
    document = {"run": str(run.home), **DOCUMENTS[verb](run)}
    terminal.answer(document, VIEWS.get(verb, _files)(document))


def _prepared(run: Run) -> Document:
    return {"data": _read(run.data)}


def _trained(run: Run) -> Document:
    return {"model": str(run.model), "train": _read(run.training)}


def _evaluated(run: Run) -> Document:
    return {"metrics": _read(run.evaluation)}


def _compressed(run: Run) -> Document:
    files = {file.parent.name: file for file in sorted(run.variants.glob("*/model.tflite"))}
    return {"variants": {name: {"file": str(file), "bytes": file.stat().st_size} for name, file in files.items()}}


def _swept(run: Run) -> Document:
    return {"sweep": _read(run.sweep_result), "table": str(run.sweep / "variants.csv")}


def _exported(run: Run) -> Document:
    return {"export": str(run.export), "contract": _read(run.contract)}


def _summarised(run: Run) -> Document:
    places = {"report": run.report, "saved_model": run.saved_model, "tflite": run.tflite}
    return {**_read(run.summary), **{name: str(path) for name, path in places.items() if path.exists()}}


def _reported(run: Run) -> Document:
    return {"report": str(run.report)}


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


DOCUMENTS: dict[str, Callable[[Run], Document]] = {
    "prepare": _prepared,
    "train": _trained,
    "evaluate": _evaluated,
    "compress": _compressed,
    "sweep": _swept,
    "export": _exported,
    "verify": _summarised,
    "report": _reported,
    "run": _summarised,
}


def _files(document: Document) -> RenderableType:
    """The texts at the top of a document: where things are."""
    return "\n".join(f"{name}: {value}" for name, value in document.items() if isinstance(value, str))


def _data_view(document: Document) -> RenderableType:
    info = document["data"].get("info", {})
    lines = [f"{split}: {quantity(count, 'picture')}" for split, count in info.get("num_examples", {}).items()]
    names = info.get("class_names") or info.get("value_names") or ()
    lines.append(f"{quantity(len(names), 'class or target', 'classes or targets')}: {', '.join(names)}")
    return "\n".join([*lines, f"left out: {document['data'].get('quarantine', 0)}"])


def _metrics_view(document: Document) -> RenderableType:
    numbers = {name: value for name, value in document["metrics"].items() if isinstance(value, int | float)}
    return "\n".join(f"{name}: {_plain_number(value)}" for name, value in numbers.items())


def _training_view(document: Document) -> RenderableType:
    numbers = {name: value for name, value in document["train"].items() if isinstance(value, int | float)}
    lines = [f"{name}: {_plain_number(value)}" for name, value in numbers.items()]
    return "\n".join([*lines, str(_files(document))])


def _sizes_view(document: Document) -> RenderableType:
    return "\n".join(f"{variant['file']}: {variant['bytes']:,} bytes" for variant in document["variants"].values())


def _sweep_view(document: Document) -> RenderableType:
    """Every row, then what was picked and why."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    found = document["sweep"]
    columns = ("variant", "KB", "zipped", found["metric"], "drop", "ms", "float ops", "front", "within")
    table = Table(*columns, box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for row in found["rows"]:
        table.add_row(row["name"], *_sweep_cells(row))
    failed = [f"{row['name']}: {row['error']}" for row in found["rows"] if row["error"]]
    picks = [f"{name}: {pick['name']}, {pick['why']}" for name, pick in found["picks"].items()]
    return Group(table, Text("\n".join(["", *failed, *picks, f"table: {document['table']}"])))


def _sweep_cells(row: Mapping[str, Any]) -> list[str]:
    if row["error"]:
        return ["failed"]
    return [
        f"{row['bytes'] / 1000:,.0f}",
        f"{row['zipped_bytes'] / 1000:,.0f}",
        _number(row["metric"]),
        _number(row["drop"]),
        _number(row["latency_ms"], 2),
        str(row["float_ops"]),
        "yes" if row["pareto"] else "no",
        "yes" if row["within_limits"] else "no",
    ]


def _variants_view(document: Document) -> RenderableType:
    """Size, the task's metric, its drop, latency, and whether each variant is blessed; then where things are."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    metric = document.get("metric", {}).get("name", "metric")
    columns = ("variant", "KB", "zipped", metric, "drop", "agreement", "ms", "blessed")
    table = Table(*columns, box=None, header_style="bold")
    for column in table.columns[1:-1]:
        column.justify, column.no_wrap = "right", True
    for name, variant in {**document.get("variants", {}), **document.get("parts", {})}.items():
        table.add_row(name, *_variant_cells(variant, metric))
    return Group(table, Text(), Text(str(_files(document))))


def _variant_cells(variant: Mapping[str, Any], metric: str) -> list[str]:
    return [
        *(f"{size / 1000:,.0f}" if size else "" for size in (variant.get("bytes"), variant.get("zipped_bytes"))),
        _number(variant.get("metrics", {}).get(metric)),
        _number(variant.get("drop")),
        _number(variant.get("agreement")),
        _latency(variant.get("latency_ms")),
        "yes" if variant.get("blessed") else "no",  # why stands in the error that follows
    ]


def _latency(value: Any) -> str:
    """Milliseconds; of a file that is called in parts, those of each."""
    parts = value.values() if isinstance(value, Mapping) else [value]
    return " + ".join(_number(one, 2) for one in parts)


def _plain_number(value: float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def _number(value: Any, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else ""


VIEWS: dict[str, Callable[[Document], RenderableType]] = {
    "prepare": _data_view,
    "train": _training_view,
    "compress": _sizes_view,
    "sweep": _sweep_view,
    "evaluate": _metrics_view,
    "verify": _variants_view,
    "run": _variants_view,
}
