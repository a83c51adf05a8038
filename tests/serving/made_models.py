"""Small SavedModels and `.tflite` files that the shared ones do not cover."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

Function = Callable[..., Mapping[str, Any]]


def saved(folder: Path, function: Function, *inputs: tf.TensorSpec, **variables: Any) -> Path:
    """Writes a version whose `serving_default` is `function`; it reaches `variables` by its first argument."""
    module = tf.Module()
    for name, value in variables.items():
        setattr(module, name, tf.Variable(value))
    signature = tf.function(lambda *arrays: function(module, *arrays), input_signature=inputs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    return folder


def mean_of_pictures(folder: Path) -> Path:
    """`image_bytes` [B] -> `mean` float32 [B]; a picture that cannot be decoded fails the whole batch."""

    def mean(module: Any, image_bytes: tf.Tensor) -> Mapping[str, tf.Tensor]:
        def one(data: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(tf.cast(tf.io.decode_png(data), tf.float32))

        return {"mean": tf.map_fn(one, image_bytes, fn_output_signature=tf.float32)}

    return saved(folder, mean, tf.TensorSpec([None], tf.string, name="image_bytes"))


def endless(folder: Path) -> Path:
    """A run that ends only with its process."""

    def turn(module: Any, x: tf.Tensor) -> Mapping[str, tf.Tensor]:
        last = tf.while_loop(lambda y: tf.reduce_all(y < np.inf), lambda y: y * 0.5, [x], parallel_iterations=1)
        return {"y": last[0]}

    return saved(folder, turn, tf.TensorSpec([None], tf.float32, name="x"))


def large(folder: Path, megabytes: int) -> Path:
    """A model of that size."""

    def add(module: Any, x: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return {"y": x + module.weights[0]}

    return saved(
        folder, add, tf.TensorSpec([None], tf.float32, name="x"), weights=np.zeros(megabytes * 2**18, np.float32)
    )


def row_sums(folder: Path) -> Path:
    """`x` [B,N] of any length -> its sums; so that padding shows."""

    def sums(module: Any, x: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return {"y": tf.reduce_sum(x, axis=1)}

    return saved(folder, sums, tf.TensorSpec([None, None], tf.float32, name="x"))


def png(level: int) -> bytes:
    """A grey picture; its mean is `level`."""
    stream = io.BytesIO()
    Image.new("L", (4, 4), level).save(stream, "PNG")
    return stream.getvalue()


def tflite(file: Path, *, quantized: bool, signature: bool = True) -> Path:
    """`image` [1,2] -> `scores` [1,3]; uint8 on both sides where it is quantized; with or without a signature."""
    weights = tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    @tf.function(input_signature=[tf.TensorSpec([1, 2], tf.float32, name="image")])
    def scores(image: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return {"scores": image @ weights}

    module = tf.Module()
    module.scores = scores
    owner = (module,) if signature else ()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([scores.get_concrete_function()], *owner)
    if quantized:
        _quantize(converter)
    file.write_bytes(converter.convert())
    return file


def _quantize(converter: Any) -> None:
    def samples() -> Any:
        for low, high in ((0.0, 0.0), (10.0, 10.0), (0.0, 10.0)):
            yield [np.array([[low, high]], np.float32)]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
