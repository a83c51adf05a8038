"""What a way to a server has to do: one request, one attempt. `serving.client` batches, repeats and decodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from serving.remote.values import Metadata, ModelTarget, Signature, VersionStatus

Arrays = Mapping[str, np.ndarray]
Example = Mapping[str, Any]
"""A tf.Example: a value or a list of values a feature; bytes or text, whole numbers, or decimals."""


class Transport(Protocol):
    """Asks a server. Each method raises ServerError (serving/remote/errors.py), and waits at most `seconds`."""

    def predict(
        self, target: ModelTarget, name: str, signature: Signature, inputs: Arrays, seconds: float
    ) -> dict[str, np.ndarray]:
        """The outputs of the signature of that name, by name."""

    def classify(
        self, target: ModelTarget, name: str, examples: Sequence[Example], seconds: float
    ) -> list[list[tuple[str, float]]]:
        """Of each example, the labels with their scores."""

    def regress(self, target: ModelTarget, name: str, examples: Sequence[Example], seconds: float) -> list[float]:
        """Of each example, the number."""

    def status(self, target: ModelTarget, seconds: float) -> list[VersionStatus]:
        """The versions, newest first."""

    def metadata(self, target: ModelTarget, seconds: float) -> Metadata:
        """The signatures of the version that answers."""

    def close(self) -> None:
        """Ends all connections."""
