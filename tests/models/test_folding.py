"""BatchNormalization folded into the layer before it: the same answers, and only where that is exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.backbones import BACKBONES
from models.folding import factor_and_offset, fold_batch_normalization, foldable
from models.graphs import with_float_input
from models.heads import classifier, picture_input
from models.preprocess import PictureFormat
from models.stack import keras

layers = keras.layers


def unsettle(model: keras.Model) -> keras.Model:
    """Statistics, scales and offsets as after a training: none at its initial value."""
    generator = np.random.default_rng(5)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            draws = {"moving_variance": (0.5, 2.0), "gamma": (-1.5, 1.5), "beta": (-0.5, 0.5), "moving_mean": (-1, 1)}
            for weight in layer.weights:
                low, high = draws[weight.name.split("/")[-1].split(":")[0]]
                weight.assign(generator.uniform(low, high, weight.shape))
    return model


def normalisations(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if isinstance(layer, layers.BatchNormalization)]


def agrees(model: keras.Model, pictures: np.ndarray) -> keras.Model:
    """The folded model, after its answers were found to be the model's."""
    before = model.get_weights()
    folded = fold_batch_normalization(model)
    expected, found = model(pictures, training=False), folded(pictures, training=False)[model.output_names[0]]
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4 * float(np.abs(expected).max()))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return folded


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1, shape).astype(np.float32)


def following(layer: keras.layers.Layer, *shape: int, **settings: Any) -> keras.Model:
    image = keras.Input(shape)
    return unsettle(keras.Model(image, layers.BatchNormalization(name="bn", **settings)(layer(image))))


FOLDED: dict[str, Callable[[], keras.layers.Layer]] = {
    "convolution": lambda: layers.Conv2D(5, 3, 2, "same", use_bias=False, name="folded"),
    "convolution with bias": lambda: layers.Conv2D(5, 3, bias_initializer="normal", name="folded"),
    "dilated": lambda: layers.Conv2D(5, 3, dilation_rate=2, name="folded"),
    "grouped": lambda: layers.Conv2D(8, 3, groups=2, name="folded"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, 2, name="folded"),
    "depthwise with multiplier": lambda: layers.DepthwiseConv2D(3, depth_multiplier=3, name="folded"),
    "separable": lambda: layers.SeparableConv2D(6, 3, use_bias=False, name="folded"),
    "transposed": lambda: layers.Conv2DTranspose(5, 3, 2, name="folded"),
    "dense on the last axis": lambda: layers.Dense(7, name="folded"),
}


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False, "epsilon": 0.1}], ids=str)
def test_each_kind_of_layer_takes_the_normalisation_in(name: str, settings: dict[str, Any]) -> None:
    model = following(FOLDED[name](), 9, 9, 4, **settings)
    folded = agrees(model, noise(2, 9, 9, 4))
    assert not normalisations(folded)
    assert folded.get_layer("folded").use_bias
    assert folded.output_names == model.output_names == ["bn"]


def test_a_dense_layer_of_vectors() -> None:
    assert not normalisations(agrees(following(layers.Dense(3), 6), noise(4, 6)))


def test_the_factor_and_offset_by_hand() -> None:
    normalisation = layers.BatchNormalization(epsilon=1.0)
    normalisation.build((None, 2))
    gamma, beta, mean, variance = [6.0, 1.0], [0.5, 0.0], [2.0, 0.0], [3.0, 0.0]
    normalisation.set_weights([np.array(values) for values in (gamma, beta, mean, variance)])
    factor, offset = factor_and_offset(normalisation)
    np.testing.assert_allclose(factor, [3.0, 1.0])
    np.testing.assert_allclose(offset, [0.5 - 6.0, 0.0])


class Halved(layers.Conv2D):
    """Does something of its own with its kernel."""

    def call(self, inputs: Any) -> Any:
        return super().call(inputs) / (1.0 + inputs[:, :1, :1, :1])


def activated(image: Any) -> Any:
    return layers.BatchNormalization()(layers.Conv2D(4, 1, activation="relu")(image))


def of_an_addition(image: Any) -> Any:
    return layers.BatchNormalization()(layers.Add()([layers.Conv2D(4, 1)(image), image]))


