"""Lets requests in until the server stops; refuses those that come after in a way that clients understand."""

from __future__ import annotations

import time

import grpc

UNDER_WAY_SECONDS = 0.1
"""After the decision to stop: what arrives by then was sent before it, and is still answered."""
QUIET_SECONDS = 0.3
LONGEST_SECONDS = 2.0


class Gate:
    """Of one gRPC server.

    Once `grpc.Server.stop` is called, requests that clients have just sent end as CANCELLED, which tells them nothing.
    The gate closes before it: they end as UNAVAILABLE, which every client may try again elsewhere.
    """

    def __init__(self) -> None:
        self._latest = -LONGEST_SECONDS
        self._shut_at: float | None = None

    def enter(self, context: grpc.ServicerContext) -> None:
        """Ends the request with UNAVAILABLE where the server is stopping."""
        now = self._latest = time.monotonic()
        if self._shut_at is not None and now > self._shut_at:
            context.abort(grpc.StatusCode.UNAVAILABLE, "The server is stopping")

    def close(self) -> None:
        """Returns when clients have been quiet for a moment, or after two seconds."""
        now = time.monotonic()
        self._shut_at, until = now + UNDER_WAY_SECONDS, now + LONGEST_SECONDS
        while (now := time.monotonic()) < min(until, self._latest + QUIET_SECONDS):
            time.sleep(min(QUIET_SECONDS / 10, until - now))
