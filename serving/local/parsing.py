"""Messages of gRPC, parsed where a failure costs nothing.

grpcio (1.85) never frees a call whose message its deserializer refuses: 19 kB each, for anyone who sends three bytes.
So it is given bytes, and they become a message in the method itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

UNREADABLE = "Exception deserializing request!"
"""grpcio's own words."""


class Parsing(grpc.ServerInterceptor):
    """Takes the place of grpcio's deserialization in methods with one request and one answer."""

    def intercept_service(
        self, continuation: Callable[[Any], grpc.RpcMethodHandler | None], details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """The method that is asked for, with bytes as its requests."""
        handler: Any = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = _parsing(handler.unary_unary, handler.request_deserializer)
        return grpc.unary_unary_rpc_method_handler(method, None, handler.response_serializer)


def _parsing(method: Callable[[Any, Any], Any], parse: Callable[[bytes], Any]) -> Callable[[Any, Any], Any]:
    def answer(request: bytes, context: grpc.ServicerContext) -> Any:
        try:
            message = parse(request)
        except DecodeError:
            context.abort(grpc.StatusCode.INTERNAL, UNREADABLE)
        return method(message, context)

    return answer
