"""An example as the model sees it: its picture at the model's size, and all that is marked in the picture with it.

H, W = the model's picture, h, w = the picture as it was taken, N = objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.augment.tensorflow_engine import TensorFlow
from pipeline.augment.windows import apply_window, cut_masks
from pipeline.data.example import IMAGE, MARKED, MASK, MASKS, Example

if TYPE_CHECKING:
    import tensorflow as tf


def fit_example(example: Example, format: PictureFormat, scaled: bool = False) -> Example:
    """One example with `image` encoded -> with `image` uint8 [H,W,C], and marks as they are in it; see
    `preprocess.decode_and_fit`."""
    picture = preprocess.decode_and_fit(example[IMAGE], format, scaled)
    if not is_marked(example):
        return {**example, IMAGE: picture}
    size = preprocess.picture_size(example[IMAGE])
    window = preprocess.fit_window(format, size[0], size[1])
    return {**fit_marks(example, size, window, format, min_visible=0.0), IMAGE: picture}


def is_marked(example: Example) -> bool:
    """Whether anything is marked in the picture."""
    return any(name in example for name in MARKED)


def fit_marks(
    example: Example, size: tf.Tensor, window: tf.Tensor, format: PictureFormat, min_visible: float
) -> Example:
    """The marks of one example as they are in a window that becomes the model's picture.

    Args:
        example: with masks encoded as PNG.
        size: int32 [2], h and w.
        window: float32 [4], y_min, x_min, y_max, x_max as shares of the picture.
        min_visible: an object stays where at least this share of its box is inside the window.
    """
    marks = {name: example[name][tf.newaxis] for name in MARKED if name in example}
    marks |= {name: decode_masks(example[name], size)[tf.newaxis] for name in (MASK, MASKS) if name in example}
    moved = apply_window(marks, window[tf.newaxis], min_visible)
    cut = cut_masks(moved, window[tf.newaxis], (format.height, format.width), TensorFlow())
    return {**example, **{name: values[0] for name, values in cut.items()}}


def decode_masks(masks: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """PNG bytes, string [] -> uint8 [h,w,1]; or [N] -> uint8 [N,h,w], zeros where there is no object."""
    if masks.shape.rank == 0:
        return tf.io.decode_png(masks, channels=1)

    def one(mask: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            tf.equal(mask, ""), lambda: tf.zeros(size, tf.uint8), lambda: tf.io.decode_png(mask, channels=1)[..., 0]
        )

    return tf.map_fn(one, masks, fn_output_signature=tf.TensorSpec([None, None], tf.uint8))
