"""The frame of the command line: the application, and what all verbs have in common."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from typing import Annotated, Any

import typer

from pipeline.console import Level, terminal
from pipeline.errors import ConfigError

EPILOG = (
    "[bold]Exit codes[/bold]: 0 done, 1 something else is wrong, 2 configuration or command line, 3 data, 4 training, "
    "5 export, 6 an exported file or a server misses its limits, 7 the Run folder cannot be used, "
    "8 disk full or not writable, 9 a server cannot be reached or refuses, "
    "70 a fault in Convoy, 130 stopped by Ctrl-C or SIGTERM (a Run can then be resumed)."
)

app = typer.Typer(
    name="convoy",
    help="From pictures to a verified SavedModel and TFLite files, with one configuration file.",
    epilog=EPILOG,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

OUTPUT_OPTIONS = {
    "json": Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Only results, warnings and errors.")],
    "verbose": Annotated[bool, typer.Option("--verbose", "-v", help="More messages, library logs, tracebacks.")],
}


def verb(function: Callable[..., None]) -> Callable[..., None]:
    """Makes a function a verb of `convoy`, with the options that all verbs share."""

    @functools.wraps(function)
    def command(*, json: bool, quiet: bool, verbose: bool, **arguments: Any) -> None:
        if quiet and verbose:
            raise ConfigError("--quiet and --verbose exclude each other; give one of them.")
        level = Level.QUIET if quiet else Level.VERBOSE if verbose else Level.NORMAL
        terminal.configure(level, as_json=json)
        _quieten_libraries(level)
        with redirect_stdout(sys.stderr) if json else nullcontext():
            function(**arguments)

    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in OUTPUT_OPTIONS.items()
    ]
    own = inspect.signature(function, eval_str=True)
    command.__signature__ = own.replace(parameters=[*own.parameters.values(), *shared])  # type: ignore[attr-defined]
    return app.command()(command)


def _quieten_libraries(level: Level) -> None:
    """TensorFlow, absl and others only speak on --verbose; what matters is said by Convoy."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if level == Level.VERBOSE else "3")
    if level == Level.VERBOSE:
        return
    for name in ("tensorflow", "absl", "tf_keras", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        terminal.answer({"version": version("convoy")}, f"convoy {version('convoy')}")
        raise typer.Exit


@app.callback()
def _convoy(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass
