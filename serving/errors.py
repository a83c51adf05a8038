"""The error that every verb of a server answers with: a status code of gRPC and TF Serving's words."""

from __future__ import annotations

import grpc

MAX_MESSAGE = 1024
TRUNCATED = "...TRUNCATED"


class ServingError(Exception):
    """A request that cannot be answered.

    Args:
        code: as gRPC sends it; the REST front makes an HTTP status of it.
        message: without the code; TF Serving's own words wherever it has any.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def truncated(message: str) -> str:
    """`message` as TF Serving sends it over gRPC: of more than 1024 bytes the first 1024, and a mark behind them."""
    encoded = message.encode()
    if len(encoded) <= MAX_MESSAGE:
        return message
    return encoded[:MAX_MESSAGE].decode(errors="ignore") + TRUNCATED
