"""The command line `convoy VERB ...`. Nothing heavy is imported before a verb needs it: `--help` has to be quick."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from typer.exceptions import Abort, TyperException

import models as models  # chooses Keras 2 before a verb imports TensorFlow
from pipeline import console
from pipeline.cli_options import (
    Attempts,
    Authority,
    Certificate,
    ConfigPath,
    DrawnTo,
    Key,
    Mirror,
    ModelName,
    Overlap,
    Overrides,
    Pictures,
    PredictedBy,
    Resume,
    RunFolder,
    ServerUrl,
    Tile,
    Timeout,
    refuse_with_server,
    refuse_without_server,
    refuse_without_tiles,
    required_files,
)
from pipeline.command import app, verb
from pipeline.console import Level, terminal
from pipeline.errors import ConfigError, ConvoyError, GoesOnAlone, Interrupted
from pipeline.opening import config_file, finished_job, joint_job, location, opened, run_folder_of

if TYPE_CHECKING:
    from types import FrameType

FAULT = 70
"""Exit code of a fault in Convoy itself (EX_SOFTWARE of sysexits.h)."""


@verb
def run(config: ConfigPath, overrides: Overrides = None, run: RunFolder = None, resume: Resume = False) -> None:
    """Do all of it: prepare, train, evaluate, compress, export, verify, report."""
    with joint_job("run", config, overrides, run) as job:
        from pipeline import stages

        stages.run_all(job.config, job.run, resume=resume, team=job.team)


@verb
def prepare(config: ConfigPath, overrides: Overrides = None, run: RunFolder = None) -> None:
    """Read the source once, check every picture, and write sharded records."""
    with finished_job("prepare", config, overrides, run) as job:
        from pipeline import stages

        stages.prepare(job.config, job.run)


@verb
def train(config: ConfigPath, overrides: Overrides = None, run: RunFolder = None, resume: Resume = False) -> None:
    """Train the network; prepares the data first where that has not been done."""
    with joint_job("train", config, overrides, run) as job:
        from pipeline import stages

        stages.train(job.config, job.run, resume=resume, team=job.team)


@verb
def evaluate(config: ConfigPath, overrides: Overrides = None, run: RunFolder = None) -> None:
    """Score the trained model on the test split (validation where there is none)."""
    with finished_job("evaluate", config, overrides, run) as job:
        from pipeline import stages

        stages.evaluate(job.config, job.run)


@verb
def compress(
    config: ConfigPath,
    overrides: Overrides = None,
    run: RunFolder = None,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Try the grid `compress.sweep` instead, and pick the best within its limits."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only say, layer by layer, what quantization-aware training can do with it."),
    ] = False,
) -> None:
    """Make the smaller variants of the trained model."""
    if check:
        _check_layers(config, overrides, run, sweep=sweep)
        return
    with finished_job("sweep" if sweep else "compress", config, overrides, run) as job:
        from pipeline import stages, sweep_stage

        (sweep_stage.sweep if sweep else stages.compress)(job.config, job.run)


def _check_layers(config: Path, overrides: list[str] | None, run: Path | None, *, sweep: bool) -> None:
    if sweep:
        raise ConfigError("--check and --sweep exclude each other; give one of them.")
    with opened(config, overrides, run) as job:
        from pipeline import preflight

        table = preflight.check(job.config, job.run)
        terminal.answer(table.as_document(), table.as_view())
        preflight.require_quantizable(table)


@verb
def export(config: ConfigPath, overrides: Overrides = None, run: RunFolder = None) -> None:
    """Write the SavedModel, the TFLite files and their contract."""
    with finished_job("export", config, overrides, run) as job:
        from pipeline import stages

        stages.export(job.config, job.run)


@verb
def verify(config: ConfigPath, overrides: Overrides = None, run: RunFolder = None) -> None:
    """Run every exported file over the evaluation data; exit code 6 where one misses its limits."""
    with finished_job("verify", config, overrides, run) as job:
        from pipeline import stages

        stages.verify(job.config, job.run)


@verb
def report(config: ConfigPath, overrides: Overrides = None, run: RunFolder = None) -> None:
    """Write one self-contained HTML page about the Run."""
    with finished_job("report", config, overrides, run) as job:
        from pipeline import stages

        stages.report(job.config, job.run)


@verb
def preview(
    config: ConfigPath,
    overrides: Overrides = None,
    run: RunFolder = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.png", help="Where to write. Default: RUN/preview.png."),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=200, help="Training pictures, a row each.")] = 8,
) -> None:
    """Draw training pictures and their augmented versions, labels and objects included; prepares first if needed."""
    with opened(config, overrides, run) as job:
        from pipeline import before_training

        file = before_training.preview(job.config, job.run, output, count)
        shown = output or job.run.home / file.name
        terminal.answer({"run": str(job.run.home), "preview": str(shown)}, f"preview: {shown}")


@verb
def profile(
    config: ConfigPath,
    overrides: Overrides = None,
    run: RunFolder = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="For all measurements together, besides getting ready.")
    ] = 20.0,
) -> None:
    """Measure every stage of a training: which of them is the limit, and what to change; prepares first if needed."""
    with opened(config, overrides, run) as job:
        from pipeline import before_training
        from pipeline.profile import as_view

        measured = before_training.profile(job.config, job.run, seconds)
        terminal.answer({"run": str(job.run.home), **measured.as_document()}, as_view(measured))


@verb
def predict(
    model: PredictedBy,
    files: Pictures = None,
    draw: DrawnTo = None,
    tile: Tile = False,
    overlap: Overlap = None,
    mirror: Mirror = False,
    server: ServerUrl = None,
    model_name: ModelName = None,
    authority: Authority = None,
    certificate: Certificate = None,
    key: Key = None,
    timeout: Timeout = 30.0,
    attempts: Attempts = 6,
) -> None:
    """Answer for pictures: a table, JSON, or pictures with the answer drawn on."""
    from pipeline import predict as prediction

    refuse_without_tiles(tile, overlap)
    if server:
        from pipeline.predict_server import Server, predict_on

        refuse_with_server(tile=tile, mirror=mirror)
        asked = Server(server, model_name, authority, certificate, key, timeout, attempts)
        answers = predict_on(asked, [model, *(files or ())])
    else:
        from pipeline.config import regions_beside

        refuse_without_server(model=model_name, authority=authority, certificate=certificate, key=key)
        views = prediction.views_of(tile=tile, overlap=overlap, mirror=mirror)
        answers = prediction.predict(model, required_files(files), regions_beside(model), views)
    if draw:
        prediction.draw(answers, draw)
    terminal.answer({"predictions": [answer.as_document() for answer in answers]}, prediction.as_table(answers))
    prediction.require_all(answers)


@verb
def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="A folder of data, a CSV or Parquet table, or the data.yaml or JSON of one with boxes.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write. Default: NAME.yaml here; - for stdout."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Look at a folder of data, say what is in it, and write a configuration that runs."""
    from pipeline import inspect_folder, starting_config

    found = inspect_folder.inspect(folder)
    target = output or Path(f"{folder.resolve().stem}.yaml")
    text = starting_config.configuration(found, target)
    if str(target) == "-":
        terminal.answer({"found": found.as_document(), "configuration": text}, text)
        return
    starting_config.write(text, target, force=force)
    view = f"{found.as_text()}\n\nWrote {target}. Next: convoy run {target}"
    terminal.answer({"found": found.as_document(), "file": str(target)}, view)


