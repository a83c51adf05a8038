"""Real handwriting: the digits of scikit-learn (UCI's optdigits, 8x8 pixels), shared out so that no digit is in two
splits."""

from __future__ import annotations

import functools
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.data.example import SPLITS, TEST, TRAIN, VALIDATION

CLASS_NAMES = tuple("0123456789")
SHARES = {TRAIN: 0.7, VALIDATION: 0.15, TEST: 0.15}
"""Of the digits of each class."""
HELD_OUT_BY = 20260
"""Seed of the sharing out. It is no setting: a digit that was held out once is held out for good."""
LARGEST = 16.0
"""The most ink that a pixel of the set can hold."""
MARGIN = 1
"""Empty pixels around a digit, so that its strokes end within the picture of it."""
FINER = 4
"""Pixels of a glyph for each of the set's, smoothly interpolated, so that what is drawn may sample it linearly."""


class Glyph(NamedTuple):
    """A handwritten digit: its number in the set, its class, and its ink, float32 [40, 40], 0..1."""

    number: int
    label: int
    ink: np.ndarray


@functools.lru_cache(maxsize=1)
def glyphs() -> dict[str, tuple[tuple[Glyph, ...], ...]]:
    """Split -> class -> its digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    ink = [_finer(picture) for picture in digits.images]
    order = np.random.default_rng(HELD_OUT_BY).permutation(len(ink))
    found: dict[str, list[tuple[Glyph, ...]]] = {split: [] for split in SPLITS}
    for label in range(len(CLASS_NAMES)):
        members = [int(number) for number in order if digits.target[number] == label]
        ends = np.cumsum([round(SHARES[split] * len(members)) for split in SPLITS[:-1]])
        for split, part in zip(SPLITS, np.split(np.array(members), ends), strict=True):
            found[split].append(tuple(Glyph(int(number), label, ink[number]) for number in part))
    return {split: tuple(classes) for split, classes in found.items()}


def _finer(picture: np.ndarray) -> np.ndarray:
    ink = np.pad((picture / LARGEST).astype(np.float32), MARGIN)
    return cv2.resize(ink, None, fx=FINER, fy=FINER, interpolation=cv2.INTER_CUBIC)


def any_glyph(generator: np.random.Generator, split: str) -> Glyph:
    """A digit of a split; every class is equally likely."""
    of_class = glyphs()[split][generator.integers(len(CLASS_NAMES))]
    return of_class[generator.integers(len(of_class))]
