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


def _channels(pixels: np.ndarray, format: PictureFormat) -> np.ndarray:
    colours = pixels if format.colours == 3 else ((pixels @ LUMA + 32768) >> 16).astype(np.uint8)[..., np.newaxis]
    if not format.marks_missing:
        return colours
    return np.concatenate([colours, np.full((*pixels.shape[:2], 1), KNOWN, np.uint8)], axis=-1)
