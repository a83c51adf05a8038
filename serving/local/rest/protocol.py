"""Connections: uvicorn's, with patience that ends, a limit on headers, and a stop that loses no request."""

from __future__ import annotations

import asyncio
import re
import socket
from enum import Enum
from http import HTTPStatus
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from serving.local.rest.application import page
from serving.local.rest.handler import Answer
from serving.local.rest.routes import ALLOWED_METHODS
from serving.local.settings import Patience

_METHOD = re.compile(rb"[A-Z]+(?= )")
_LONGEST_METHOD = 16


class Phase(Enum):
    """What a connection is read for."""

    IDLE = 0
    HEADERS = 1
    BODY = 2


class PatientProtocol(HttpToolsProtocol):
    """One connection, made by uvicorn. Other `patience` is set by a class that inherits from this one."""

    patience = Patience()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ):
        super().__init__(config, server_state, app_state, _loop)
        self._phase = Phase.IDLE
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0
        self._num_bytes = 0
        self._head = b""
        self._is_stopping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # elsewhere the system's own patience counts
            connection = transport.get_extra_info("socket")
            milliseconds = int(self.patience.unread_seconds * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._enter(Phase.HEADERS)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._enter(Phase.IDLE)
        self._watch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.IDLE:
            self._enter(Phase.HEADERS)
        if self._phase is Phase.HEADERS and not self._num_bytes:
            self._head = data[:_LONGEST_METHOD]
        super().data_received(data)
        if self._phase is Phase.HEADERS:
            self._num_bytes += len(data)
            if self._num_bytes > self.patience.max_header_bytes:
                self._refuse(page(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
        self._watch()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._enter(Phase.BODY)
        if self._is_stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._num_bytes += len(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter(Phase.IDLE)

    def send_400_response(self, msg: str) -> None:
        """Of what is no HTTP: libevent's page, unless an earlier request is still to be answered on this connection."""
        if self._is_answering():
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        method = _METHOD.match(self._head)
        is_known = method is None or method[0].decode() in ALLOWED_METHODS
        self._refuse(page(HTTPStatus.BAD_REQUEST if is_known else HTTPStatus.NOT_IMPLEMENTED))

    def shutdown(self) -> None:
        """Finishes what has begun, and what may be on its way."""
        self._is_stopping = True
        if self._is_answering() or self._phase is Phase.BODY:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(self.patience.linger_seconds, self._close_if_idle)

    def _close_if_idle(self) -> None:
        has_begun = self._phase is Phase.BODY or self._num_bytes
        if not has_begun and not self._is_answering() and not self.transport.is_closing():
            self.transport.close()

    def _is_answering(self) -> bool:
        """Whether a request was read and its answer is not sent yet."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._began = self.loop.time()
        self._num_bytes = 0

    def _watch(self) -> None:
        """A clock runs while something is expected of the client. What comes whole in one piece needs none."""
        if self._phase is Phase.IDLE or self.transport.is_closing():
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            self._timer = self.loop.call_later(self._left(), self._look)

    def _look(self) -> None:
        self._timer = None
        is_paused = bool(self.pipeline) or self._is_answering()
        if is_paused:  # it is the server that keeps the client waiting
            self._began = self.loop.time()
        if is_paused or self._left() > 0 or self.transport.is_closing():
            self._watch()
        elif self._phase is Phase.HEADERS and not self._num_bytes:
            self.transport.close()
        else:
            self._refuse(page(HTTPStatus.REQUEST_TIMEOUT))

    def _left(self) -> float:
        """Seconds until patience ends."""
        allowed = self.patience.header_seconds
        if self._phase is Phase.BODY:
            allowed = self.patience.body_seconds + self._num_bytes / self.patience.min_body_rate
        return self._began + allowed - self.loop.time()

    def _refuse(self, answer: Answer) -> None:
        """Answers without asking the application, and closes."""
        if self.transport.is_closing():
            return
        headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[answer.status], *lines, b"\r\n", answer.body]))
        self.transport.close()