@verb
def doctor(
    subject: Annotated[
        Literal["data"] | None, typer.Argument(metavar="[data]", help="What to check; this machine by default.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]", parser=location, help="For data: a YAML file (a task is not needed), or a Run."
        ),
    ] = None,
    overrides: Overrides = None,
    run: RunFolder = None,
) -> None:
    """Check this machine (versions, devices, disk), or with `data CONFIG` the data: exit code 3 where it has errors."""
    if subject is None:
        from pipeline import doctor as checks

        findings = checks.examine()
        terminal.answer(checks.as_document(findings), checks.as_table(findings))
        checks.require_healthy(findings)
        return
    if config is None:
        raise ConfigError("`convoy doctor data` needs a configuration: convoy doctor data CONFIG.")
    _examine_data(config, overrides or [], run)


def _examine_data(source: Path, overrides: Sequence[str], run_folder: Path | None) -> None:
    from pipeline.config import load_data
    from pipeline.diagnosis import examine, keep, view
    from pipeline.files import require_writable
    from pipeline.mirror import mirrored
    from pipeline.run import Run

    config = load_data(config_file(source), overrides)
    folder = run_folder_of(config.run, source, run_folder)
    require_writable(folder)
    diagnosis = examine.examine(examine.subject_of(config.data), config.doctor)
    with mirrored(folder) as local:
        keep.keep(diagnosis, config.data.source, Run(local, home=folder), config.doctor.pictures)
    file = folder / "doctor.json"
    terminal.answer(
        {"run": str(folder), "file": str(file), **diagnosis.as_document()},
        view.as_view(diagnosis, config.doctor.rows),
    )
    console.say(f"doctor: {file}")
    diagnosis.require_sound()


