"""From encoded bytes to the uint8 picture that a model takes: the only place where pictures are decoded and resized.

Training, evaluation, calibration, the `image_bytes` signature and the metadata of TFLite files all rest on these
functions, so that the same bytes give the same pixels everywhere.

H, W, C = the model's picture, h, w = the picture as it was taken. A window is float32 [4]: y_min, x_min, y_max, x_max
as shares of a picture; its borders may lie between pixels.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from pydantic import Field

from models import windows
from models.settings import Settings
from models.stack import tf

LETTERBOX_GREY = 128
"""Brightness of the bars that `letterbox` adds; close to 0 once normalised, so the bars say little to a network."""

RATIOS = (1, 2, 4, 8)
"""Of libjpeg's inverse cosine transform: it can give a picture at a half, a quarter or an eighth of its size."""
MARGIN = 2
"""Pixels around a window that are decoded as well. Resampling mixes in one neighbour; the outermost column of a part
differs from that of the whole picture where colour has half the resolution, because its neighbour was not decoded."""
KNOWN, MISSING = 255, 0
"""Values of the channel that says which pixels are known."""
DCT = {"accurate": "INTEGER_ACCURATE", "fast": "INTEGER_FAST"}


class PictureFormat(Settings):
    """The pictures that a model takes: uint8 [height, width, channels], 0..255."""

    height: int = Field(default=224, gt=0, le=8192)
    """Height in pixels."""
    width: int = Field(default=224, gt=0, le=8192)
    """Width in pixels."""
    channels: Literal[1, 2, 3, 4] = 3
    """3 = red, green, blue; 1 = grey; 4 and 2 = the same and a last channel that says which pixels are known: 255, or 0
    where a PNG is wholly transparent (`data.missing_regions.mark`) and beyond the picture."""
    missing: Literal["zero", "mean", "kept"] = "zero"
    """With 2 or 4 channels: what takes the place of pixels that are missing, in training, evaluation and exports alike:
    black, the mean colour of the picture's known pixels, or what the file holds there (such as what
    `data.missing_regions.fill` put there)."""
    fit: Literal["stretch", "crop", "letterbox"] = "stretch"
    """How a picture of another shape is made to fit: `stretch` changes its proportions, `crop` cuts its longer side
    evenly at both ends, `letterbox` adds grey bars."""
    dct: Literal["accurate", "fast"] = "accurate"
    """The cosine transform that decodes JPEG, in training, evaluation and exports alike: `accurate` gives the pixels
    that Pillow and most clients see; `fast` is one grey level apart from them, and quicker on some processors only."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels

    @property
    def marks_missing(self) -> bool:
        """Whether the last channel says which pixels are known."""
        return self.channels in (2, 4)

    @property
    def colours(self) -> int:
        """Channels of colour alone: 1 or 3."""
        return self.channels - 1 if self.marks_missing else self.channels

    def window(self, height: int, width: int) -> np.ndarray:
        """`fit_window` in numpy, float32 [4], for where there is no TensorFlow."""
        return windows.shown(self.fit, np.array([self.height, self.width]), np.array([height, width]))


def decode_picture(data: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    """JPEG or PNG bytes, string [] -> uint8 [h, w, C] as the file is; grey and colour are converted as needed."""
    picture = tf.cond(
        tf.io.is_jpeg(data),
        lambda: _all_known(tf.io.decode_jpeg(data, channels=format.colours, dct_method=DCT[format.dct]), format),
        lambda: _decode_other(data, format),
    )
    return tf.ensure_shape(picture, [None, None, format.channels])


def decode_window(
    data: tf.Tensor, window: tf.Tensor, format: PictureFormat, scaled: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes what a window needs: of a JPEG only that part and a margin; a PNG whole.

    Args:
        data: JPEG or PNG bytes, string [].
        window: the wanted part of the picture; what lies beyond 0..1 is not there to be decoded.
        format: the window is going to be brought to its size; it also gives channels and cosine transform.
        scaled: decode a JPEG at a half, a quarter or an eighth of its size where the window is at least so many times
            the size of `format`, so that it still has to be shrunk by 1 to 2. Quicker, and sharper than resampling.

    Returns:
        uint8 [h, w, C], and the wanted window within it; 0..1 where the given one is.
    """

    def jpeg() -> tuple[tf.Tensor, tf.Tensor]:
        size = tf.io.extract_jpeg_shape(data)[:2]
        target = tf.constant([format.height, format.width])
        picture, part = _jpeg_part(data, size, window * _both(size), target, format, scaled)
        return picture, part / _both(tf.shape(picture)[:2])

    picture, part = tf.cond(tf.io.is_jpeg(data), jpeg, lambda: (_decode_other(data, format), window))
    return tf.ensure_shape(picture, [None, None, format.channels]), tf.ensure_shape(part, [4])


