"""From encoded bytes to the uint8 picture that a model takes: the only place where pictures are decoded and resized.

Training, evaluation, calibration, the `image_bytes` signature and the metadata of TFLite files all rest on these
functions, so that the same bytes give the same pixels everywhere.

H, W, C = the model's picture, h, w = the picture as it was taken.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.settings import Settings
from models.stack import tf

LETTERBOX_GREY = 128
"""Brightness of the bars that `letterbox` adds; close to 0 once normalised, so the bars say little to a network."""


class PictureFormat(Settings):
    """The pictures that a model takes: uint8 [height, width, channels], 0..255."""

    height: int = Field(default=224, gt=0, le=8192)
    """Height in pixels."""
    width: int = Field(default=224, gt=0, le=8192)
    """Width in pixels."""
    channels: Literal[1, 3] = 3
    """3 = red, green, blue; 1 = grey."""
    fit: Literal["stretch", "crop", "letterbox"] = "stretch"
    """How a picture of another shape is made to fit: `stretch` changes its proportions, `crop` cuts its longer side
    evenly at both ends, `letterbox` adds grey bars."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels


def decode_picture(data: tf.Tensor, channels: int) -> tf.Tensor:
    """JPEG or PNG bytes, string [] -> uint8 [h, w, channels]; grey and colour are converted as needed."""
    picture = tf.io.decode_image(data, channels=channels, expand_animations=False)
    picture.set_shape([None, None, channels])
    return picture


def crop_and_fit(picture: tf.Tensor, window: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    """Stretches a window of a picture to the model's size; `format.fit` plays no part.

    Bilinear, with antialiasing where it shrinks, as `tf.image.resize(antialias=True)` and Pillow's BILINEAR do it.

    Args:
        picture: uint8 [h, w, C].
        window: float32 [4], y_min, x_min, y_max, x_max relative to the picture, 0..1; borders may lie between pixels.
        format: what the model takes.

    Returns:
        uint8 [H, W, C], rounded.
    """
    size = tf.cast(tf.shape(picture)[:2], tf.float32)
    start, end = window[:2] * size, window[2:] * size
    first, last = _enclosing_pixels(start, end, tf.shape(picture)[:2])
    # Rows and columns outside the window are cut away first: the resampling below would convert them all to float.
    part = picture[first[0] : last[0], first[1] : last[1]]
    target = tf.constant([format.height, format.width], tf.int32)
    scale = tf.cast(target, tf.float32) / (end - start)
    shift = (tf.cast(first, tf.float32) - start) * scale
    return _resample(part, target, scale, shift, format)


def fit_picture(picture: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    """A whole picture, uint8 [h, w, C], brought to the model's size as `format.fit` says -> uint8 [H, W, C]."""
    return FITS[format.fit](picture, format)


def decode_and_fit(data: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    """JPEG or PNG bytes, string [] -> uint8 [H, W, C]."""
    return fit_picture(decode_picture(data, format.channels), format)


def decode_and_fit_batch(data: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    """JPEG or PNG bytes, string [B] -> uint8 [B, H, W, C]; what the `image_bytes` signature does."""
    picture = tf.TensorSpec(format.shape, tf.uint8)
    return tf.map_fn(lambda one: decode_and_fit(one, format), data, fn_output_signature=picture)


def _stretch(picture: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    return crop_and_fit(picture, tf.constant([0.0, 0.0, 1.0, 1.0]), format)


def _crop(picture: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    size = tf.cast(tf.shape(picture)[:2], tf.float32)
    target = tf.constant([format.height, format.width], tf.float32)
    kept = target * tf.reduce_min(size / target) / size  # share of each side, [2]
    return crop_and_fit(picture, tf.concat([0.5 - kept / 2, 0.5 + kept / 2], 0), format)


def _letterbox(picture: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    size = tf.cast(tf.shape(picture)[:2], tf.float32)
    target = tf.constant([format.height, format.width], tf.int32)
    room = tf.cast(target, tf.float32)
    inner = tf.clip_by_value(tf.cast(tf.round(size * tf.reduce_min(room / size)), tf.int32), 1, target)
    resized = _resample(picture, inner, tf.cast(inner, tf.float32) / size, tf.zeros([2]), format)
    before = (target - inner) // 2
    bars = tf.stack([before, target - inner - before], axis=1)  # [2, 2]
    boxed = tf.pad(resized, tf.concat([bars, [[0, 0]]], 0), constant_values=LETTERBOX_GREY)
    return tf.ensure_shape(boxed, format.shape)


FITS = {"stretch": _stretch, "crop": _crop, "letterbox": _letterbox}


def _enclosing_pixels(start: tf.Tensor, end: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The whole pixels, int32 [2] each, that hold a window and the neighbour that its border pixels are mixed with."""
    first = tf.clip_by_value(tf.cast(tf.floor(start), tf.int32) - 1, 0, size - 1)
    last = tf.clip_by_value(tf.cast(tf.math.ceil(end), tf.int32) + 1, first + 1, size)
    return first, last


def _resample(
    picture: tf.Tensor, target: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, format: PictureFormat
) -> tf.Tensor:
    """Pixel p of `picture` lands on p * scale + shift of a uint8 [*target, C] result."""
    resized = tf.raw_ops.ScaleAndTranslate(
        images=picture[tf.newaxis], size=target, scale=scale, translation=shift, kernel_type="triangle", antialias=True
    )[0]
    resized.set_shape([None, None, format.channels])
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
