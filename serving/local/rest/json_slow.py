"""A JSON reader without recursion that accepts and refuses what RapidJSON's iterative one does, in its words.

It accepts more than RFC 8259: NaN and Infinity, text after the first value, bytes that are no UTF-8, a byte order mark.
Numbers beyond 64 bits are floats. TF Serving uses RapidJSON 1.1.0 with kParseIterativeFlag, kParseNanAndInfFlag and
kParseStopWhenDoneFlag; unlike it, decimals are rounded correctly to the last bit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from grpc import StatusCode

from serving.errors import ServingError
from serving.local.rest.json_value import RepeatedMembers

MAX_LEVELS = 1_000_000
"""RapidJSON has no limit. A level costs memory here, and a body of 100 MiB may consist of open brackets."""

_SPACE = re.compile(rb"[ \t\n\r]*")
_OPENING = re.compile(rb"[\[ \t\n\r]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]*)?")
_NAN = re.compile(rb"-?NaN|-?Inf(?!i)|-?Infinity")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = re.compile(rb"[0-9A-Fa-f]{4}")
_ESCAPES = {b'"': b'"', b"/": b"/", b"\\": b"\\", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_CONSTANTS = {ord("t"): (b"true", True), ord("f"): (b"false", False), ord("n"): (b"null", None)}
_QUOTE, _BACKSLASH, _COMMA, _COLON, _MINUS, _END = b'"\\,:-\0'
_OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = b"[]{}"
_PUNCTUATION = b"]},:\0"
"""No beginning of a value."""
_WHITE = b" \t\n\r"
_MAX_EXPONENT = 308
_LARGEST = 2**64 - 1
_SMALLEST = -(2**63)

Step = Callable[[], "Step | None"]


class _Object(list[tuple[str, Any]]):
    """An object that is being read: its members so far, and the name of the next."""

    name = ""


class SlowReader:
    """Reads one document.

    Args:
        text: as it came.
    """

    def __init__(self, text: bytes):
        self._text = text + b"\0"  # where RapidJSON stops too, wherever it stands
        self._at = 0
        self._open: list[list[Any]] = [[]]  # the root value ends up in the first

    def read(self) -> Any:
        """The first value; ServingError INVALID_ARGUMENT where there is none."""
        for mark in b"\xef\xbb\xbf":
            self._at += self._text[self._at] == mark
        step: Step | None = self._root
        while step is not None:
            step = step()
        return self._open[0][0]

    def _root(self) -> Step | None:
        return self._value("The document is empty.")

    def _first_element(self) -> Step | None:
        return self._close_list() if self._next() == _CLOSE_LIST else self._element()

    def _element(self) -> Step | None:
        return self._value("Unspecific syntax error.")

    def _after_element(self) -> Step | None:
        byte = self._next()
        if byte == _COMMA:
            self._at += 1
            return self._element
        return self._close_list() if byte == _CLOSE_LIST else self._fail("Missing a comma or ] after an array element.")

    def _first_member(self) -> Step | None:
        return self._close_object() if self._next() == _CLOSE_OBJECT else self._member()

    def _member(self) -> Step | None:
        if self._next() != _QUOTE:
            self._fail("Missing a name for object member.")
        name = self._string()
        if self._next() != _COLON:
            self._fail("Missing a colon after a name of object member.")
        self._at += 1
        holder = self._open[-1]
        if isinstance(holder, _Object):
            holder.name = name.decode(errors="surrogateescape") if isinstance(name, bytes) else name
        return self._element

    def _after_member(self) -> Step | None:
        byte = self._next()
        if byte == _COMMA:
            self._at += 1
            return self._member
        return (
            self._close_object()
            if byte == _CLOSE_OBJECT
            else self._fail("Missing a comma or } after an object member.")
        )

    def _value(self, missing: str) -> Step | None:
        byte = self._next()
        if byte == _OPEN_LIST:
            return self._begin_lists()
        if byte == _OPEN_OBJECT:
            return self._begin_object()
        if byte in _PUNCTUATION:
            self._fail(missing)
        if byte == _QUOTE:
            return self._put(self._string())
        return self._put(self._constant(byte) if byte in _CONSTANTS else self._number())

    def _begin_lists(self) -> Step:
        """All that begin here, one in the other."""
        end = _end_of(_OPENING, self._text, self._at)
        count = self._text.count(b"[", self._at, end)
        self._require_levels(count)
        self._open.extend([] for _ in range(count))
        self._at = end
        return self._first_element

    def _begin_object(self) -> Step:
        self._require_levels(1)
        self._open.append(_Object())
        self._at += 1
        return self._first_member

    def _require_levels(self, count: int) -> None:
        if len(self._open) + count > MAX_LEVELS:
            self._fail(f"Nested deeper than {MAX_LEVELS} levels.")

    def _close_list(self) -> Step | None:
        """This one, and those that it is the last element of."""
        self._at += 1
        holder = self._open.pop()
        while self._text[self._at] == _CLOSE_LIST and type(self._open[-1]) is list and len(self._open) > 1:
            self._at += 1
            self._open[-1].append(holder)
            holder = self._open.pop()
        return self._put(holder)

    def _close_object(self) -> Step | None:
        self._at += 1
        holder = self._open.pop()
        names = dict(holder)
        return self._put(names if len(names) == len(holder) else RepeatedMembers(holder))

    def _put(self, value: Any) -> Step | None:
        holder = self._open[-1]
        if isinstance(holder, _Object):
            holder.append((holder.name, value))
            return self._after_member
        holder.append(value)
        return None if len(self._open) == 1 else self._after_element

    def _next(self) -> int:
        """The byte after white space; a zero at the end."""
        byte = self._text[self._at]
        if byte in _WHITE:
            self._at = _end_of(_SPACE, self._text, self._at)
            byte = self._text[self._at]
        return byte

    def _constant(self, initial: int) -> Any:
        word, value = _CONSTANTS[initial]
        for letter in word:
            if self._text[self._at] != letter:
                self._fail("Invalid value.")
            self._at += 1
        return value

    def _string(self) -> str | bytes:
        self._at += 1
        parts = []
        while True:
            began, self._at = self._at, _end_of(_PLAIN, self._text, self._at)
            parts.append(self._text[began : self._at])
            end = self._text[self._at]
            if end == _BACKSLASH:
                parts.append(self._escape())
            elif end == _QUOTE:
                self._at += 1
                return _decoded(b"".join(parts))
            else:
                self._fail(
                    "Missing a closing quotation mark in string."
                    if end == _END
                    else "Invalid escape character in string."
                )

    def _escape(self) -> bytes:
        began = self._at
        letter = self._text[began + 1 : began + 2]
        if letter in _ESCAPES:
            self._at += 2
            return _ESCAPES[letter]
        if letter != b"u":
            self._fail("Invalid escape character in string.")
        code = self._hexadecimal(began)
        if 0xD800 <= code <= 0xDBFF:
            low = self._hexadecimal(began) if self._text[self._at : self._at + 2] == rb"\u" else 0
            if not 0xDC00 <= low <= 0xDFFF:
                self._fail("The surrogate pair in string is invalid.", began)
            code = 0x10000 + ((code - 0xD800) << 10 | (low - 0xDC00))
        return chr(code).encode(errors="surrogatepass")

    def _hexadecimal(self, began: int) -> int:
        """The code after a `\\u`."""
        found = _HEX.match(self._text, self._at + 2)
        if found is None:
            self._fail("Incorrect hex digit after \\u escape in string.", began)
        self._at = found.end()
        return int(found[0], 16)

    def _number(self) -> int | float:
        began = self._at
        found = _NUMBER.match(self._text, began)
        if found is None:
            return self._nan()
        self._at = found.end()
        fraction, exponent = found[1], found[2]
        if fraction == b".":
            self._fail("Miss fraction part in number.", found.end(1))
        if exponent is not None and not exponent[-1:].isdigit():
            self._fail("Miss exponent in number.")
        if fraction is None and exponent is None:
            return self._integer(found[0], began)
        if exponent is not None and _is_beyond(exponent, len(fraction or b".") - 1):
            self._fail("Number too big to be stored in double.", began)
        return float(found[0])

    def _integer(self, digits: bytes, began: int) -> int | float:
        if len(digits) <= 20 and _SMALLEST <= (value := int(digits)) <= _LARGEST:
            return value
        wide = float(digits)
        if math.isinf(wide):
            self._fail("Number too big to be stored in double.", began)
        return wide

    def _nan(self) -> float:
        found = _NAN.match(self._text, self._at)
        if found is None:
            self._at += self._text[self._at] == _MINUS
            self._fail("Invalid value.")
        self._at = found.end()
        return float(found[0])

    def _fail(self, reason: str, at: int | None = None) -> NoReturn:
        offset = self._at if at is None else at
        raise ServingError(StatusCode.INVALID_ARGUMENT, f"JSON Parse error: {reason} at offset: {offset}")


def _end_of(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    """Where a run ends that may be empty."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _decoded(text: bytes) -> str | bytes:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _is_beyond(exponent: bytes, num_fraction: int) -> bool:
    """Whether RapidJSON refuses the exponent; where it does not, a number may still be infinite."""
    digits = exponent[1:].lstrip(b"+0")
    if digits.startswith(b"-") or len(exponent) == 2:
        return False
    return len(digits) > 9 or int(digits or b"0") > _MAX_EXPONENT + num_fraction