@verb
def data_service(
    role: Annotated[
        Literal["dispatcher", "worker"], typer.Argument(metavar="dispatcher|worker", help="Which of the two to run.")
    ],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Where it answers; 0 is any free port.")] = 0,
    dispatcher: Annotated[
        str | None, typer.Option("--dispatcher", metavar="HOST:PORT", help="Of a worker: whose files it shares.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="NAME", help="Of a worker: this machine, as the training reaches it.")
    ] = "localhost",
) -> None:
    """Run one process of a tf.data service (`input.service`) until Ctrl-C or SIGTERM."""
    from pipeline.data import service

    if role == "dispatcher":
        service.serve_dispatcher(port)
    elif dispatcher is None:
        raise ConfigError("A worker needs --dispatcher HOST:PORT; `convoy data-service dispatcher` prints its own.")
    else:
        service.serve_worker(port, dispatcher, host)


# Imported here, so that `--help` lists their verbs after those above, in this order.
from pipeline import cli_describe as cli_describe, cli_data as cli_data, cli_serving as cli_serving  # noqa: E402, I001
from pipeline import cli_rollout as cli_rollout, cli_load as cli_load, cli_requests as cli_requests  # noqa: E402
from pipeline import cli_track as cli_track, cli_follow as cli_follow  # noqa: E402


def execute(arguments: Sequence[str]) -> int:
    """Runs one command and gives its exit code; the only place where errors become messages."""
    terminal.configure(as_json="--json" in arguments)
    try:
        code = app(list(arguments) or ["--help"], standalone_mode=False, prog_name="convoy") or 0
    except ConvoyError as error:
        return _failed(error, str(error), error.exit_code)
    except TyperException as error:
        return _failed(error, _usage(error), ConfigError.exit_code)
    except (Abort, KeyboardInterrupt) as error:
        return _failed(error, "stopped.", Interrupted.exit_code)
    except ImportError as error:
        return _failed(
            error, f"{error}. `convoy doctor` says what is missing and how to get it.", ConvoyError.exit_code
        )
    except Exception as error:  # the last resort: a fault of ours must still end with its own exit code
        return _failed(error, f"this is a fault in Convoy, please report it: {error!r}", FAULT)
    if code == Interrupted.exit_code:
        return _failed(Interrupted(), "stopped.", code)
    terminal.finish()
    return int(code)


def _usage(error: TyperException) -> str:
    """What is wrong with a command line, and where its command is explained."""
    said, context = error.format_message(), getattr(error, "ctx", None)
    command = context.command_path if context else "convoy"
    return f"{said}{'' if said.endswith(('.', '?', '!')) else '.'} See `{command} --help`."


def _failed(error: BaseException, message: str, code: int) -> int:
    if terminal.level == Level.VERBOSE or code == FAULT:
        traceback.print_exception(error, file=sys.stderr)
    console.fail(message)
    terminal.finish(error={"kind": type(error).__name__, "message": message, "exit_code": code})
    return code


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> NoReturn:
    """The entry point `convoy`. SIGTERM is what schedulers send before they kill: it stops as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = _spoken(sys.argv[1:])
    except GoesOnAlone:
        from pipeline.hosts import start_alone

        start_alone()
    sys.exit(code)


def _spoken(arguments: Sequence[str]) -> int:
    """`execute`, with what C++ libraries write kept back unless it is asked for."""
    if {"-v", "--verbose"} & set(arguments):
        return execute(arguments)
    with console.native_messages_hidden() as hidden:
        code = execute(arguments)
        if code == FAULT:
            hidden.seek(0)
            sys.stderr.write(hidden.read().decode(errors="replace"))
    return code
