"""What each technique costs and saves: python -m benchmarks.compression [--run DIR] [--markdown FILE] [--json FILE]

One trained network of less than 300,000 parameters on Fashion-MNIST, every variant judged on all 10,000 test pictures.
A Run that is trained is used as it is (`--run`); else configs/fashion_mnist.yaml is trained there first, in about 15
minutes. The variants that train take about two hours on two cores; a row that is finished is kept (RUN/sweep/variants),
so that the benchmark can be stopped and started again. Settings may follow, such as compress.sweep.pictures=500.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import measure

if TYPE_CHECKING:
    from pipeline.sweep.rows import Row

CONFIG = measure.ROOT / "configs" / "fashion_mnist.yaml"
RUN = Path("runs/compression")
LEAST_ACCURACY, MOST_PARAMETERS = 0.93, 300_000
SIGNS = "uint8"
"""Number type of packed signs in a file."""


@dataclass(frozen=True)
class Case:
    """A row of the table and what is asked of it.

    Args:
        settings: of the variant.
        drop: most points of accuracy that it may lose.
        size: largest size as a share of the float32 file's; `zipped` of the deflated one, `binarised` of the layers
            whose weights are signs.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    drop: float | None = None
    size: float | None = None
    counted: str = "bytes"

    @property
    def variant(self) -> dict[str, Any]:
        """As `compress.sweep.variants` takes it."""
        return {"kind": self.name, **self.settings, "name": self.name}


CASES = (
    Case("float32"),
    Case("float32_fine_tuned", {"epochs": 3, "learning_rate": 3e-4}),
    Case("float16", drop=0.05, size=0.5),
    Case("dynamic_int8"),
    Case("int8", drop=0.3, size=0.27),
    Case("int8_percentile", {"kind": "int8", "range": {"kind": "percentile"}}),
    Case("int8_selective"),
    Case("int8_qat", {"epochs": 3}, drop=0.1, size=0.27),
    Case("pruned", {"sparsity": 0.5}, drop=0.3, size=0.4, counted="zipped"),
    Case("pruned_2_4"),
    Case("channel_pruned"),
    Case("clustered", {"number_of_clusters": 32}, drop=0.5, size=0.4, counted="zipped"),
    Case("pqat"),
    Case("cqat"),
    Case("pcqat", drop=0.7),
    Case("int4", drop=1.5, size=0.15),
    Case("int4_qat", drop=0.5, size=0.15),
    Case("binary", drop=3.0, size=0.06, counted="binarised"),
)


def main() -> None:
    parser = measure.arguments(__doc__, rounds=1)
    parser.add_argument("--run", type=Path, default=RUN, metavar="DIR", help="the trained Run (%(default)s)")
    parser.add_argument("--config", type=Path, default=CONFIG, help="what is trained where there is none (%(default)s)")
    parser.add_argument("--rows", nargs="*", metavar="NAME", help="only these; float32 is always made")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings that go before the file's")
    arguments = parser.parse_args()
    machine = measure.host()
    cases = chosen(arguments.rows)
    rows, trained, parameters = measured(arguments.run, arguments.config, arguments.overrides, cases)
    table = as_markdown(cases, rows, trained)
    print(table)
    if arguments.markdown:
        arguments.markdown.write_text(table, encoding="utf-8")
    measure.publish([*of_model(trained, parameters), *measures(cases, rows)], machine, arguments.json)


def chosen(names: Sequence[str] | None) -> list[Case]:
    """The cases of these names; all where none are given."""
    known = {case.name for case in CASES}
    if unknown := set(names or ()) - known:
        raise SystemExit(f"There is no row {', '.join(sorted(unknown))}; choose from {', '.join(sorted(known))}.")
    return [case for case in CASES if not names or case.name in {*names, "float32"}]


def measured(
    folder: Path, config_file: Path, overrides: Sequence[str], cases: Sequence[Case]
) -> tuple[list[Row], float, int]:
    """The rows, the trained model's accuracy and its number of parameters."""
    from pipeline import ownership, stages, sweep_stage
    from pipeline.config import load
    from pipeline.run import Run
    from pipeline.trained import load_model

    run = Run(folder)
    grid = f"compress.sweep.variants={json.dumps([case.variant for case in cases])}"
    config = load(run.config if run.config.is_file() else config_file, [*overrides, grid])
    if not ownership.training_is_finished(run):
        stages.train(config, run)
        stages.evaluate(config, run)
    rows, trained = sweep_stage.sweep_rows(config, run)
    return rows, trained, load_model(run).count_params()


