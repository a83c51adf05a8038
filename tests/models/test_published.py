"""Weights that keras.applications publishes give the features that keras.applications gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tf_keras.src.applications import efficientnet, efficientnet_v2

from models.backbones import BACKBONES, Application, EfficientNet, MobileNetV3
from models.backbones.base import IMAGENET, name_steadily
from models.backbones.normalisation import DEVIATION, MEAN, normalise
from models.stack import keras

SIZE = 64
applications = keras.applications
PREPROCESSING: dict[str, Any] = {
    "vgg16": applications.vgg16.preprocess_input,
    "mobilenet": applications.mobilenet.preprocess_input,
    "mobilenet_v2": applications.mobilenet_v2.preprocess_input,
    "mobilenet_v3_small": applications.mobilenet_v3.preprocess_input,
    "resnet50": applications.resnet.preprocess_input,
    "resnet50_v2": applications.resnet_v2.preprocess_input,
    "densenet121": applications.densenet.preprocess_input,
    "efficientnet_b0": applications.efficientnet.preprocess_input,
    "efficientnet_v2_b0": applications.efficientnet_v2.preprocess_input,
    "convnext_tiny": applications.convnext.preprocess_input,
    "inception_resnet_v2": applications.inception_resnet_v2.preprocess_input,
}
"""A kind of each family -> what keras.applications does to pixels before the network."""


@pytest.fixture(autouse=True)
def _forget_graphs() -> None:
    keras.backend.clear_session()


def pixels(size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.float32)


def network(kind: str, size: int = SIZE, **options: Any) -> keras.Model:
    """As keras.applications builds it, its own normalisation layers included, with weights that no other has."""
    function = getattr(applications, BACKBONES[kind].members[kind].application)
    model = function(input_shape=(size, size, 3), include_top=False, weights=None, **options)
    draw = np.random.default_rng(1)
    for weight in model.weights:
        name = weight.name.split("/")[-1].split(":")[0]
        if name in ("gamma", "moving_variance", "variance"):
            weight.assign(draw.uniform(0.5, 1.5, weight.shape))
        elif name in ("beta", "bias", "moving_mean", "mean"):
            weight.assign(draw.normal(0, 0.1, weight.shape))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with what was there when it was built, until it is told
    return model


def deepest(backbone: Application, size: int = SIZE) -> keras.Model:
    image = keras.Input((size, size, 3))
    return keras.Model(image, list(backbone.features(image).values())[-1])


def same_within_float_error(ours: Any, theirs: Any) -> None:
    theirs = np.asarray(theirs)
    assert np.ptp(theirs) > 0
    np.testing.assert_allclose(ours, theirs, atol=2e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", PREPROCESSING)
def test_a_published_file_gives_the_published_features(kind: str, tmp_path: Path) -> None:
    size = max(SIZE, BACKBONES[kind].least_size)
    reference = network(kind, size)
    reference.save_weights(tmp_path / "notop.h5")
    expected = reference(PREPROCESSING[kind](pixels(size)))
    ours = deepest(BACKBONES[kind](kind=kind, weights=str(tmp_path / "notop.h5")), size)
    same_within_float_error(ours(pixels(size)), expected)


def test_efficientnet_v2_s_takes_pixels_as_its_published_network_does() -> None:
    """Another normalisation than the rest of its family has; of the network, a single block is enough."""
    block = {"kernel_size": 3, "num_repeat": 1, "input_filters": 8, "output_filters": 8, "expand_ratio": 1}
    block |= {"se_ratio": 0, "strides": 1, "conv_type": 1}
    options: dict[str, Any] = {"include_top": False, "weights": None, "input_shape": (SIZE, SIZE, 3)}
    reference = efficientnet_v2.EfficientNetV2(
        1, 1, SIZE, blocks_args=[block], model_name="efficientnetv2-s", **options
    )
    theirs = keras.Model(reference.inputs, reference.get_layer("stem_conv").input)(pixels())
    image = keras.Input((SIZE, SIZE, 3))
    kind = "efficientnet_v2_s"
    ours = keras.Model(image, normalise(image, BACKBONES[kind].members[kind].normalisation))(pixels())
    same_within_float_error(ours, theirs)


def test_a_whole_model_of_keras_gives_its_features(tmp_path: Path) -> None:
    """One of the families whose normalisation is a layer with weights."""
    kind = "efficientnet_b0"
    reference = network(kind)
    reference.save(tmp_path / "model.keras")
    expected = reference(PREPROCESSING[kind](pixels()))
    ours = deepest(BACKBONES[kind](kind=kind, weights=str(tmp_path / "model.keras")))
    same_within_float_error(ours(pixels()), expected)


def test_efficientnets_published_normalisation_is_right(tmp_path: Path, monkeypatch) -> None:
    """Its files hold deviations for variances; Keras makes up for it where it loads them by name."""
    reference = network("efficientnet_b0")
    statistics = next(layer for layer in reference.layers if isinstance(layer, keras.layers.Normalization))
    statistics.set_weights([np.array(MEAN), np.array(DEVIATION), np.array(1)])
    file = str(tmp_path / "efficientnetb0_notop.h5")
    reference.save_weights(file)
    monkeypatch.setattr(efficientnet.data_utils, "get_file", lambda *_, **__: file)  # the download
    expected = applications.EfficientNetB0(input_shape=(SIZE, SIZE, 3), include_top=False)(pixels())
    for weights in (IMAGENET, file):
        same_within_float_error(deepest(EfficientNet(weights=weights))(pixels()), expected)


def test_a_width_of_its_own(tmp_path: Path) -> None:
    reference = network("mobilenet_v3_small", alpha=0.75)
    reference.save_weights(tmp_path / "notop.h5")
    ours = deepest(MobileNetV3(alpha=0.75, weights=str(tmp_path / "notop.h5")))
    same_within_float_error(ours(pixels()), reference(pixels()))
    with pytest.raises(ValueError, match=r"notop\.h5 could not be read into MobilenetV3small"):
        deepest(MobileNetV3(weights=str(tmp_path / "notop.h5")))


def test_layers_that_keras_names_have_the_same_names_in_every_session() -> None:
    def names() -> list[str]:
        x = image = keras.Input((8, 8, 3))
        for _ in range(11):
            x = keras.layers.Conv2D(2, 1)(x)
        x = keras.layers.MaxPooling2D()(keras.layers.ReLU()(x))
        model = keras.Model(image, keras.layers.ReLU(name="conv1/relu")(x))
        name_steadily(model)
        return [layer.name for layer in model.layers[1:]]

    first = names()
    assert first[:2] == ["conv2d", "conv2d_1"]
    assert first[-3:] == ["re_lu", "max_pooling2d", "conv1/relu"]
    assert names() == first
