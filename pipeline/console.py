"""What the user sees: results on stdout, everything else (messages, warnings, progress) on stderr.

With `--json`, stdout holds exactly one JSON document, printed when the command ends. With `--quiet`, stderr holds only
warnings and errors. Where stderr is no terminal, progress is a line now and then, so that logs stay readable.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import IO, TYPE_CHECKING, Any, Protocol

from pipeline.wording import noun

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 10.0
REFRESHES = 4
"""Of a live bar in a second: each costs the training some of the processor."""


class Level(IntEnum):
    """How much is told on stderr."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class Progress(Protocol):
    """Told how far a piece of work has come.

    Args:
        done: how many units are done, counted from the beginning of the whole work.
        total: how many there are; None while that is unknown.
        fields: numbers to show beside the bar, such as `loss=0.3`.
    """

    def __call__(self, done: int, total: int | None = None, /, **fields: float | str) -> None: ...


class Terminal:
    """Where a command's words go. There is one, `terminal`, as there is one stdout."""

    def __init__(self) -> None:
        self.level = Level.NORMAL
        self.json = False
        self.document: dict[str, Any] | None = None

    def configure(self, level: Level = Level.NORMAL, *, as_json: bool = False) -> None:
        """Sets how the command speaks; forgets the document of an earlier one."""
        self.level, self.json, self.document = level, as_json, None

    def answer(self, document: dict[str, Any], view: RenderableType) -> None:
        """The command's result: `view` for people now, or `document` for machines when the command ends."""
        if self.json:
            self.document = document
        else:
            _console(stderr=False).print(view, soft_wrap=isinstance(view, str), markup=False, highlight=False)

    def finish(self, **more: Any) -> None:
        """Prints the one JSON document of a `--json` command, with `more` in it."""
        if self.json:
            document = {**(self.document or {}), **more}
            sys.stdout.write(json.dumps(document, indent=2, default=str, ensure_ascii=False) + "\n")


terminal = Terminal()


def say(text: str) -> None:
    """A message on stderr, unless quiet."""
    if terminal.level >= Level.NORMAL:
        _tell(text)


def detail(text: str) -> None:
    """A message on stderr for those who asked for more."""
    if terminal.level >= Level.VERBOSE:
        _tell(text, style="dim")


def warn(text: str) -> None:
    """A warning on stderr, always."""
    _tell(f"Warning: {text}", style="yellow")


def fail(text: str) -> None:
    """An error on stderr, always."""
    _tell(f"Error: {text}", style="bold red")


@contextmanager
def progress(description: str, unit: str = "picture") -> Iterator[Progress]:
    """Shows how a piece of work goes on: share done, rate, remaining time. The unit is the name of one, such as `step`.

    Example:
        with console.progress("prepare") as tell:
            tell(10, 500)
            tell(20, 500, bad=1)
    """
    if terminal.level == Level.QUIET:
        yield _Silent()
    elif sys.stderr.isatty():
        with _Bar(description, unit) as bar:
            yield bar
    else:
        lines = _Lines(description, unit)
        yield lines
        lines.finish()


class Pace:
    """Units a second and the seconds that remain, counted from the first report: what came before it was warming up."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self.rate: float | None = None
        self.remaining: float | None = None

    def update(self, done: int, total: int | None) -> None:
        """Takes a report into account."""
        now = time.monotonic()
        first_time, first_done = self._first = self._first or (now, done)
        if done <= first_done or now <= first_time:
            return
        self.rate = (done - first_done) / (now - first_time)
        self.remaining = None if total is None else (total - done) / self.rate


def describe_pace(done: int, total: int | None, unit: str, pace: Pace) -> str:
    """Such as `120/500 pictures  60/s  0:06 left`; the unit is the name of one."""
    units = noun(total or done, unit)
    parts = [f"{done}/{total} {units}" if total else f"{done} {units}"]
    if pace.rate is not None:
        parts.append(f"{pace.rate:.0f}/s" if pace.rate >= 10 else f"{pace.rate:.2g}/s")
    if pace.remaining is not None and pace.remaining > 0:
        parts.append(f"{clock(pace.remaining)} left")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as 0:06, 12:30 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Silent:
    def __call__(self, done: int, total: int | None = None, /, **fields: float | str) -> None:
        pass


class _Lines:
    """A line every few seconds, and one at the end."""

    def __init__(self, description: str, unit: str):
        self._description, self._unit = description, unit
        self._pace, self._latest, self._said = Pace(), "", time.monotonic()

    def __call__(self, done: int, total: int | None = None, /, **fields: float | str) -> None:
        self._pace.update(done, total)
        pace = describe_pace(done, total, self._unit, self._pace)
        self._latest = f"{self._description}: {pace}  {_shown(fields)}".rstrip()
        if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self.finish()

    def finish(self) -> None:
        """Says where the work stands, if that has not been said."""
        if self._latest:
            _tell(self._latest)
        self._latest, self._said = "", time.monotonic()


class _Bar:
    """A live bar in a terminal."""

    def __init__(self, description: str, unit: str):
        self._description, self._unit, self._pace = description, unit, Pace()

    def __enter__(self) -> _Bar:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[pace]}"))
        self._progress: RichProgress = Progress(
            *columns,
            TimeElapsedColumn(),
            TextColumn("{task.fields[shown]}"),
            console=_console(stderr=True),
            refresh_per_second=REFRESHES,
        )
        self._task: TaskID = self._progress.add_task(self._description, total=None, pace="", shown="")
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int | None = None, /, **fields: float | str) -> None:
        self._pace.update(done, total)
        pace = describe_pace(done, total, self._unit, self._pace)
        self._progress.update(self._task, completed=done, total=total, pace=pace, shown=_shown(fields))


@contextmanager
def native_messages_hidden() -> Iterator[IO[bytes]]:
    """Keeps what C++ libraries write to the process's stderr from the user; Python's `sys.stderr` still reaches them.

    TensorFlow and the TFLite converter tell of drivers and internals past every log level. Gives the file that holds
    what was hidden, for the case of a fault; a crash still prints where Python stood.
    """
    sys.stderr.flush()
    real, shown_before = os.dup(2), sys.stderr
    with tempfile.TemporaryFile() as hidden, os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace") as shown:
        sys.stderr = shown
        faulthandler.enable(shown)
        os.dup2(hidden.fileno(), 2)
        try:
            yield hidden
        finally:
            faulthandler.disable()
            os.dup2(real, 2)
            os.close(real)
            sys.stderr = shown_before


def _shown(fields: dict[str, float | str]) -> str:
    return "  ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in fields.items()
    )


def _tell(text: str, style: str | None = None) -> None:
    _console(stderr=True).print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _console(*, stderr: bool) -> Console:
    """Made anew each time: rich remembers neither the stream nor its width, both of which may change."""
    from rich.console import Console

    return Console(stderr=stderr)
