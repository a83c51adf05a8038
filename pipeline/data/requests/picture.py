"""One picture of a request, with what was answered: what the log holds of it, whoever writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

CameAs = Literal["file", "pixels"]
"""`file`: encoded, and kept as it came. `pixels`: decoded by the client, which brought it to the model's size."""
UNKNOWN_VERSION = -1


@dataclass(frozen=True)
class LoggedPicture:
    """One row of a request. Nothing says who sent it.

    Args:
        id: unique in all logs.
        image: JPEG or PNG.
        came_as: whether the client sent a file or pixels.
        model, signature: as they were resolved.
        version: of the model; UNKNOWN_VERSION where nobody said.
        seconds: when it was answered, since 1970, UTC.
        outputs: what was answered, by the signature's names: float32, int64 or bytes objects, without a batch axis.
    """

    id: str
    image: bytes
    came_as: CameAs
    model: str
    signature: str
    version: int
    seconds: float
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
