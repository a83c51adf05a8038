"""What a sweep knows of each variant: the form of its rows in `sweep.json` and `variants.csv`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Row:
    """One variant of the grid.

    Args:
        name: unique in the sweep.
        settings: of the variant.
        error: why there is no file; everything below is then empty.
        says: what was decided while it was made.
        metric: the task's metric on the evaluation pictures.
        drop: how much worse that is than the trained model's, in its own unit; negative where better.
        agreement: share of the pictures with the trained model's answer.
        bytes, zipped_bytes: size of the file, and after deflate.
        latency_ms: median for one picture.
        float_ops: operators that compute in float inside the network.
        slow_operators: operators with weights without a fast kernel on this host: name -> count.
        sparsity: share of the kernels' values that are zero.
        weight_bytes: number type -> bytes of the stored weights, as packed.
        seconds, cpu_seconds: to make it, training included: by the clock, and of all processors together.
    """

    name: str
    settings: dict[str, Any]
    error: str = ""
    says: str = ""
    metric: float | None = None
    drop: float | None = None
    agreement: float | None = None
    bytes: int | None = None
    zipped_bytes: int | None = None
    latency_ms: float | None = None
    float_ops: int | None = None
    slow_operators: dict[str, int] = field(default_factory=dict)
    sparsity: float | None = None
    weight_bytes: dict[str, int] = field(default_factory=dict)
    seconds: float | None = None
    cpu_seconds: float | None = None

    @property
    def made(self) -> bool:
        """Whether there is a file, with answers that are numbers."""
        return not self.error


COLUMNS = [entry.name for entry in fields(Row)]


def as_csv(rows: Sequence[Row], marks: Sequence[dict[str, Any]]) -> str:
    """The table, one line a variant.

    Args:
        marks: more columns of each row, the same for all.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*COLUMNS, *(marks[0] if marks else ())], lineterminator="\n")
    writer.writeheader()
    for row, more in zip(rows, marks, strict=True):
        writer.writerow({name: _cell(value) for name, value in {**asdict(row), **more}.items()})
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return json.dumps(value) if isinstance(value, dict) else value
