"""The verbs about what a served model is asked: requests, drift."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline import console
from pipeline.command import verb
from pipeline.console import terminal
from pipeline.errors import ConfigError
from pipeline.opening import location
from pipeline.wording import quantity

if TYPE_CHECKING:
    from pipeline.data.requests.reader import Choice, RequestLog
    from pipeline.drift import DriftSettings

LogFolder = Annotated[
    Path,
    typer.Argument(
        metavar="REQUESTS", parser=location, help="The folder of `convoy serve --request-log`, or one shard of it."
    ),
]
ModelName = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Where the log holds several.")]
Version = Annotated[int | None, typer.Option("--version", metavar="N", min=0, help="Only of this version.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Such as 2026-10-01 or 2026-10-01T12:00Z.")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only from before it.")]


@verb
def requests(
    folder: LogFolder,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Write pictures and a table, to be labelled.")
    ] = None,
    pick: Annotated[
        Literal["random", "unsure", "far"],
        typer.Option(
            "--pick", help="With --to: a fair draw, the least sure answers, or what is furthest from training."
        ),
    ] = "random",
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="With --to: pictures at the most.")] = 200,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="The table, filled in: score the logged answers.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", parser=location, help="With --to and --labels: whose model was asked."),
    ] = None,
    imported: Annotated[
        list[Path] | None,
        typer.Option("--import", metavar="FILE", help="First add TF Serving's own log: TFRecords of PredictionLog."),
    ] = None,
    model: ModelName = None,
    version: Version = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Show what a request log holds; pick pictures of it to label; score its answers once they are labelled."""
    if to is not None and labels is not None:
        raise ConfigError("--to writes pictures to be labelled, --labels reads labels; give one of them.")
    if imported:
        _import(imported, folder)
    log, choice = _opened(folder, model, version, since, until)
    if to is not None:
        _pick(log, choice, to, pick, count, _required(run, "--to"))
    elif labels is not None:
        _score(log, choice, labels, _required(run, "--labels"))
    else:
        _show(log)


@verb
def drift(
    run: Annotated[Path, typer.Argument(metavar="RUN", parser=location, help="The Run whose model was asked.")],
    folder: LogFolder,
    model: ModelName = None,
    version: Version = None,
    since: Since = None,
    until: Until = None,
    max_psi: Annotated[float, typer.Option(min=0.0, help="Population stability index of a measure.")] = 0.25,
    max_auc: Annotated[float, typer.Option(min=0.5, max=1.0, help="Of telling requests apart by features.")] = 0.75,
    p_value: Annotated[float, typer.Option(help="Below which a difference is no chance.")] = 0.01,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="Pictures of the log to look at.")] = 2000,
    reference: Annotated[int, typer.Option(metavar="N", min=1, help="Pictures of each split to compare with.")] = 2000,
) -> None:
    """Compare logged requests with what the Run was trained on; exit code 6 where they have drifted."""
    from pipeline.drift import examine, keep, view
    from pipeline.mirror import mirrored
    from pipeline.run import Run

    settings = _settings(max_psi, max_auc, p_value, count, reference)
    log, choice = _opened(folder, model, version, since, until)
    with mirrored(run) as local:
        report = examine.examine(Run(local, home=run), log, choice, settings)
        keep.keep(report, Run(local, home=run))
    page = run / "drift.html"
    terminal.answer({"run": str(run), "page": str(page), **report.as_document()}, view.as_view(report))
    console.say(f"drift: {page}")
    report.require_alike()


def _settings(max_psi: float, max_auc: float, p_value: float, count: int, reference: int) -> DriftSettings:
    from pipeline.drift.settings import LEAST_P_VALUE, DriftSettings

    if not 0 < max_psi < math.inf:
        raise ConfigError(f"--max-psi: expected a number above 0, got {max_psi:g}.")
    if not 0.5 < max_auc <= 1:
        raise ConfigError(f"--max-auc: expected more than 0.5, which is guessing, and at most 1, got {max_auc:g}.")
    if not LEAST_P_VALUE <= p_value < 1:
        raise ConfigError(f"--p-value: expected a probability from {LEAST_P_VALUE:g} to below 1, got {p_value:g}.")
    return DriftSettings(max_psi=max_psi, max_auc=max_auc, p_value=p_value, requests=count, reference=reference)


def _opened(
    folder: Path, model: str | None, version: int | None, since: str | None, until: str | None
) -> tuple[RequestLog, Choice]:
    from pipeline.data.requests.reader import Choice, RequestLog, from_time

    log = RequestLog(folder)
    times = (None if text is None else from_time(text) for text in (since, until))
    return log, Choice(model, version, *times)


def _required(run: Path | None, option: str) -> Path:
    if run is None:
        raise ConfigError(f"{option} needs --run RUN, which says what the answers mean.")
    return run


def _import(files: list[Path], folder: Path) -> None:
    from pipeline.data.pictures import BadPicture
    from pipeline.data.requests.writer import LogLimits, RequestWriter
    from serving.request_log.prediction_logs import logged_pictures

    # Without a limit: what somebody asks for is not thrown away.
    writer, held, bad, passed_over = RequestWriter(folder, LogLimits(limit_gib=2**20)), 0, 0, 0
    try:
        for pictures in chain.from_iterable(map(logged_pictures, files)):
            passed_over += not pictures
            for picture in pictures:
                try:
                    writer.write(picture)
                    held += 1
                except BadPicture:
                    bad += 1
    finally:
        writer.close()
    console.say(
        f"requests: {quantity(held, 'picture')} imported; {quantity(bad, 'picture')} that cannot be read, and "
        f"{quantity(passed_over, 'record')} without a usable picture, were passed over"
    )


def _show(log: RequestLog) -> None:
    from pipeline.data.requests import view

    terminal.answer(view.as_document(log), view.as_table(log))


def _pick(log: RequestLog, choice: Choice, to: Path, how: Any, count: int, run: Path) -> None:
    from pipeline.drift import picking
    from pipeline.mirror import mirrored
    from pipeline.run import Run

    with mirrored(run) as local:
        model = picking.Model.of(Run(local, home=run))
        ids = picking.pick(log, choice, how, count, model)
        table = picking.write(log, ids, to, how, model)
    columns = picking.column_names(model.task)
    source = {"kind": "table", "path": str(table), "id_column": picking.ID, **picking.columns_to_fill(model.task)}
    settings = ", ".join(f"{name}: {value}" for name, value in source.items()).replace("'", "")
    todo = f"Fill in {', '.join(columns)}, and remove the rows that you leave empty. Then"
    view = f"{quantity(len(ids), 'picture')} and {table}\n{todo}\n  data:\n    source: {{{settings}}}"
    terminal.answer({"pictures": len(ids), "table": str(table), "columns": columns, "source": source}, view)


def _score(log: RequestLog, choice: Choice, labels: Path, run: Path) -> None:
    from pipeline.drift.picking import Model
    from pipeline.labelled_requests import score
    from pipeline.mirror import mirrored
    from pipeline.run import Run

    with mirrored(run) as local:
        found = score(log, choice, labels, Model.of(Run(local, home=run)))
    terminal.answer(found.as_document(), found.as_text())
