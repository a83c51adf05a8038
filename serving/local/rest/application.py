"""The ASGI application: which requests go to the API, and what libevent answers to the others."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from http import HTTPStatus
from typing import Any

from serving.local.core import Core
from serving.local.rest import answers
from serving.local.rest.body import DisconnectedError, Receive, TooLongError, read_body
from serving.local.rest.handler import Answer, Handler, Request
from serving.local.rest.routes import ALLOWED_METHODS, is_api, is_valid
from serving.local.settings import ServerOptions

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Scope = MutableMapping[str, Any]

CORS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
)
CLOSE = (b"connection", b"close")
HTML = ((b"content-type", b"text/html"), CLOSE)
_ORIGIN = re.compile(rb"https?://")


def page(status: int) -> Answer:
    """What libevent answers by itself: a page of HTML, and an end of the connection."""
    phrase = HTTPStatus(status).phrase
    text = f"<HTML><HEAD>\n<TITLE>{status} {phrase}</TITLE>\n</HEAD><BODY>\n<H1>{phrase}</H1>\n</BODY></HTML>\n"
    return Answer(status, text.encode(), HTML)


class Application:
    """An ASGI application.

    Args:
        core: does the work.
        options: limits, CORS, timeout.
        threads: where requests are worked on, since that blocks.
    """

    def __init__(self, core: Core, options: ServerOptions, threads: Executor):
        self._metrics_path = core.prometheus_path
        self._handler = Handler(core, options)
        self._options = options
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        try:
            answer = await self._answer(scope, receive)
        except DisconnectedError:
            return
        length = (b"content-length", str(len(answer.body)).encode())
        await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, length]})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        headers = dict(scope["headers"])
        if scope["method"] not in ALLOWED_METHODS:
            return page(HTTPStatus.NOT_IMPLEMENTED)
        try:
            waits = headers.get(b"expect", b"").lower() == b"100-continue"
            body = await read_body(receive, _length(headers), self._options.max_body_bytes, waits=waits)
        except TooLongError:
            return self._too_long()
        path, query = scope["raw_path"], scope["query_string"]
        if not is_valid(path, query):
            return page(HTTPStatus.BAD_REQUEST)
        target = (path + b"?" + query if query else path).decode("ascii")
        packed = b"gzip" in headers.get(b"content-encoding", b"")
        request = Request(scope["method"], target, body, packed, time.monotonic())
        return await self._routed(request, path.decode(), headers)

    async def _routed(self, request: Request, path: str, headers: dict[bytes, bytes]) -> Answer:
        loop = asyncio.get_running_loop()
        if path == self._metrics_path:
            return await loop.run_in_executor(self._threads, self._handler.metrics, request.target, path)
        if not is_api(request.target):
            return page(HTTPStatus.NOT_FOUND)
        if not self._options.cors:
            return await loop.run_in_executor(self._threads, self._handler.answer, request)
        if request.method == "OPTIONS":
            return Answer(200 if _ORIGIN.search(headers.get(b"origin", b"")) else 400, b"", CORS)
        answer = await loop.run_in_executor(self._threads, self._handler.answer, request)
        return Answer(answer.status, answer.body, answer.headers + CORS)

    def _too_long(self) -> Answer:
        limit = self._options.max_body_bytes
        message = f"The request's body is longer than {limit} bytes, the most that this server takes."
        return Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, answers.error(message), (*Answer.headers, CLOSE))


def _length(headers: dict[bytes, bytes]) -> int | None:
    """The Content-Length; the parser has checked that it is a number."""
    text = headers.get(b"content-length")
    return None if text is None else int(text)
