"""Layers, pooling, heads and losses against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models import heads, layers, losses, pooling
from models.preprocess import PictureFormat
from models.stack import keras, tf

FEATURES = np.array([[[[1.0, 0.0], [3.0, 2.0]]]], np.float32)  # [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("average", [2.0, 1.0]),
        ("max", [3.0, 2.0]),
        ("average_max", [2.0, 1.0, 3.0, 2.0]),
        ("gem", [14 ** (1 / 3), 4 ** (1 / 3)]),  # cube root of (1 + 27) / 2 and of (0 + 8) / 2
    ],
)
def test_poolings(name: str, expected: list[float]) -> None:
    image = keras.Input((1, 2, 2))
    model = keras.Model(image, pooling.POOLINGS[name](image))
    np.testing.assert_allclose(model(FEATURES)[0], expected, rtol=1e-6)


def test_gem_learns_its_power_and_stays_finite_at_zero() -> None:
    layer = layers.GeneralizedMeanPooling2D()
    features = tf.zeros([2, 3, 3, 4])
    with tf.GradientTape() as tape:
        tape.watch(features)
        total = tf.reduce_sum(layer(features))
    gradients = tape.gradient(total, [features, layer.power])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert layer.power.constraint(tf.constant(0.2)) == 1.0


def test_layers_come_back_from_their_config() -> None:
    layer = layers.GeneralizedMeanPooling2D(initial_power=2.5, epsilon=1e-4, name="gem_pool")
    again = layers.GeneralizedMeanPooling2D.from_config(layer.get_config())
    assert (again.initial_power, again.epsilon, again.name) == (2.5, 1e-4, "gem_pool")


def test_picture_input_is_uint8_and_named() -> None:
    image, floats = heads.picture_input(PictureFormat(height=4, width=6, channels=1))
    assert (image.name, image.dtype, image.shape) == ("image", tf.uint8, (None, 4, 6, 1))
    assert floats.dtype == tf.float32
    picture = np.full((1, 4, 6, 1), 255, np.uint8)
    assert (keras.Model(image, floats)(picture).numpy() == 255.0).all()


def test_classifier_names_its_output_and_drops_out_only_in_training() -> None:
    features = keras.Input((6,))
    model = keras.Model(features, heads.classifier(features, 3, 0.5, "logits"))
    assert model.output_names == ["logits"]
    assert model.output_shape == (None, 3)
    ones = np.ones((1, 6), np.float32)
    assert np.array_equal(model(ones), model(ones))


def per_example(loss: keras.losses.Loss, expected: list[list[float]], answered: list[list[float]]) -> np.ndarray:
    return loss.call(tf.constant(expected), tf.constant(answered)).numpy()


def test_softmax_cross_entropy() -> None:
    logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]).tolist()
    targets = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(
        per_example(losses.softmax_cross_entropy(), targets, logits), -np.log([0.5, 0.8]), rtol=1e-6
    )
    smooth = per_example(losses.softmax_cross_entropy(0.3), targets, logits)
    np.testing.assert_allclose(smooth[0], -(0.8 * np.log(0.5) + 0.2 * np.log(0.25)), rtol=1e-6)


def test_sigmoid_cross_entropy_is_the_mean_over_classes() -> None:
    logits = [[0.0, np.log(3.0)]]  # probabilities 1/2, 3/4
    value = per_example(losses.sigmoid_cross_entropy(), [[1.0, 0.0]], logits)
    np.testing.assert_allclose(value, [-(np.log(0.5) + np.log(0.25)) / 2], rtol=1e-6)


def test_regression_losses_are_means_over_targets() -> None:
    np.testing.assert_allclose(per_example(losses.mean_squared(), [[0.0, 0.0]], [[1.0, 3.0]]), [5.0])
    np.testing.assert_allclose(per_example(losses.huber(2.0), [[0.0, 0.0]], [[1.0, 3.0]]), [(0.5 + 4.0) / 2])


@pytest.mark.parametrize(
    "loss", [losses.softmax_cross_entropy, losses.sigmoid_cross_entropy, losses.huber, losses.mean_squared]
)
def test_every_loss_gives_one_value_per_example(loss) -> None:
    assert per_example(loss(), [[0.0, 1.0]] * 3, [[0.3, 0.7]] * 3).shape == (3,)
