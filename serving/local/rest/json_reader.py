"""Bodies of requests as JSON, with RapidJSON's rules and words.

orjson reads nearly all of them. What it refuses, and what may name a member twice (of which it keeps the last and
RapidJSON finds the first), is read by `json_slow`.
"""

from __future__ import annotations

from typing import Any

import orjson
from grpc import StatusCode

from serving.errors import ServingError
from serving.local.rest.json_slow import SlowReader
from serving.local.rest.json_value import shown


def read_object(body: bytes) -> dict[str, Any]:
    """The object that a body begins with; what follows it is passed over.

    Raises:
        ServingError: INVALID_ARGUMENT, with the place and TF Serving's words.
    """
    document = read(body)
    if not isinstance(document, dict):
        raise ServingError(StatusCode.INVALID_ARGUMENT, f"JSON Value: {shown(document)} Is not object")
    return document


def read(body: bytes) -> Any:
    """The value that a body begins with; ServingError as `read_object`."""
    if not body:
        raise ServingError(StatusCode.INVALID_ARGUMENT, "JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return SlowReader(body).read()
    if isinstance(document, dict) and body.count(b":") == _count_members(document):
        return document
    return SlowReader(body).read()


def _count_members(document: dict[str, Any]) -> int:
    """The members of the objects where requests have them. As many as the text has colons: then none was lost.

    A colon in a string, or an object at another place, only leads to the slower reader.
    """
    count, waiting = 0, [document]
    while waiting:
        item = waiting.pop()
        count += len(item)
        for value in item.values():
            if type(value) is dict:
                waiting.append(value)
            elif type(value) is list and value and type(value[0]) is dict:
                waiting.extend(part for part in value if type(part) is dict)
    return count
