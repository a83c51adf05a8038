"""A source of examples that a test makes up, and pictures to put into it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image

from pipeline.data.example import RawExample
from pipeline.data.sources import DataSource
from pipeline.data.splits import Splits
from pipeline.diagnosis import DoctorSettings
from pipeline.diagnosis.examine import Subject, examine
from pipeline.diagnosis.findings import Diagnosis, Finding


class Given(DataSource):
    """Examples from memory."""

    kind: Literal["given"] = "given"
    given: tuple[Any, ...]
    names: tuple[str, ...] | None = None
    targets: tuple[str, ...] = ()

    def check(self) -> None:
        return

    def examples(self) -> Iterator[RawExample]:
        yield from self.given

    def fingerprint(self) -> str:
        return "given"

    def class_names(self) -> tuple[str, ...] | None:
        return self.names

    def value_names(self) -> tuple[str, ...]:
        return self.targets


def picture(seed: int, height: int = 48, width: int = 64) -> Image.Image:
    """Large soft shapes that are unlike those of any other seed, as photographs are."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(one: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    one.save(stream, format, **options)
    return stream.getvalue()


def example(number: int, image: Any = None, **more: Any) -> RawExample:
    """A labelled example with a picture of its own, in `train`."""
    held: dict[str, Any] = {"split": "train", "label": "ab"[number % 2], "where": f"list.csv:{number}"}
    if {"labels", "value", "objects", "mask"} & more.keys():
        held["label"] = None
    return RawExample(id=f"{number}", image=encoded(picture(number)) if image is None else image, **(held | more))


def diagnosed(examples: Sequence[RawExample], *, source: dict[str, Any] | None = None, **settings: Any) -> Diagnosis:
    """What is found in these examples; `source` are settings of Given."""
    subject = Subject(
        Given(given=tuple(examples), **(source or {})), Splits(validation=0, test=0), max_bad_pictures=0.5
    )
    return examine(subject, DoctorSettings(**settings))


def found(diagnosis: Diagnosis, kind: str) -> list[Finding]:
    """The findings of a kind."""
    return diagnosis.by_kind().get(kind, [])


def kinds(diagnosis: Diagnosis) -> set[str]:
    """All kinds of finding but those about splits that a test with few examples does not have."""
    return set(diagnosis.by_kind()) - {"absent_class", "refused"}