# ----------------------------------------------------------------------------------------------- the result


def size_of(case: Case, row: Row, whole: Row) -> float:
    """The row's size as a share of float32, counted as the case says."""
    if case.counted == "zipped":
        return (row.zipped_bytes or 0) / (whole.bytes or 1)
    if case.counted == "binarised":
        return binarised_share(row.weight_bytes)
    return (row.bytes or 0) / (whole.bytes or 1)


def binarised_share(weight_bytes: dict[str, int]) -> float:
    """Bytes of packed signs and of all float32 numbers beside them (scales, biases, the table of signs), as a share of
    the same weights in float32: at most what the binarised layers take."""
    signs = weight_bytes.get(SIGNS, 0)
    return (signs + weight_bytes.get("float32", 0)) / max(signs * 8 * 4, 1)


def of_model(trained: float, parameters: int) -> list[measure.Measure]:
    """Whether the network is small and good enough to lose anything."""
    small = parameters / MOST_PARAMETERS
    count = measure.Measure("parameters / 300,000", small, small, small, None, None, parameters, "parameters")
    share = trained / LEAST_ACCURACY
    accuracy = measure.Measure("float accuracy / 0.93", share, share, share, None, None, trained, "accuracy")
    return [measure.at_most(count, 1.0), measure.at_least(accuracy, 1.0)]


def measures(cases: Sequence[Case], rows: Sequence[Row]) -> list[measure.Measure]:
    """Drop in points, and size as a share of float32, of every row that could be made; `value` is the accuracy, and
    the size in bytes."""
    whole = rows[0]
    found = []
    for case, row in zip(cases, rows, strict=True):
        if row.made:
            drop, size = 100 * (row.drop or 0.0), size_of(case, row, whole)
            lost = measure.Measure(f"{row.name}: drop, points", drop, drop, drop, None, None, row.metric or 0.0, "")
            small = measure.Measure(f"{row.name}: size", size, size, size, None, None, float(row.bytes or 0), "bytes")
            found.append(lost if case.drop is None else measure.at_most(lost, case.drop))
            found.append(small if case.size is None else measure.at_most(small, case.size))
    return found


def as_markdown(cases: Sequence[Case], rows: Sequence[Row], trained: float) -> str:
    """The table for the documentation."""
    head = (
        "variant",
        "accuracy",
        "drop, points",
        "allowed",
        "bytes",
        "of float32",
        "zipped, of float32",
        "CPU min",
        "",
    )
    lines = [f"Float model: {trained:.4f}.", "", *(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head)))]
    lines += [f"| {' | '.join(cells(case, row, rows[0]))} |" for case, row in zip(cases, rows, strict=True)]
    return "\n".join(lines) + "\n"


def cells(case: Case, row: Row, whole: Row) -> list[str]:
    """A line of the table."""
    if not row.made:
        return [f"`{row.name}`", row.error, *[""] * 7]
    raw, zipped = (row.bytes or 0) / (whole.bytes or 1), (row.zipped_bytes or 0) / (whole.bytes or 1)
    drop = 100 * (row.drop or 0.0)
    met = case.drop is None or drop <= case.drop
    slow = f"{sum(row.slow_operators.values())} operators without fast kernel" if row.slow_operators else ""
    binary = f"binarised layers {size_of(case, row, whole):.3f} of float32" if case.counted == "binarised" else ""
    notes = "; ".join(filter(None, ("" if met else "**missed**", slow, binary, row.says)))
    allowed = "" if case.drop is None else f"{case.drop:g}"
    minutes = f"{(row.cpu_seconds or 0) / 60:.1f}"
    return [
        *(
            f"`{row.name}`",
            f"{row.metric:.4f}",
            f"{drop:.2f}",
            allowed,
            f"{row.bytes:,}",
            f"{raw:.3f}",
            f"{zipped:.3f}",
        ),
        *(minutes, notes),
    ]


if __name__ == "__main__":
    main()
