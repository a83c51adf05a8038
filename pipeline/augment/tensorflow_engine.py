"""The engine whose operations are TensorFlow's own, inside the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.stack import tf
from pipeline.augment import bank, tensorflow_shapes
from pipeline.augment.base import to_uint8
from pipeline.augment.engines import Engine
from pipeline.augment.fill import AnyFill, ConstantFill, ReflectFill
from pipeline.augment.shapes import Shapes

if TYPE_CHECKING:
    import tensorflow as tf


class TensorFlow(Engine):
    """Every operation is vectorised over the batch."""

    def warp(self, pictures: tf.Tensor, matrices: tf.Tensor, fill: AnyFill, size: tuple[int, int]) -> tf.Tensor:
        # In float32, because the operator cuts off the fraction where pixels are uint8.
        return to_uint8(_projected(tf.cast(pictures, tf.float32), matrices, "BILINEAR", fill, size))

    def warp_nearest(self, pictures: tf.Tensor, matrices: tf.Tensor, value: int, size: tuple[int, int]) -> tf.Tensor:
        return _projected(pictures, matrices, "NEAREST", ConstantFill(value=value), size)

    def remap(self, pictures: tf.Tensor, places: tf.Tensor, fill: AnyFill) -> tf.Tensor:
        first = tf.floor(places)
        x, y = tf.unstack((places - first)[..., tf.newaxis], axis=3)
        corners = [[_shifted(pictures, first, right, down, fill) for right in (0, 1)] for down in (0, 1)]
        (top_left, top_right), (bottom_left, bottom_right) = corners
        top, bottom = top_left + (top_right - top_left) * x, bottom_left + (bottom_right - bottom_left) * x
        return to_uint8(top + (bottom - top) * y)

    def remap_nearest(self, pictures: tf.Tensor, places: tf.Tensor, value: int) -> tf.Tensor:
        return _pixels(pictures, tf.round(places), ConstantFill(value=value))

    def recolour(self, pictures: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
        height, width, channels = pictures.shape[1:]
        matrix, of_mean, constant = tf.split(changes, [channels, channels, 1], axis=-1)
        offset = tf.linalg.matvec(of_mean, _mean(pictures)) + constant[..., 0]
        pixels = tf.reshape(tf.cast(pictures, tf.float32), [-1, height * width, channels])
        changed = tf.matmul(pixels, matrix, transpose_b=True) + offset[:, tf.newaxis]
        return to_uint8(tf.reshape(changed, [-1, height, width, channels]))

    def lookup(self, pictures: tf.Tensor, tables: tf.Tensor) -> tf.Tensor:
        batch, channels = tf.shape(pictures)[0], pictures.shape[-1]
        start = tf.range(batch)[:, tf.newaxis, tf.newaxis, tf.newaxis] * 256
        index = (start + tf.cast(pictures, tf.int32)) * channels + tf.range(channels)
        return tf.gather(tf.reshape(tables, [-1]), index)

    def filter(self, pictures: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
        filtered = _filtered(_mirrored(pictures, kernels.shape[1] // 2), kernels)
        return tf.ensure_shape(to_uint8(filtered), pictures.shape)

    def blur(self, pictures: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
        padded = _mirrored(pictures, kernels.shape[1] // 2)
        once = _filtered(padded, kernels[:, tf.newaxis, :])
        return tf.ensure_shape(to_uint8(_filtered(once, kernels[:, :, tf.newaxis])), pictures.shape)

    def noise(self, pictures: tf.Tensor, starts: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
        length = int(np.prod(pictures.shape[1:]))
        deviates = tf.cast(bank.pieces(bank.normal(), starts, length), tf.float32)
        added = tf.round(deviates * (amounts / np.float32(bank.UNIT))[:, tf.newaxis])
        return to_uint8(tf.cast(pictures, tf.float32) + tf.reshape(added, tf.shape(pictures)))

    def speckle(self, pictures: tf.Tensor, starts: tf.Tensor, limits: tf.Tensor) -> tf.Tensor:
        height, width = pictures.shape[1:3]
        deviates = tf.cast(bank.pieces(bank.normal(), starts, height * width), tf.float32)
        deviates = tf.reshape(deviates, [-1, height, width, 1])
        limits = (limits * np.float32(bank.UNIT))[:, tf.newaxis, tf.newaxis, tf.newaxis]
        pictures = tf.where(deviates > limits, np.uint8(255), pictures)
        return tf.where(deviates < -limits, np.uint8(0), pictures)

    def cover(self, pictures: tf.Tensor, shapes: Shapes) -> tf.Tensor:
        for number in range(shapes.present.shape[1]):
            pictures = tensorflow_shapes.covered(pictures, shapes, number)
        return pictures

    def light(self, pictures: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
        fields = tf.image.resize(gains[..., tf.newaxis], pictures.shape[1:3])
        return to_uint8(tf.cast(pictures, tf.float32) * fields)

    def jpeg(self, pictures: tf.Tensor, qualities: tf.Tensor) -> tf.Tensor:
        def one(arguments: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            picture, quality = arguments
            return tf.cond(quality > 0, lambda: tf.image.adjust_jpeg_quality(picture, quality), lambda: picture)

        coded = tf.map_fn(one, (pictures, qualities), fn_output_signature=tf.uint8)
        return tf.ensure_shape(coded, pictures.shape)

    def blend(self, pictures: Sequence[tf.Tensor], weights: tf.Tensor) -> tf.Tensor:
        shares = tf.unstack(weights[:, tf.newaxis, tf.newaxis, tf.newaxis], axis=-1)
        return to_uint8(
            tf.add_n([tf.cast(each, tf.float32) * share for each, share in zip(pictures, shares, strict=True)])
        )

    def histogram(self, pictures: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        height, width, channels = pictures.shape[1:]
        values = tf.reshape(tf.transpose(tf.cast(pictures, tf.int32), [0, 3, 1, 2]), [-1, height * width])
        counts = tf.math.bincount(values, minlength=256, maxlength=256, axis=-1)
        return tf.reshape(counts, [-1, channels, 256])


def _mean(pictures: tf.Tensor) -> tf.Tensor:
    """Mean colour, float32 [B,C]."""
    height, width = pictures.shape[1:3]
    # Summed in integers, so the number of threads cannot change the last bit.
    total = tf.reduce_sum(tf.cast(pictures, tf.int32), axis=[1, 2])
    return tf.cast(total, tf.float32) / float(height * width)


def _mirrored(pictures: tf.Tensor, edge: int) -> tf.Tensor:
    """The pictures as float32 with so many pixels more on each side."""
    return tf.pad(tf.cast(pictures, tf.float32), [[0, 0], [edge, edge], [edge, edge], [0, 0]], "REFLECT")


def _filtered(pictures: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
    """Correlation with one kernel for each picture, float32 [B,h,w,C] and [B,i,j] -> [B,h-i+1,w-j+1,C]."""
    batch, (height, width, channels), (rows, columns) = tf.shape(pictures)[0], pictures.shape[1:], kernels.shape[1:]
    # One picture with B x C channels: a depthwise convolution then has a kernel of its own for each.
    planes = tf.reshape(tf.transpose(pictures, [1, 2, 0, 3]), [1, height, width, batch * channels])
    weights = tf.repeat(tf.transpose(kernels, [1, 2, 0]), channels, axis=2)[..., tf.newaxis]
    filtered = tf.nn.depthwise_conv2d(planes, weights, [1, 1, 1, 1], "VALID")
    shape = [height - rows + 1, width - columns + 1, batch, channels]
    return tf.transpose(tf.reshape(filtered, shape), [2, 0, 1, 3])


def _projected(
    pictures: tf.Tensor, matrices: tf.Tensor, interpolation: str, fill: AnyFill, size: tuple[int, int]
) -> tf.Tensor:
    flat = tf.reshape(matrices / matrices[:, 2:, 2:], [-1, 9])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pictures,
        transforms=flat[:, :8],
        output_shape=size,
        fill_value=float(fill.value if isinstance(fill, ConstantFill) else 0),
        interpolation=interpolation,
        fill_mode=fill.mode,
    )


def _shifted(pictures: tf.Tensor, places: tf.Tensor, right: int, down: int, fill: AnyFill) -> tf.Tensor:
    return tf.cast(_pixels(pictures, places + np.array([right, down], np.float32), fill), tf.float32)


def _pixels(pictures: tf.Tensor, places: tf.Tensor, fill: AnyFill) -> tf.Tensor:
    """The pixels at whole places (x, y) float32 [B,H,W,2]: uint8 [B,H,W,C]."""
    batch, (height, width, channels) = tf.shape(pictures)[0], pictures.shape[1:]
    columns, rows = tf.unstack(tf.cast(places, tf.int32), axis=-1)
    start = tf.range(batch)[:, tf.newaxis, tf.newaxis] * height
    index = (start + inside(rows, height, fill)) * width + inside(columns, width, fill)
    pixels = tf.reshape(pictures, [-1, channels])
    if isinstance(fill, ConstantFill):
        index = tf.where(outside(rows, height) | outside(columns, width), batch * height * width, index)
        pixels = tf.concat([pixels, np.full([1, channels], fill.value, np.uint8)], axis=0)
    return tf.gather(pixels, index)


def outside(places: tf.Tensor, size: int) -> tf.Tensor:
    """Which places are not in 0..size-1."""
    return (places < 0) | (places >= size)


def inside(places: tf.Tensor, size: int, fill: AnyFill) -> tf.Tensor:
    """The pixel, 0..size-1, that is seen at each place."""
    if isinstance(fill, ReflectFill):
        place = tf.math.floormod(places, 2 * size)
        return tf.minimum(place, 2 * size - 1 - place)
    return tf.clip_by_value(places, 0, size - 1)
