"""Arguments and options that several verbs take, or that belong together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import ConfigError
from pipeline.opening import location

ConfigPath = Annotated[
    Path,
    typer.Argument(metavar="CONFIG", parser=location, help="A YAML file, or the folder of an earlier Run."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings that go before the file's, such as train.epochs=3."),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="DIR",
        parser=location,
        help="The Run folder, or its URL. Default: the configuration's `run`, else runs/NAME.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the training that was stopped in this Run.")]

PredictedBy = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_OR_EXPORT",
        parser=location,
        help="A Run, a SavedModel folder, a .tflite file, or its URL. With --server it only says what the answers "
        "mean (a Run, an export folder, a contract.json), and may be left out.",
    ),
]
Pictures = Annotated[
    list[Path] | None, typer.Argument(metavar="FILES", parser=location, help="Pictures, or folders of them, or URLs.")
]
DrawnTo = Annotated[
    Path | None,
    typer.Option(
        "--draw", metavar="FOLDER", parser=location, help="Also write the pictures with their answers drawn on."
    ),
]
Tile = Annotated[
    bool,
    typer.Option(
        "--tile", help="Look at large pictures also in tiles of the model's size, for small objects (detection)."
    ),
]
Overlap = Annotated[
    float | None,
    typer.Option("--overlap", min=0.0, max=0.9, help="With --tile: what neighbours share, of their side; else 0.25."),
]
Mirror = Annotated[
    bool, typer.Option("--mirror", help="Look at everything a second time, mirrored, and merge (detection).")
]
ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Ask a model server: grpc://HOST:8500, grpcs://, http://HOST:8501 or https://, and, where you like, "
        "/v1/models/NAME, /v1/models/NAME/versions/N or /v1/models/NAME/labels/LABEL behind it.",
    ),
]
ModelName = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="With --server: the model, where the URL names none.")
]
Authority = Annotated[
    Path | None,
    typer.Option("--authority", metavar="FILE", help="With TLS: PEM of who signed the server's certificate."),
]
Certificate = Annotated[
    Path | None,
    typer.Option("--certificate", metavar="FILE", help="With mTLS: PEM of this client's certificate."),
]
Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="With mTLS: PEM of this client's key.")]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0.001, help="With --server: for one request, repetitions included."
    ),
]
Attempts = Annotated[
    int, typer.Option("--attempts", min=1, help="With --server: how often a request is sent while it is unavailable.")
]


def refuse_without_server(**options: object) -> None:
    """Raises ConfigError where an option that is about a server was given without one."""
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise ConfigError(f"{', '.join(given)} says how to ask a server, but there is no --server URL. Give it too.")


def refuse_with_server(**options: bool) -> None:
    """Raises ConfigError where an option that needs the model itself was given with a server."""
    given = [f"--{name}" for name, value in options.items() if value]
    if given:
        raise ConfigError(f"{', '.join(given)} needs the model here, not on a server. Leave it or --server out.")


def refuse_without_tiles(tile: bool, overlap: float | None) -> None:
    """Raises ConfigError where it was said how much tiles share, but not that there are any."""
    if overlap is not None and not tile:
        raise ConfigError(f"--overlap {overlap} says what tiles share, but there is no --tile. Give it too.")


def required_files(files: list[Path] | None) -> list[Path]:
    """The pictures; ConfigError where none were given."""
    if not files:
        raise ConfigError("`convoy predict` needs pictures: convoy predict RUN_OR_EXPORT FILES...")
    return files
