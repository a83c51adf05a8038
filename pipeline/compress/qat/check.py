"""What quantization-aware training will do with each layer of a network, before any of it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from tensorflow_model_optimization.quantization.keras.default_8bit import Default8BitQuantizeRegistry

from models.folding import foldable
from models.stack import keras
from pipeline.compress.qat import configs, graph, simplify
from pipeline.wording import quantity

if TYPE_CHECKING:
    from rich.console import RenderableType

Status = Literal["supported", "annotated", "float", "refused"]

MEANINGS: dict[Status, str] = {
    "supported": "by tfmot",
    "annotated": "by a configuration of Convoy's",
    "float": "left in float",
    "refused": "cannot be quantized",
}


@dataclass(frozen=True)
class Row:
    """One layer.

    Args:
        layer: its name.
        kind: its class, and what an Activation computes.
        status: what becomes of it.
        why: in a few words.
    """

    layer: str
    kind: str
    status: Status
    why: str


@dataclass(frozen=True)
class Table:
    """All layers of a network in its order."""

    rows: tuple[Row, ...]

    @property
    def totals(self) -> dict[Status, int]:
        """How many layers there are of each status."""
        found = Counter(row.status for row in self.rows)
        return {status: found[status] for status in MEANINGS}

    def as_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"layers": [asdict(row) for row in self.rows], "totals": self.totals}

    def as_view(self) -> RenderableType:
        """For the terminal."""
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable("layer", "class", "", "why", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for row in self.rows:
            style = {"refused": "red", "float": "yellow"}.get(row.status, "")
            table.add_row(*(Text(cell, style=style) for cell in (row.layer, row.kind, row.status, row.why)))
        counts = (f"{count} {status} ({MEANINGS[status]})" for status, count in self.totals.items())
        return Group(table, Text(f"{quantity(len(self.rows), 'layer')}: {', '.join(counts)}"))


def table_of(network: keras.Model, skip: Collection[str] = ()) -> Table:
    """The table of a float network; nothing is trained or converted.

    Args:
        skip: layers that stay in float32.
    """
    return Table(tuple(_rows(network, skip)))


def described(layer: keras.layers.Layer) -> str:
    """A layer's class, and what an Activation computes."""
    kind = type(layer).__name__
    return f"{kind} {configs.activation_name(layer)}" if isinstance(layer, keras.layers.Activation) else kind


def _rows(network: keras.Model, skip: Collection[str]) -> Iterator[Row]:
    registry = Default8BitQuantizeRegistry()
    nested = any(isinstance(layer, keras.Model) for layer in network.layers)
    folded = {} if nested else {after.name: before for before, after in foldable(network).items()}
    for layer in graph.layers(network):
        status, why = _judged(layer, registry, folded, skip)
        yield Row(layer.name, described(layer), status, why)


def _judged(
    layer: keras.layers.Layer, registry: Any, folded: dict[str, str], skip: Collection[str]
) -> tuple[Status, str]:
    treatment = configs.treatment(layer)
    if layer.name in skip:
        return "float", "named by `skip`"
    if layer.name in folded:
        return "supported", f"done by {folded[layer.name]}; {treatment.why if treatment else ''}"
    if expand := simplify.expansion(layer):
        return "annotated", f"becomes simpler layers: {_first_line(expand)}"
    if treatment is None:
        return "refused", "neither tfmot nor Convoy knows how"
    known = registry.supports(layer) and treatment not in (configs.DEPTHWISE,)
    return ("supported" if known else "annotated"), treatment.why


def _first_line(function: Any) -> str:
    return str(function.__doc__ or "").partition("\n")[0].rstrip(".")
