"""What a way to a server has to do: one request, one attempt. Clients batch, repeat and decode.

Making the bytes of a request, and reading those of its answer, is apart from sending them (`Calls`): a blocking client
and one for asyncio share it, and a request may be made once and sent many times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from serving.remote.values import Metadata, ModelTarget, Signature, VersionStatus

Arrays = Mapping[str, np.ndarray]
Example = Mapping[str, Any]
"""A tf.Example: a value or a list of values a feature; bytes or text, whole numbers, or decimals."""
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One question, as it goes over the wire.

    Args:
        asked: what of which server, for errors, such as `Predict of flowers at grpc://host:8500`.
        place: gRPC's method, or the path of a URL.
        content: what is sent; None where a server is only looked at (GET).
        read: makes the answer of the bytes that come back; ServerError where they are none of TF Serving's.
    """

    asked: str
    place: str
    content: bytes | None
    read: Callable[[bytes], Answer]


class Calls(Protocol):
    """The questions in one protocol."""

    def predict(
        self, target: ModelTarget, name: str, signature: Signature, inputs: Arrays
    ) -> Call[dict[str, np.ndarray]]:
        """For the outputs of the signature of that name, by name."""

    def classify(
        self, target: ModelTarget, name: str, examples: Sequence[Example]
    ) -> Call[list[list[tuple[str, float]]]]:
        """Of each example, for the labels with their scores."""

    def regress(self, target: ModelTarget, name: str, examples: Sequence[Example]) -> Call[list[float]]:
        """Of each example, for the number."""

    def status(self, target: ModelTarget) -> Call[list[VersionStatus]]:
        """For the versions, newest first."""

    def metadata(self, target: ModelTarget) -> Call[Metadata]:
        """For the signatures of the version that answers."""


class Transport(Protocol):
    """Sends; thread-safe."""

    @property
    def calls(self) -> Calls:
        """The questions in its protocol."""

    def send(self, call: Call[Any], seconds: float) -> bytes:
        """What comes back within `seconds`; raises ServerError (serving/remote/errors.py)."""

    def close(self) -> None:
        """Ends all connections."""


class AsyncTransport(Protocol):
    """Sends, in one event loop."""

    @property
    def calls(self) -> Calls:
        """The questions in its protocol."""

    async def send(self, call: Call[Any], seconds: float) -> bytes:
        """As Transport's."""

    async def close(self) -> None:
        """Ends all connections."""
