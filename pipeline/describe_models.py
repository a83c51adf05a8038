"""Every backbone side by side: `convoy describe models`. Nothing is built: the figures are in files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.backbones import BACKBONES, Published
from models.backbones.costs import facts

if TYPE_CHECKING:
    from rich.console import RenderableType

VERIFIED = Path(__file__).parent / "compress" / "verified.json"
"""Kind -> technique -> `yes`, or why not; written by `benchmarks.backbone_table`."""
YES = "yes"
INTRODUCTION = """# Backbones

Written by `convoy describe models --markdown`. What they are for and how they are set is in [models.md](models.md).

Weights and operations are counted without a head, at the usual picture size; an operation is a multiplication with a
weight or an addition. `least` is the least height and width, in pixels. Channels are those of the feature levels by
stride. A licence is that of the weights that `weights: imagenet` downloads; they were trained on ImageNet, whose
pictures have terms of their own."""


@dataclass(frozen=True)
class Row:
    """One backbone.

    Args:
        parameters, flops: without a head; operations for one picture of `input_size`.
        input_size, least_size: sides in pixels: what it was published for, and the least it takes.
        channels: feature level -> number of channels.
        weights: what `imagenet` downloads; None where there is nothing.
        verified: technique -> `yes`, or why it does not work; empty where it was not measured.
    """

    kind: str
    parameters: int
    flops: int
    input_size: int
    least_size: int
    channels: Mapping[str, int]
    weights: Published | None
    verified: Mapping[str, str]


def rows() -> Iterator[Row]:
    """Each backbone, in the order of the registry."""
    verified = json.loads(VERIFIED.read_text()) if VERIFIED.exists() else {}
    for kind, family in BACKBONES.items():
        fact, member = facts()[kind], family.members[kind]
        size, least = member.input_size, family.least_size
        counted = (fact.parameters, fact.flops, size, least, fact.channels)
        yield Row(kind, *counted, family.published, verified.get(kind, {}))


def as_document() -> dict[str, Any]:
    """All of it as plain JSON values."""
    return {"models": [asdict(row) for row in rows()]}


def as_table() -> RenderableType:
    """For the terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name, justify in COLUMNS.items():
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in rows():
        table.add_row(Text(row.kind, style="cyan"), *map(Text, _cells(row)))
    note = "GFLOPs: two for each multiply-add, at the usual size, without a head. Details: --json, docs/backbones.md."
    return Group(table, Text(note, style="dim"))


def as_markdown() -> str:
    """A page for `docs/`."""
    lines = ["", f"| {' | '.join(COLUMNS)} |", f"|{'|'.join(ALIGNMENTS[one] for one in COLUMNS.values())}|"]
    lines += [f"| `{row.kind}` | {' | '.join(_cells(row))} |" for row in rows()]
    return "\n".join([INTRODUCTION, *lines, *_reasons(), *_origins()]) + "\n"


COLUMNS = {
    "backbone": "left",
    "weights, M": "right",
    "GFLOPs": "right",
    "usual size": "right",
    "least": "right",
    "channels by stride": "left",
    "licence": "left",
    "verified": "left",
}
ALIGNMENTS = {"left": "---", "right": "--:"}


def _cells(row: Row) -> tuple[str, ...]:
    channels = ", ".join(f"{level.removeprefix('stride_')}: {count}" for level, count in row.channels.items())
    return (
        f"{row.parameters / 1e6:.2f}",
        f"{row.flops / 1e9:.2f}",
        str(row.input_size),
        str(row.least_size),
        channels,
        row.weights.licence if row.weights else "no weights",
        _verified(row),
    )


def _verified(row: Row) -> str:
    if not row.verified:
        return "not measured"
    return ", ".join(technique for technique, found in row.verified.items() if found == YES) or "none"


def _reasons() -> list[str]:
    """Why a technique does not work for a backbone."""
    failed = [(row.kind, name, why) for row in rows() for name, why in row.verified.items() if why != YES]
    if not failed:
        return []
    return ["", "## What does not work", "", *(f"- `{kind}`, `{name}`: {why}" for kind, name, why in failed)]


def _origins() -> list[str]:
    """Who gives each licence."""
    origins: dict[Published, list[str]] = {}
    for row in rows():
        if row.weights:
            origins.setdefault(row.weights, []).append(f"`{row.kind}`")
    lines = [f"- {weights.licence}, {weights.origin}: {', '.join(kinds)}" for weights, kinds in origins.items()]
    return [
        "",
        "## Where the weights come from",
        "",
        "Ported by Keras; licences as its documentation states.",
        "",
        *lines,
    ]
