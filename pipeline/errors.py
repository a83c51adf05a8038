"""Every error a user can cause, with the exit code that the command line ends with.

ConvoyError            1   anything below, and nothing else
├── ConfigError        2   the configuration or the command line is wrong
├── DataError          3   the data is missing, unreadable, or does not fit the task
├── TrainingError      4   training cannot go on (a loss that is not finite, weights that do not fit)
├── ExportError        5   a model cannot be converted or written
├── VerificationError  6   an export misses its limits (not blessed), or a server under load its own
├── RunError           7   a Run folder cannot be used (another configuration, a stage missing, a damaged checkpoint)
├── StorageError       8   the disk is full or cannot be written
├── ServerError        9   a server cannot be reached, or refuses what it was asked (serving/remote/errors.py)
└── Interrupted        130 stopped by Ctrl-C or SIGTERM; the Run can be resumed

A message says what was passed, what was expected, and how to fix it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConvoyError(Exception):
    """A mistake or a condition that the user can act on; shown as one message, never as a traceback."""

    exit_code = 1


class ConfigError(ConvoyError):
    """The configuration or the command line is wrong.

    Args:
        message: what was passed, what was expected, how to fix it.
        place: the setting that is wrong, such as ("augment", 1), where the message does not name its file and line yet;
            `pipeline.config.located` does.
    """

    exit_code = 2

    def __init__(self, message: str, place: tuple[str | int, ...] = ()):
        super().__init__(message)
        self.place = place


class DataError(ConvoyError):
    """The data is missing, unreadable, or does not fit the task."""

    exit_code = 3


class TrainingError(ConvoyError):
    """Training cannot go on."""

    exit_code = 4


class ExportError(ConvoyError):
    """A model cannot be converted or written."""

    exit_code = 5


class VerificationError(ConvoyError):
    """An exported model misses its limits, or a server under load does."""

    exit_code = 6


class RunError(ConvoyError):
    """A Run folder cannot be used as asked."""

    exit_code = 7


class StorageError(ConvoyError):
    """The disk is full or cannot be written."""

    exit_code = 8


class ServerError(ConvoyError):
    """A server cannot be reached, or refuses what it was asked.

    Args:
        message: what was asked of which server, what it answered, and what to do.
        code: of the status, as gRPC names it, such as `UNAVAILABLE`.
        said: the server's own words; empty where it said nothing.
    """

    exit_code = 9

    def __init__(self, message: str, code: str = "UNKNOWN", said: str = ""):
        super().__init__(message)
        self.code = code
        self.said = said


class Interrupted(ConvoyError):
    """Stopped by Ctrl-C or SIGTERM; what was done is kept and can be resumed."""

    exit_code = 130


class GoesOnAlone(BaseException):
    """No error: the chief of several hosts has trained with them, and the rest of its command is for a new process.

    In this one TensorFlow belongs to a cluster for good, and would write that into what is exported.
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest valid one (``Did you mean 'int8'?``) and the list."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Valid: {', '.join(names)}."
