"""Examples with objects of every kind, drawn by hypothesis, and the geometric operations to try on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies
from hypothesis.strategies import DrawFn, SearchStrategy, composite
from scipy import ndimage

from models.stack import tf
from pipeline.augment.base import PictureOperation
from pipeline.augment.crops import RandomCrop, ScaleJitter
from pipeline.augment.elastic import ElasticDeformation
from pipeline.augment.fill import ConstantFill, NearestFill, ReflectFill
from pipeline.augment.geometry import HorizontalFlip, Perspective, Rotation, Shear, Translation, VerticalFlip, Zoom

SIZES = [(32, 32), (24, 41), (47, 30)]
OBJECTS = 4
PAIRS = ((0, 1),)

GEOMETRIC: list[type[PictureOperation]] = [
    HorizontalFlip,
    VerticalFlip,
    Rotation,
    Translation,
    Shear,
    Zoom,
    ScaleJitter,
    Perspective,
    ElasticDeformation,
    RandomCrop,
]
STILL: list[PictureOperation] = [
    *(operation(probability=0) for operation in GEOMETRIC),
    Rotation(degrees=0),
    Translation(height=0, width=0),
    Shear(horizontal=0, vertical=0),
    Zoom(factor=(1, 1)),
    ScaleJitter(scale=(1, 1)),
    Perspective(distortion=0),
    ElasticDeformation(magnitude=0),
    RandomCrop(padding=0),
]
"""Operations that change nothing."""


@composite
def boxes(draw: DrawFn, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Up to OBJECTS boxes between pixels, at least 3 pixels wide and high."""
    found = []
    for _ in range(draw(strategies.integers(0, OBJECTS))):
        left, top = draw(strategies.integers(0, width - 3)), draw(strategies.integers(0, height - 3))
        right, bottom = draw(strategies.integers(left + 3, width)), draw(strategies.integers(top + 3, height))
        found.append((left, top, right, bottom))
    return found


@composite
def scenes(draw: DrawFn) -> dict[str, Any]:
    """Two examples whose objects have a box, the same as corners and as a filled mask, and key points in it: the
    left and the right end of its middle line, and its middle."""
    height, width = draw(strategies.sampled_from(SIZES))
    channels = draw(strategies.sampled_from([1, 3]))
    examples = empty(2, height, width, channels)
    examples["id"] = np.array([str(draw(strategies.integers(0, 10**6))).encode() for _ in range(2)], object)
    for number in range(2):
        for place, box in enumerate(draw(boxes(height, width))):
            put(examples, number, place, box)
    return {name: tf.constant(values) for name, values in examples.items()}


def empty(count: int, height: int, width: int, channels: int) -> dict[str, np.ndarray]:
    """Smooth pictures without objects."""
    noise = np.random.default_rng(channels).integers(0, 256, (count, height, width, channels)).astype(float)
    smooth = (ndimage.gaussian_filter(noise, (0, 3, 3, 0)) - 128) * 4 + 128
    return {
        "id": np.array([str(number).encode() for number in range(count)], object),
        "epoch": np.zeros(count, np.int64),
        "image": smooth.clip(0, 255).astype(np.uint8),
        "mask": np.zeros((count, height, width, 1), np.uint8),
        "boxes": np.zeros((count, OBJECTS, 4), np.float32),
        "classes": np.full((count, OBJECTS), -1, np.int64),
        "corners": np.zeros((count, OBJECTS, 4, 2), np.float32),
        "points": np.zeros((count, OBJECTS, 3, 3), np.float32),
        "masks": np.zeros((count, OBJECTS, height, width), np.uint8),
        "difficult": np.zeros((count, OBJECTS), bool),
    }


def put(examples: dict[str, np.ndarray], number: int, place: int, box: tuple[int, int, int, int]) -> None:
    """Gives an example an object."""
    height, width = examples["image"].shape[1:3]
    left, top, right, bottom = box
    middle = (top + bottom) / 2
    examples["boxes"][number, place] = np.array(box) / [width, height, width, height]
    examples["classes"][number, place] = place
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    examples["corners"][number, place] = np.array(corners) / [width, height]
    points = [(left + 0.5, middle), (right - 0.5, middle), ((left + right) / 2, middle)]
    examples["points"][number, place] = [(x / width, y / height, 2.0) for x, y in points]
    examples["masks"][number, place, top:bottom, left:right] = 1
    examples["mask"][number, top:bottom, left:right] = place + 1
    examples["difficult"][number, place] = True


def fills() -> SearchStrategy[Any]:
    return strategies.sampled_from([ConstantFill(), ConstantFill(value=77), ReflectFill(), NearestFill()])


def shares(most: float) -> SearchStrategy[float]:
    return strategies.floats(0, most, allow_subnormal=False)


@composite
def ranges(draw: DrawFn, least: float, most: float) -> tuple[float, float]:
    first, second = draw(strategies.floats(least, most)), draw(strategies.floats(least, most))
    return min(first, second), max(first, second)


@composite
def operations(draw: DrawFn) -> PictureOperation:
    """Any geometric operation with any setting, as far as pictures of 24 pixels show something of it."""
    often = {"probability": draw(strategies.sampled_from([0.5, 1.0]))}
    seen = {**often, "fill": draw(fills()), "min_visible": draw(shares(1.0))}
    of_kind = {
        HorizontalFlip: {**often, "swap_points": PAIRS},
        VerticalFlip: often,
        Rotation: {**seen, "degrees": draw(shares(180))},
        Translation: {**seen, "height": draw(shares(1)), "width": draw(shares(1))},
        Shear: {**seen, "horizontal": draw(shares(0.9)), "vertical": draw(shares(0.9))},
        Zoom: {**seen, "factor": draw(ranges(0.5, 3))},
        ScaleJitter: {**seen, "scale": draw(ranges(0.5, 3))},
        Perspective: {**seen, "distortion": draw(shares(0.2))},
        ElasticDeformation: {**seen, "magnitude": draw(shares(0.25)), "cells": draw(strategies.integers(1, 5))},
        RandomCrop: {**seen, "padding": draw(strategies.integers(0, 12))},
    }
    kind = draw(strategies.sampled_from(GEOMETRIC))
    return kind(**of_kind[kind])
