"""The body of a request: read to a limit, unpacked to another."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

WITH_GZIP_HEADER = 16 + zlib.MAX_WBITS


class TooLongError(Exception):
    """A body is longer than the server takes."""


class DisconnectedError(Exception):
    """The client left before its request was whole."""


async def read_body(receive: Receive, announced: int | None, limit: int, *, waits: bool) -> bytes:
    """All of a body.

    Args:
        receive: of ASGI.
        announced: the Content-Length, where there is one.
        limit: in bytes. What is up to twice as long is read and thrown away: a client that is not listening while it
            sends would only see its connection end.
        waits: whether the client waits for the server's consent to send (Expect: 100-continue).

    Raises:
        TooLongError: the limit is passed.
        DisconnectedError: the client is gone.
    """
    if announced is not None and announced > (limit if waits else 2 * limit):
        raise TooLongError
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        part = message.get("body", b"")
        length += len(part)
        if length <= limit:
            parts.append(part)
        else:
            parts.clear()
        is_whole = not message.get("more_body", False)
        if length > (limit if is_whole else 2 * limit):
            raise TooLongError
        if is_whole:
            return b"".join(parts)


def unpacked(body: bytes, limit: int) -> bytes:
    """A body that was packed with gzip.

    Raises:
        ValueError: it is no gzip, damaged, cut off, followed by something else, or longer than `limit`; says which.
    """
    stream = zlib.decompressobj(WITH_GZIP_HEADER)
    try:
        found = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise ValueError(f"the body is no intact gzip: {error}") from error
    if len(found) > limit:
        raise ValueError(f"the body unpacks to more than {limit} bytes")
    if not stream.eof:
        raise ValueError("the body is a gzip that was cut off")
    if stream.unused_data:
        raise ValueError("the body has something after its gzip")
    return found
