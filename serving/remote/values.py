"""What the client gives and takes besides arrays: models, signatures, the state of versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

Size = tuple[int, int]
"""Height and width in pixels."""
OTHER = "other"
"""The type of what the client does not read, such as resources and half floats of Google's kind (bfloat16)."""


@dataclass(frozen=True)
class ModelTarget:
    """Which model of a server is meant.

    Args:
        name: as the server's configuration names it.
        version: that one.
        label: the version that this label points at. With neither, the latest.
    """

    name: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}, version {self.version}"
        return f"{self.name}, label {self.label}" if self.label else self.name


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a signature.

    Args:
        dtype: numpy's name of the type, `bytes` for strings, `other` for what the client does not read.
        shape: with the batch axis; None where an axis may be any length. None where even the rank is not known.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """What a model can be asked.

    Args:
        method: such as `tensorflow/serving/predict`.
        inputs, outputs: by name.
    """

    method: str
    inputs: Mapping[str, TensorSpec] = field(default_factory=dict)
    outputs: Mapping[str, TensorSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class Metadata:
    """What a server says of a model.

    Args:
        version: that answers now.
        signatures: by name.
    """

    version: int
    signatures: Mapping[str, Signature]


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version.

    Args:
        state: `START`, `LOADING`, `AVAILABLE`, `UNLOADING`, `END` or `UNKNOWN`.
        code: `OK`, or why it could not be loaded, as gRPC names it.
        message: the server's words for that.
    """

    version: int
    state: str
    code: str = "OK"
    message: str = ""


@dataclass(frozen=True)
class Description:
    """What a model says of one picture, its places as shares of the picture that was given.

    Args:
        answer: in plain values, such as `{"label": "rose", "score": 0.97}`.
        marks: what of it can be drawn on the picture, such as `boxes` float32 [N,4]: x_min, y_min, x_max, y_max.
        names: of the classes in `marks`.
    """

    answer: dict[str, Any]
    marks: Mapping[str, np.ndarray]
    names: Sequence[str]
