"""Frames as a model takes them."""

from __future__ import annotations

import numpy as np

from models.preprocess import KNOWN, PictureFormat, fit_picture
from models.stack import tf

LUMA = np.array([19595, 38470, 7471], np.int64)
"""ITU-R BT.601 in 65536ths, as Pillow and libjpeg make grey of colours."""


def fitted(pixels: np.ndarray, format: PictureFormat) -> np.ndarray:
    """A frame or a part of one, uint8 [h,w,3], brought to the model's picture, uint8 [H,W,C], as pictures of files are;
    all of it is known."""
    return np.asarray(fit_picture(tf.constant(_channels(pixels, format)), format))


def part_of(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The part of a frame uint8 [h,w,3] within corners [4] in pixels, at least one pixel."""
    height, width = pixels.shape[:2]
    low = np.clip(np.floor(box[:2]), 0, (width - 1, height - 1)).astype(int)
    high = np.clip(np.ceil(box[2:]), low + 1, (width, height)).astype(int)
    return pixels[low[1] : high[1], low[0] : high[0]]


def _channels(pixels: np.ndarray, format: PictureFormat) -> np.ndarray:
    colours = pixels if format.colours == 3 else ((pixels @ LUMA + 32768) >> 16).astype(np.uint8)[..., np.newaxis]
    if not format.marks_missing:
        return colours
    return np.concatenate([colours, np.full((*pixels.shape[:2], 1), KNOWN, np.uint8)], axis=-1)
