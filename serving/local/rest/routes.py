"""What a method and a path ask for, by TF Serving's regular expressions and libevent's rules for addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote_to_bytes

from grpc import StatusCode

from serving.errors import ServingError

ALLOWED_METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")
"""Those that libevent lets through to TF Serving."""
LARGEST_VERSION = 2**63 - 1

Verb = Literal["predict", "classify", "regress", "status", "metadata"]

_API = re.compile(r"/v1/.*", re.IGNORECASE)
_VERSION = r"(?:(?:/versions/(?P<version>[0-9]+))|(?:/labels/(?P<label>[^/:]+)))?"
_PREDICTION = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<verb>classify|regress|predict)", re.IGNORECASE)
_MODEL = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?:/(?P<verb>metadata))?", re.IGNORECASE)
_VERBS: dict[str, dict[str | None, Verb]] = {
    "POST": {"predict": "predict", "classify": "classify", "regress": "regress"},
    "GET": {"metadata": "metadata"},
}
"""By the very spelling; the expressions take any. What else they find with GET is a status."""
_PATH = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_QUERY = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")


class UnansweredError(ServingError):
    """An error that TF Serving answers with an empty body."""


@dataclass(frozen=True)
class Route:
    """What is asked of which model.

    Args:
        verb: what to do.
        name: of the model.
        version, label: at most one of them; neither means the newest.
    """

    verb: Verb
    name: str
    version: int | None = None
    label: str | None = None


def is_valid(path: bytes, query: bytes) -> bool:
    """Whether an address has only the characters that RFC 3986 allows."""
    return bool(_PATH.fullmatch(path) and _QUERY.fullmatch(query))


def is_api(target: str) -> bool:
    """Whether a path with its query belongs to the API."""
    return bool(_API.fullmatch(target))


def find_route(method: str, target: str) -> Route:
    """The route of a method and a path with its query.

    Raises:
        UnansweredError: the version does not fit into 64 bits.
        ServingError: INVALID_ARGUMENT where there is no such route.
    """
    found = {"POST": _PREDICTION, "GET": _MODEL}[method].fullmatch(target) if method in _VERBS else None
    if found is None:
        raise malformed(method, target)
    name, label, spelt = found["name"], found["label"], found["verb"]
    version = _version(found["version"])
    verb = _VERBS[method].get(spelt, "status" if method == "GET" else None)
    if verb is None:
        raise malformed(method, target)
    if not name:
        raise ServingError(StatusCode.INVALID_ARGUMENT, "Missing model name in request.")
    return Route(verb, _unquoted(name), version, _unquoted(label) if label else None)


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(LARGEST_VERSION)) or int(digits) > LARGEST_VERSION:
        raise UnansweredError(StatusCode.INVALID_ARGUMENT, f"Failed to convert version: {text} to numeric.")
    return int(digits)


def malformed(method: str, target: str) -> ServingError:
    """The error of an address that the API does not have."""
    return ServingError(StatusCode.INVALID_ARGUMENT, f"Malformed request: {method} {target}")


def _unquoted(text: str) -> str:
    return unquote_to_bytes(text).decode(errors="replace")
