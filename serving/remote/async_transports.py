"""A server over gRPC or REST, from an event loop. Connections are made by the first request, in its loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from serving.remote.address import Address
from serving.remote.errors import server_error
from serving.remote.settings import ClientSettings
from serving.remote.transport import Call

if TYPE_CHECKING:
    import aiohttp


class AsyncGrpcTransport:
    """A channel to one server.

    Raises:
        ConfigError: certificates that cannot be used.
    """

    def __init__(self, address: Address, settings: ClientSettings):
        from serving.remote.grpc_calls import GrpcCalls
        from serving.remote.grpc_transport import metadata_of

        if address.secure:
            settings.tls.context()  # says now what is wrong with a file
        self.calls = GrpcCalls(address)
        self._address, self._settings, self._metadata = address, settings, metadata_of(settings)
        self._channel: Any = None
        self._methods: dict[str, Callable[..., Any]] = {}

    async def send(self, call: Call[Any], seconds: float) -> bytes:
        import grpc

        try:
            answer: bytes = await self._method(call.place)(call.content, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise server_error(call.asked, error.code().name, error.details() or "") from error
        return answer

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()

    def _method(self, place: str) -> Callable[..., Any]:
        if self._channel is None:
            from grpc import aio

            from serving.remote.grpc_transport import opened

            self._channel = opened(aio, self._address, self._settings)
        if place not in self._methods:
            self._methods[place] = self._channel.unary_unary(place)
        return self._methods[place]


class AsyncRestTransport:
    """Connections to one server, kept open, at most `concurrency` of them.

    Raises:
        ConfigError: certificates that cannot be used.
    """

    def __init__(self, address: Address, settings: ClientSettings):
        import aiohttp
        from yarl import URL

        from serving.remote.rest_calls import RestCalls, headers_of

        self.calls = RestCalls(address)
        self._library, self._url = aiohttp, URL
        self._base = f"{'https' if address.secure else 'http'}://{address.authority}"
        self._headers, self._connections = headers_of(settings.headers), settings.concurrency
        self._tls = settings.tls.context() if address.secure else True
        self._server_name = settings.tls.server_name
        self._session: aiohttp.ClientSession | None = None

    async def send(self, call: Call[Any], seconds: float) -> bytes:
        from serving.remote.rest_calls import require_ok

        if seconds <= 0:
            raise server_error(call.asked, "DEADLINE_EXCEEDED", "")
        try:
            status, body = await self._answer(call, seconds)
        except TimeoutError as error:
            raise server_error(call.asked, "DEADLINE_EXCEEDED", str(error)) from error
        except (self._library.ClientError, OSError, UnicodeError) as error:
            # Refused, no such host (or name of one), no certificate, cut off: gRPC calls all of it UNAVAILABLE.
            raise server_error(call.asked, "UNAVAILABLE", str(error) or type(error).__name__) from error
        return require_ok(call, status, body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _answer(self, call: Call[Any], seconds: float) -> tuple[int, bytes]:
        """HTTP status and body."""
        session = self._session = self._session or self._opened()
        response = session.request(
            "GET" if call.content is None else "POST", self._url(self._base + call.place, encoded=True),
            data=call.content, allow_redirects=False, server_hostname=self._server_name,
            # Above its threshold aiohttp would round up to whole seconds of its clock.
            timeout=self._library.ClientTimeout(total=seconds, ceil_threshold=float("inf")),
        )  # fmt: skip
        async with response as answer:
            return answer.status, await answer.read()

    def _opened(self) -> aiohttp.ClientSession:
        connector = self._library.TCPConnector(limit=self._connections, ssl=self._tls)
        # Without `Accept-Encoding` no server has the idea to pack its answers, nor the client to unpack them.
        return self._library.ClientSession(
            connector=connector, headers=self._headers, skip_auto_headers=("Accept-Encoding",)
        )
