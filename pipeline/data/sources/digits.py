"""The handwritten digits that come with scikit-learn: real data that needs no download."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from pipeline.data.example import RawExample
from pipeline.data.sources.base import DataSource

LARGEST = 16
"""The brightest pixel of the set; it becomes 255."""


class Digits(DataSource):
    """1,797 handwritten digits, 8x8 grey pixels, 10 classes: scikit-learn's `load_digits`, from UCI's optdigits."""

    kind: Literal["digits"] = "digits"
    """scikit-learn's handwritten digits."""

    def check(self) -> None:
        return

    def class_names(self) -> tuple[str, ...]:
        return tuple("0123456789")

    def examples(self) -> Iterator[RawExample]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        pictures = np.round(digits.images * (255 / LARGEST)).astype(np.uint8)
        for index, (picture, label) in enumerate(zip(pictures, digits.target, strict=True)):
            yield RawExample(id=f"{index:04}", image=picture, label=str(label), where=f"digit {index}")

    def fingerprint(self) -> str:
        return "sklearn load_digits"
