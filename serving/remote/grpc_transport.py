"""A server over gRPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from serving.remote.address import Address
from serving.remote.errors import server_error
from serving.remote.grpc_calls import GrpcCalls
from serving.remote.settings import ClientSettings
from serving.remote.transport import Call

OPTIONS: tuple[tuple[str, int | str], ...] = (
    # Without these, an answer above 4 MB is refused by the client's own side.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # By default a channel that failed to connect refuses calls for a second, then longer, whatever the client's waits.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class GrpcTransport:
    """A channel to one server; thread-safe.

    Raises:
        ConfigError: certificates that cannot be used.
    """

    def __init__(self, address: Address, settings: ClientSettings):
        self.calls = GrpcCalls(address)
        self._metadata = metadata_of(settings)
        self._channel = opened(grpc, address, settings)
        self._methods: dict[str, Callable[..., Any]] = {}

    def send(self, call: Call[Any], seconds: float) -> bytes:
        try:
            answer: bytes = self._method(call.place)(call.content, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise server_error(call.asked, error.code().name, error.details() or "") from error
        return answer

    def close(self) -> None:
        self._channel.close()

    def _method(self, place: str) -> Callable[..., Any]:
        if place not in self._methods:
            self._methods[place] = self._channel.unary_unary(place)
        return self._methods[place]


def metadata_of(settings: ClientSettings) -> list[tuple[str, str]]:
    """The headers as gRPC takes them."""
    return [(name.lower(), value) for name, value in settings.headers.items()]


def opened(library: Any, address: Address, settings: ClientSettings) -> Any:
    """A channel to a server.

    Args:
        library: `grpc`, or `grpc.aio`.

    Raises:
        ConfigError: certificates that cannot be used.
    """
    if not address.secure:
        return library.insecure_channel(address.authority, OPTIONS)
    tls = settings.tls
    tls.context()  # gRPC itself only logs what is wrong with a file
    content = [file.read_bytes() if file else None for file in (tls.authority, tls.key, tls.certificate)]
    options = OPTIONS if tls.server_name is None else (*OPTIONS, ("grpc.ssl_target_name_override", tls.server_name))
    return library.secure_channel(address.authority, grpc.ssl_channel_credentials(*content), options)
