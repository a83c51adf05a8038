"""A logged picture as a record: a tf.train.Example that a Store reads as `id` and `image`, and TFDS reads whole."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.stack import tf
from pipeline.data.example import ID, IMAGE
from pipeline.data.pictures import GREY_MODES, BadPicture
from pipeline.data.records import serialized
from pipeline.data.requests.picture import CameAs, LoggedPicture

MODEL, SIGNATURE, VERSION, TIME, CAME_AS = "model", "signature", "version", "time", "came_as"
PREDICTIONS, SHAPES = "predictions", "shapes"
MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Output:
    """One output of a signature.

    Args:
        dtype: `float32`, `int64` or `string`.
        rank: of one row.
    """

    name: str
    dtype: str
    rank: int


@dataclass(frozen=True)
class Kind:
    """What all records of a shard have in common."""

    model: str
    signature: str
    came_as: CameAs
    outputs: tuple[Output, ...]

    @classmethod
    def of(cls, picture: LoggedPicture) -> Kind:
        """The kind that a picture belongs to."""
        outputs = (Output(name, _dtype(value), value.ndim) for name, value in sorted(picture.outputs.items()))
        return cls(picture.model, picture.signature, picture.came_as, tuple(outputs))

    @classmethod
    def from_document(cls, content: Mapping[str, Any]) -> Kind:
        """From plain JSON values."""
        return cls(**{**content, "outputs": tuple(Output(**one) for one in content["outputs"])})

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def features(self, channels: int) -> dict[str, Any]:
        """What TFDS is told; `channels` of the pictures, 1 or 3."""
        import tensorflow_datasets as tfds

        texts = {name: tfds.features.Text() for name in (ID, MODEL, SIGNATURE, CAME_AS)}
        numbers = {name: tfds.features.Scalar(np.int64) for name in (VERSION, TIME)}
        rows = {one.name: tfds.features.Sequence(_TFDS[one.dtype]) for one in self.outputs}
        shapes = {one.name: tfds.features.Sequence(np.int64) for one in self.outputs if one.rank > 1}
        nested = {name: part for name, part in ((PREDICTIONS, rows), (SHAPES, shapes)) if part}
        return {**texts, IMAGE: tfds.features.Image(shape=(None, None, channels)), **numbers, **nested}


_TFDS = {"float32": np.float32, "int64": np.int64, "string": np.str_}


@dataclass(frozen=True)
class Head:
    """What a picture's file says of itself: pixels, and 1 or 3 channels."""

    height: int
    width: int
    channels: int

    @classmethod
    def of(cls, data: bytes) -> Head:
        """Read without decoding; BadPicture where that fails."""
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data)) as picture:
                return cls(picture.height, picture.width, 1 if picture.mode in GREY_MODES else 3)
        except Exception as error:  # Pillow's plug-ins raise whatever their parsers meet
            raise BadPicture(f"the header cannot be read: {error}") from error


def encode(picture: LoggedPicture) -> bytes:
    """The record of a picture."""
    fields: dict[str, Any] = {
        ID: picture.id.encode(),
        IMAGE: picture.image,
        MODEL: picture.model.encode(),
        SIGNATURE: picture.signature.encode(),
        CAME_AS: picture.came_as.encode(),
        VERSION: [picture.version],
        TIME: [round(picture.seconds * MICROSECONDS)],
    }
    for name, value in picture.outputs.items():
        fields[f"{PREDICTIONS}/{name}"] = _plain(value)
        if value.ndim > 1:
            fields[f"{SHAPES}/{name}"] = list(value.shape)
    return serialized(fields)


def decode(record: bytes, kind: Kind) -> LoggedPicture:
    """The picture of a record."""
    features = tf.train.Example.FromString(record).features.feature

    def text(name: str) -> str:
        return str(features[name].bytes_list.value[0].decode())

    return LoggedPicture(
        id=text(ID),
        image=features[IMAGE].bytes_list.value[0],
        came_as=kind.came_as,
        model=text(MODEL),
        signature=text(SIGNATURE),
        version=features[VERSION].int64_list.value[0],
        seconds=features[TIME].int64_list.value[0] / MICROSECONDS,
        outputs={one.name: _array(features, one) for one in kind.outputs},
    )


def _dtype(value: np.ndarray) -> str:
    return "string" if value.dtype.kind in "OSU" else "float32" if value.dtype.kind == "f" else "int64"


def _plain(value: np.ndarray) -> Any:
    """Values as `serialized` takes them; an empty one as an empty list."""
    dtype = _dtype(value)
    if dtype == "float32":
        return value.astype(np.float32).ravel()
    return (value if dtype == "string" else value.astype(np.int64)).ravel().tolist()


def _array(features: Any, one: Output) -> np.ndarray:
    held = features[f"{PREDICTIONS}/{one.name}"]
    if one.dtype == "string":
        array = np.array(list(held.bytes_list.value), object)
    elif one.dtype == "float32":
        array = np.array(held.float_list.value, np.float32)
    else:
        array = np.array(held.int64_list.value, np.int64)
    if one.rank == 1:
        return array
    return array.reshape(list(features[f"{SHAPES}/{one.name}"].int64_list.value) if one.rank else ())
