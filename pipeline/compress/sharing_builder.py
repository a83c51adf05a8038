"""A flatbuffer builder that writes equal vectors and strings once.

The format allows any number of tables to point at one vector. In a `.tflite` file that saves most where there are many
small ones: shapes, options, and the zero points that LiteRT wants beside every scale, eight bytes of zeros each.
"""

from __future__ import annotations

import hashlib
from typing import Any

import flatbuffers
import numpy as np


class SharingBuilder(flatbuffers.Builder):
    """A `flatbuffers.Builder` that remembers where it has written which content."""

    def __init__(self, size: int):
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802, the name is flatbuffers' own
        """The offset of a vector with these numbers."""
        key = (x.dtype.str, hashlib.blake2b(x.tobytes()).digest())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

    def CreateString(self, s: str | bytes, *options: Any) -> int:  # noqa: N802
        """The offset of this string."""
        key = ("string", s.encode() if isinstance(s, str) else s)
        if key not in self._written:
            self._written[key] = super().CreateString(s, *options)
        return self._written[key]