def crop_and_fit(picture: tf.Tensor, window: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    """Stretches a window of a picture to the model's size; `format.fit` plays no part.

    Bilinear, with antialiasing where it shrinks, as `tf.image.resize(antialias=True)` and Pillow's BILINEAR do it.

    Args:
        picture: uint8 [h, w, C].
        window: of the picture, 0..1.
        format: what the model takes.

    Returns:
        uint8 [H, W, C], rounded.
    """
    pixels = window * _both(tf.shape(picture)[:2])
    return tf.ensure_shape(_resample(picture, pixels, tf.constant([format.height, format.width])), format.shape)


def fit_picture(picture: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    """A whole picture, uint8 [h, w, C], brought to the model's size as `format.fit` says -> uint8 [H, W, C]."""
    shown, inner = _fitting(format, tf.shape(picture)[:2])
    return _with_bars(_resample(picture, shown, inner), format)


def fit_window(format: PictureFormat, height: tf.Tensor | int, width: tf.Tensor | int) -> tf.Tensor:
    """The window of a picture of height x width pixels that the model's picture shows; beyond 0..1 where
    `letterbox` adds bars. Labels that are places in the picture move with it."""
    size = tf.stack([height, width])
    shown, inner = _fitting(format, size)
    before, after = (tf.cast(bars, tf.float32) / tf.cast(inner, tf.float32) for bars in _bars(inner, format))
    start, extent = shown[:2], shown[2:] - shown[:2]
    return tf.concat([start - before * extent, start + (1.0 + after) * extent], 0) / _both(size)


def decode_and_fit(data: tf.Tensor, format: PictureFormat, scaled: bool = False) -> tf.Tensor:
    """JPEG or PNG bytes, string [] -> uint8 [H, W, C]; only what `format.fit` shows is decoded.

    `scaled` (see `decode_window`) is for training only: evaluation and exports have to agree with their clients.
    """

    def jpeg() -> tf.Tensor:
        size = tf.io.extract_jpeg_shape(data)[:2]
        shown, inner = _fitting(format, size)
        picture, part = _jpeg_part(data, size, shown, inner, format, scaled)
        return _with_bars(_resample(picture, part, inner), format)

    return tf.cond(tf.io.is_jpeg(data), jpeg, lambda: fit_picture(_decode_other(data, format), format))


def decode_and_fit_batch(data: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    """JPEG or PNG bytes, string [B] -> uint8 [B, H, W, C]; what the `image_bytes` signature does."""
    picture = tf.TensorSpec(format.shape, tf.uint8)
    return tf.map_fn(lambda one: decode_and_fit(one, format), data, fn_output_signature=picture)


def picture_size(data: tf.Tensor) -> tf.Tensor:
    """Height and width of JPEG or PNG bytes, string [] -> int32 [2]; only their head is read."""

    def png() -> tf.Tensor:  # the first chunk begins at byte 16 with width and height
        return tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.int32, little_endian=False)[::-1]

    size = tf.cond(tf.io.is_jpeg(data), lambda: tf.io.extract_jpeg_shape(data)[:2], png)
    return tf.ensure_shape(size, [2])


def _decode_other(data: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    pixels = tf.io.decode_image(data, channels=format.colours, expand_animations=False)
    if not format.marks_missing:
        return pixels
    alpha = tf.io.decode_image(data, channels=4, expand_animations=False)[..., 3:]
    known = alpha > 0
    colour = {"zero": lambda: tf.zeros([], tf.uint8), "mean": lambda: _mean_colour(pixels, known)}
    if format.missing in colour:
        pixels = tf.where(known, pixels, colour[format.missing]())
    return tf.concat([pixels, tf.where(known, np.uint8(KNOWN), np.uint8(MISSING))], axis=-1)


def _mean_colour(pixels: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """The mean of the known pixels, uint8 [C]; in whole numbers, which come out the same wherever they are computed."""
    total = tf.reduce_sum(tf.where(known, tf.cast(pixels, tf.int64), 0), axis=[0, 1])
    count = tf.maximum(tf.reduce_sum(tf.cast(known, tf.int64)), 1)
    return tf.cast((2 * total + count) // (2 * count), tf.uint8)


def _all_known(picture: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    """Colours of a picture in which nothing is missing -> the same with all channels of the format."""
    if not format.marks_missing:
        return picture
    return tf.pad(picture, [[0, 0], [0, 0], [0, 1]], constant_values=KNOWN)


def _jpeg_part(
    data: tf.Tensor, size: tf.Tensor, window: tf.Tensor, target: tf.Tensor, format: PictureFormat, scaled: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes what a window needs that becomes int32 [2] pixels of the result.

    Windows are in pixels here, so that moving them by whole pixels is exact and the result that of the whole picture.
    """

    def at(ratio: int) -> tuple[tf.Tensor, tf.Tensor]:
        # Pixel p of a scaled picture shows the pixels p * ratio .. (p + 1) * ratio of the whole one; the last, fewer.
        first, last = _enclosing_pixels(window / ratio, -(-size // ratio), MARGIN)
        bounds = tf.concat([first, last - first], 0)
        picture = tf.image.decode_and_crop_jpeg(data, bounds, format.colours, ratio=ratio, dct_method=DCT[format.dct])
        return _all_known(picture, format), window / ratio - _both(first)

    if not scaled:
        return at(1)
    shrinking = tf.reduce_min((window[2:] - window[:2]) / tf.cast(target, tf.float32))
    place = tf.reduce_sum(tf.cast(shrinking >= RATIOS[1:], tf.int32))
    return tf.switch_case(place, [functools.partial(at, ratio) for ratio in RATIOS])


def _fitting(format: PictureFormat, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The window of a picture of int32 [2] pixels that is shown, in pixels, and how many pixels of the model's picture
    it fills, int32 [2]."""
    return FITS[format.fit](size, tf.constant([format.height, format.width]))


def _stretch(size: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return _middle(size, size), target


def _crop(size: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # In whole 64ths of a pixel: divisions of floats come out differently eagerly, in a graph and in a SavedModel.
    room, sides = tf.cast(target, tf.int64), tf.cast(size, tf.int64)
    kept = tf.reduce_min(64 * room[:, tf.newaxis] * sides // room, axis=1)
    return _middle(size, tf.cast(kept, tf.float32) / 64), target


def _letterbox(size: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    sides = tf.cast(size, tf.float32)
    inner = tf.round(sides * tf.reduce_min(tf.cast(target, tf.float32) / sides))
    return _middle(size, size), tf.clip_by_value(tf.cast(inner, tf.int32), 1, target)


def _middle(size: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """The window of `kept` pixels around the middle of a picture."""
    sides, kept = tf.cast(size, tf.float32), tf.cast(kept, tf.float32)
    return tf.concat([(sides - kept) / 2, (sides + kept) / 2], 0)


FITS = {"stretch": _stretch, "crop": _crop, "letterbox": _letterbox}


def _bars(inner: tf.Tensor, format: PictureFormat) -> tuple[tf.Tensor, tf.Tensor]:
    """Pixels above and left of `inner`, and below and right of it, int32 [2] each."""
    missing = tf.constant([format.height, format.width]) - inner
    return missing // 2, missing - missing // 2


def _with_bars(picture: tf.Tensor, format: PictureFormat) -> tf.Tensor:
    if format.fit == "letterbox":
        bars = tf.concat([tf.stack([*_bars(tf.shape(picture)[:2], format)], axis=1), [[0, 0]]], 0)  # [3, 2]
        colours = tf.pad(picture[..., : format.colours], bars, constant_values=LETTERBOX_GREY)
        known = tf.pad(picture[..., format.colours :], bars, constant_values=MISSING)
        picture = tf.concat([colours, known], axis=-1) if format.marks_missing else colours
    return tf.ensure_shape(picture, format.shape)


def _both(sides: tf.Tensor) -> tf.Tensor:
    """int32 [2] -> float32 [4], for both corners of a window."""
    return tf.tile(tf.cast(sides, tf.float32), [2])


def _resample(picture: tf.Tensor, window: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """A window, here in pixels, at a size of int32 [2] pixels, uint8."""
    first, last = _enclosing_pixels(window, tf.shape(picture)[:2], margin=1)
    # Rows and columns outside the window are cut away first: the resampling below would convert them all to float.
    part = picture[first[0] : last[0], first[1] : last[1]]
    scale = tf.cast(target, tf.float32) / (window[2:] - window[:2])
    shift = (tf.cast(first, tf.float32) - window[:2]) * scale
    resized = tf.raw_ops.ScaleAndTranslate(
        images=part[tf.newaxis], size=target, scale=scale, translation=shift, kernel_type="triangle", antialias=True
    )[0]
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)


def _enclosing_pixels(window: tf.Tensor, size: tf.Tensor, margin: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The whole pixels, int32 [2] each, that hold a window in pixels, and `margin` neighbours where there are any."""
    first = tf.clip_by_value(tf.cast(tf.floor(window[:2]), tf.int32) - margin, 0, size - 1)
    last = tf.clip_by_value(tf.cast(tf.math.ceil(window[2:]), tf.int32) + margin, first + 1, size)
    return first, last
