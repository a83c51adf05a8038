"""What lies in a picture, once a window of it has become the whole picture: a random crop, or the plain fit.

B = batch, N = objects, h, w = the pictures as they were taken, H, W = the model's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.stack import tf
from pipeline.augment.engines import Engine
from pipeline.augment.places import move_objects, through_window
from pipeline.augment.warp import Size, window_matrices
from pipeline.data.example import IGNORED, MASK, MASKS, Example

if TYPE_CHECKING:
    import tensorflow as tf


def apply_window(examples: Example, windows: tf.Tensor, min_visible: float | tf.Tensor) -> Example:
    """The batch with boxes, corners, key points and classes as they are in the windows.

    `image`, `mask` and `masks` are not touched (see `cut_masks`), except that the masks of objects that are left out
    become empty. Examples whose window is exactly 0, 0, 1, 1 stay as they are.

    Args:
        windows: float32 [B,4], y_min, x_min, y_max, x_max as shares of the picture; beyond 0..1 for a letterbox.
        min_visible: an object stays where at least this share of its box is inside the window; one for all, or
            float32 [B,1].
    """
    changed = tf.reduce_any(windows != np.array([0, 0, 1, 1], np.float32), axis=-1)
    return move_objects(examples, through_window(windows), min_visible, changed=changed)


def cut_masks(examples: Example, windows: tf.Tensor, size: Size, engine: Engine) -> Example:
    """The batch with `mask` uint8 [B,h,w,1] and `masks` uint8 [B,N,h,w], where there are such, cut to the windows and
    brought to a size by their nearest pixels; beyond the picture `mask` is 255 and `masks` are 0.

    h and w may differ from batch to batch: for pictures of many sizes call it with batches of one.
    """
    cut: Example = {}
    if MASK in examples:
        cut[MASK] = _nearest(examples[MASK], windows, IGNORED, size, engine)
    if MASKS in examples:
        planes = tf.transpose(examples[MASKS], [0, 2, 3, 1])
        cut[MASKS] = tf.transpose(_nearest(planes, windows, 0, size, engine), [0, 3, 1, 2])
    return {**examples, **cut}


def _nearest(masks: tf.Tensor, windows: tf.Tensor, value: int, size: Size, engine: Engine) -> tf.Tensor:
    matrices = window_matrices(windows, tf.shape(masks)[1:3], size)
    return engine.warp_nearest(masks, matrices, value, size)
