"""What a JSON document is in Python, and its text in error messages.

Null, booleans, numbers, strings and lists are Python's own. An integer beyond 64 bits is a float, as RapidJSON has it.
A string that is no UTF-8 is `bytes`, since TF Serving passes such bytes on as they are. An object is a dict; one that
names a member twice is a `RepeatedMembers`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from serving.local.rest.decimals import decimal

MAX_SHOWN = 2000
"""Characters of a value in an error message: a body may hold 100 MiB, or a million open brackets."""

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)

_ESCAPED = re.compile(rb'["\\\x00-\x1f]')
_SHORT = {b'"': rb"\"", b"\\": rb"\\", b"\b": rb"\b", b"\f": rb"\f", b"\n": rb"\n", b"\r": rb"\r", b"\t": rb"\t"}
_WORDS = {None: "null", True: "true", False: "false"}
_NAMES = {
    type(None): "Null",
    list: "Array",
    str: "String",
    bytes: "String",
    int: "Number",
    float: "Number",
}


class RepeatedMembers(dict[str, Any]):
    """An object that names a member more than once: as a dict it knows the first of each, `pairs` has all in order."""

    def __init__(self, pairs: list[tuple[str, Any]]):
        super().__init__(reversed(pairs))
        self.pairs = pairs


def members(value: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """All names and values of an object, in the order of the text."""
    return value.pairs if isinstance(value, RepeatedMembers) else value.items()


def is_base64(value: Any) -> bool:
    """Whether it is `{"b64": "..."}` and nothing else."""
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) in (str, bytes)


def as_bytes(text: str | bytes) -> bytes:
    """The bytes of a string."""
    return text.encode() if isinstance(text, str) else text


def type_name(value: Any) -> str:
    """RapidJSON's name of a value's type."""
    if isinstance(value, bool):
        return str(value)
    return "Object" if isinstance(value, dict) else _NAMES[type(value)]


def quoted(text: bytes) -> bytes:
    """A JSON string; bytes that are no UTF-8 stay as they are."""
    return b'"' + _ESCAPED.sub(_escape, text) + b'"'


def _escape(found: re.Match[bytes]) -> bytes:
    return _SHORT.get(found[0]) or b"\\u%04X" % ord(found[0])


def shown(value: Any) -> str:
    """A value as RapidJSON's PrettyWriter has it, cut after MAX_SHOWN characters."""
    if isinstance(value, float):
        return decimal(np.float32(value) if abs(value) <= LARGEST_FLOAT32 else np.float64(value))
    text = ""
    for piece in _pieces(value):
        text += piece
        if len(text) > MAX_SHOWN:
            return text[:MAX_SHOWN] + "..."
    return text


def _pieces(root: Any) -> Iterator[str]:
    """The text bit by bit, without recursion."""
    waiting: list[Iterator[Any]] = [iter([root])]
    closing: list[str] = []
    first = True
    while waiting:
        item = next(waiting[-1], closing)
        if item is closing:
            waiting.pop()
            if closing:
                yield ("" if first else "\n" + "    " * (len(closing) - 1)) + closing.pop()
            first = False
            continue
        if closing:
            yield ("\n" if first else ",\n") + "    " * len(closing)
        name, value = item if isinstance(item, tuple) else (None, item)
        yield "" if name is None else _text(name) + ": "
        first = isinstance(value, dict | list)
        if not first:
            yield _scalar(value)
            continue
        yield "{" if isinstance(value, dict) else "["
        closing.append("}" if isinstance(value, dict) else "]")
        waiting.append(iter(members(value) if isinstance(value, dict) else value))


def _scalar(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, str | bytes):
        return _text(value)
    if isinstance(value, float):
        return repr(value).replace("e+", "e") if math.isfinite(value) else decimal(np.float64(value))
    return str(value)


def _text(text: str | bytes) -> str:
    encoded = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    return quoted(encoded).decode(errors="replace")