def of_the_picture(image: Any) -> Any:
    return layers.Conv2D(4, 1)(layers.BatchNormalization()(image))


def needed_elsewhere(image: Any) -> Any:
    x = layers.Conv2D(4, 1)(image)
    return layers.Add()([layers.BatchNormalization()(x), x])


def called_twice(image: Any) -> Any:
    shared = layers.Conv2D(4, 1)
    return layers.Add()([layers.BatchNormalization()(shared(image)), shared(layers.ReLU()(image))])


def normalised_twice(image: Any) -> Any:
    shared = layers.BatchNormalization()
    return layers.Add()([shared(layers.Conv2D(4, 1)(image)), shared(layers.ReLU()(image))])


def of_rows(image: Any) -> Any:
    return layers.BatchNormalization(axis=1)(layers.Conv2D(4, 1)(image))


def of_a_class_of_ones_own(image: Any) -> Any:
    return layers.BatchNormalization()(Halved(4, 1)(image))


UNFOLDED = [
    activated,
    of_an_addition,
    of_the_picture,
    needed_elsewhere,
    called_twice,
    normalised_twice,
    of_rows,
    of_a_class_of_ones_own,
]


@pytest.mark.parametrize("graph", UNFOLDED, ids=lambda graph: graph.__name__)
def test_left_alone_where_it_would_change_the_answers(graph: Callable[[Any], Any]) -> None:
    image = keras.Input((8, 8, 4))
    model = unsettle(keras.Model(image, graph(image)))
    assert foldable(model) == {}
    assert len(normalisations(agrees(model, noise(2, 8, 8, 4)))) == 1


def test_an_output_in_the_middle_is_still_given() -> None:
    image = keras.Input((8, 8, 4), name="image")
    x = layers.Conv2D(4, 1, name="first")(image)
    y = layers.BatchNormalization(name="second")(x)
    model = unsettle(keras.Model(image, {"first": x, "second": y}))
    folded = fold_batch_normalization(model)
    for name, value in model(noise(2, 8, 8, 4)).items():
        np.testing.assert_allclose(folded(noise(2, 8, 8, 4))[name], value, rtol=1e-5, atol=1e-5)


def test_two_normalisations_in_a_row() -> None:
    image = keras.Input((8, 8, 4))
    x = layers.BatchNormalization()(layers.BatchNormalization()(layers.Conv2D(4, 1)(image)))
    assert len(normalisations(agrees(unsettle(keras.Model(image, x)), noise(2, 8, 8, 4)))) == 1


def test_frozen_layers_stay_frozen() -> None:
    image = keras.Input((8, 8, 4))
    convolution = layers.Conv2D(4, 1, name="frozen", trainable=False)
    folded = fold_batch_normalization(keras.Model(image, layers.BatchNormalization()(convolution(image))))
    assert not folded.get_layer("frozen").trainable_weights


KINDS = ("small_resnet", "mobilenet_v2", "mobilenet_v3_small", "resnet18_v2", "efficientnet_lite0")
"""One for each order in which networks put convolution, normalisation and activation."""


@pytest.mark.parametrize("kind", KINDS)
def test_backbones_answer_the_same(kind: str) -> None:
    backbone = BACKBONES[kind]()
    size = getattr(backbone, "least_size", 32)
    image, x = picture_input(PictureFormat(height=size, width=size))
    features = list(backbone.features(x).values())[-1]
    logits = classifier(layers.GlobalAveragePooling2D()(features), 3, 0.0, "label")
    model = with_float_input(keras.Model(image, logits))
    before = normalisations(model)
    generator = np.random.default_rng(9)
    pictures = generator.integers(0, 256, (2, size, size, 3)).astype(np.float32)
    settle(model, pictures)
    folded = agrees(model, pictures)
    assert len(normalisations(folded)) == len(before) - len(foldable(model))


def settle(model: keras.Model, pictures: np.ndarray) -> None:
    """Statistics of these pictures, without which a deep network's answers run out of the range of float32."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.3
    for _ in range(3):
        model(pictures, training=True)
