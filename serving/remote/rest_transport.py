"""A server over REST."""

from __future__ import annotations

import time
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, ReadTimeoutError, TimeoutError

from serving.remote.address import Address
from serving.remote.errors import server_error
from serving.remote.rest_calls import RestCalls, headers_of, require_ok
from serving.remote.settings import ClientSettings
from serving.remote.transport import Call

CHUNK = 2**18


class RestTransport:
    """Connections to one server, kept open; thread-safe.

    Raises:
        ConfigError: certificates that cannot be used.
    """

    def __init__(self, address: Address, settings: ClientSettings):
        self.calls = RestCalls(address)
        self._headers = headers_of(settings.headers)
        self._pool = _pool(address, settings)

    def send(self, call: Call[Any], seconds: float) -> bytes:
        if seconds <= 0:
            raise server_error(call.asked, "DEADLINE_EXCEEDED", "")
        try:
            return require_ok(call, *self._answer(call, seconds))
        except NewConnectionError as error:  # which is a TimeoutError in some versions of urllib3
            raise server_error(call.asked, "UNAVAILABLE", str(error)) from error
        except TimeoutError as error:
            raise server_error(call.asked, "DEADLINE_EXCEEDED", str(error)) from error
        except HTTPError as error:  # refused, no such host, no certificate, cut off: gRPC calls all of it UNAVAILABLE
            raise server_error(call.asked, "UNAVAILABLE", str(error)) from error

    def close(self) -> None:
        self._pool.close()

    def _answer(self, call: Call[Any], seconds: float) -> tuple[int, bytes]:
        """HTTP status and body."""
        deadline = time.monotonic() + seconds
        response = self._pool.urlopen(
            "GET" if call.content is None else "POST", call.place, call.content, self._headers, preload_content=False,
            retries=False, redirect=False, timeout=urllib3.Timeout(total=seconds),
        )  # fmt: skip
        with response:
            return response.status, _content(response, deadline, self._pool)


def _pool(address: Address, settings: ClientSettings) -> urllib3.HTTPConnectionPool:
    if not address.secure:
        return urllib3.HTTPConnectionPool(address.host, address.port, maxsize=settings.concurrency)
    tls = settings.tls
    return urllib3.HTTPSConnectionPool(
        address.host,
        address.port,
        maxsize=settings.concurrency,
        ssl_context=tls.context(),
        server_hostname=tls.server_name,
        assert_hostname=tls.server_name,
    )


def _content(response: Any, deadline: float, pool: urllib3.HTTPConnectionPool) -> bytes:
    """The whole body, however slowly it comes, unless that takes too long."""
    parts = []
    for part in response.stream(CHUNK):
        parts.append(part)
        if time.monotonic() > deadline:
            raise ReadTimeoutError(pool, "", "the answer had not come to its end")
    return b"".join(parts)
