"""What holds for every backbone, and what is special to one."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from models import backbones, graphs
from models.backbones import BACKBONES, Backbone, MobileNet, MobileNetV2, SmallResNet
from models.stack import keras, tf

SMALL = {
    "small_resnet": SmallResNet(depth=8, widths=(4, 8, 12)),
    "mobilenet": MobileNet(alpha=0.25),
    "mobilenet_v2": MobileNetV2(alpha=0.35),
    "resnet50": backbones.ResNet50(),
    "vgg16": backbones.VGG16(),
    "densenet121": backbones.DenseNet121(),
}
PREPROCESSING = {
    "mobilenet": keras.applications.mobilenet.preprocess_input,
    "mobilenet_v2": keras.applications.mobilenet_v2.preprocess_input,
    "resnet50": keras.applications.resnet.preprocess_input,
    "vgg16": keras.applications.vgg16.preprocess_input,
    "densenet121": keras.applications.densenet.preprocess_input,
}


@pytest.fixture(autouse=True)
def _forget_graphs() -> None:
    keras.backend.clear_session()


def test_the_union_and_the_dict_agree() -> None:
    assert {kind: type(backbone) for kind, backbone in SMALL.items()} == BACKBONES
    for kind, backbone in BACKBONES.items():
        assert type(TypeAdapter(Backbone).validate_python({"kind": kind})) is backbone


def test_backbones_are_told_apart_by_their_levels() -> None:
    for one, other in itertools.combinations(BACKBONES.values(), 2):
        assert not set(one.levels.values()) & set(other.levels.values())


@pytest.mark.parametrize(
    ("kind", "channels"), [*((kind, 3) for kind in BACKBONES), ("small_resnet", 1), ("mobilenet", 1), ("vgg16", 1)]
)
def test_levels_have_the_stride_of_their_name_in_a_flat_graph(kind: str, channels: int) -> None:
    image = keras.Input((64, 64, channels), dtype="float32")
    levels = SMALL[kind].features(image)
    model = keras.Model(image, levels)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert list(graphs.feature_levels(model)) == list(levels)
    for level, features in levels.items():
        stride = int(level.removeprefix("stride_"))
        assert features.shape[1:3] == (64 // stride, 64 // stride)


@pytest.mark.parametrize("kind", PREPROCESSING)
def test_normalisation_is_that_of_keras_applications(kind: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3)).astype(np.float32)
    image = keras.Input((5, 4, 3))
    ours = keras.Model(image, backbones.normalise(image, BACKBONES[kind].normalisation))(pixels)
    np.testing.assert_allclose(ours, PREPROCESSING[kind](pixels.copy()), atol=2e-5)


def test_normalisation_survives_a_graph_made_from_its_config() -> None:
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, backbones.normalise(image, backbones.CAFFE))
    again = keras.Model.from_config(model.get_config())
    pixels = np.full((1, 4, 4, 3), 100, np.float32)
    assert np.array_equal(model(pixels), again(pixels))
    assert not model.trainable_weights


def test_grey_normalisation_is_that_of_grey_in_colour() -> None:
    for normalisation in (backbones.CENTRED, backbones.SYMMETRIC, backbones.CAFFE, backbones.STANDARDISED):
        matrix, bias = np.array(normalisation.matrix(3)), np.array(normalisation.bias(3))
        colour = np.full(3, 90.0) @ matrix + bias
        assert 90 * normalisation.matrix(1)[0][0] + normalisation.bias(1)[0] == pytest.approx(colour.mean())


@pytest.mark.parametrize("kind", ["small_resnet", "mobilenet"])
def test_gradients_reach_every_weight(kind: str, build, pictures) -> None:
    model = build(SMALL[kind])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(pictures(4), training=True)[:, 0] ** 2)
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert gradient is not None, weight.name


@pytest.mark.parametrize("kind", ["small_resnet", "mobilenet_v2"])
def test_saved_models_load_the_same(kind: str, build, pictures, tmp_path: Path) -> None:
    model = build(SMALL[kind], pool="gem")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.inputs[0].dtype == tf.uint8
    assert np.array_equal(model(pictures()), again(pictures()))


@pytest.mark.parametrize(
    ("depth", "widths", "blocks"),
    [(8, (16, 32, 64), 1), (20, (16, 32, 64), 3), (56, (16, 32, 64), 9), (10, (8,) * 4, 1)],
)
def test_depth_counts_weighted_layers(depth: int, widths: tuple[int, ...], blocks: int) -> None:
    settings = SmallResNet(depth=depth, widths=widths)
    assert settings.blocks == blocks
    image = keras.Input((32, 32, 3))
    names = [layer.name for layer in keras.Model(image, settings.features(image)).layers]
    assert sum(name.endswith("_conv") and "shortcut" not in name for name in names) == depth - 1  # + the classifier


def test_the_default_is_he_et_als_0_27_million(build) -> None:
    assert build(SmallResNet()).count_params() == pytest.approx(0.27e6, rel=0.02)


@pytest.mark.parametrize("size", [8, 15, 28])
def test_small_pictures_of_any_size(size: int, build, pictures) -> None:
    assert build(SMALL["small_resnet"], size, channels=1)(pictures(3, size, 1)).shape == (3, 5)


@pytest.mark.parametrize("depth", [-4, 2, 9, 19])
def test_a_depth_without_whole_blocks_names_two_that_work(depth: int) -> None:
    with pytest.raises(ValidationError, match=r"2 \+ a multiple of 6, such as (8 or 14|14 or 20)"):
        SmallResNet(depth=depth)


def test_wrong_settings_say_what_is_expected() -> None:
    with pytest.raises(ValidationError, match="at least one channel"):
        SmallResNet(widths=(8, 0, 8))
    with pytest.raises(ValidationError, match=r"expected imagenet or \.h5 or \.keras"):
        MobileNet(weights="imagnet")
    with pytest.raises(ValidationError, match=r"expected \.h5 or \.keras"):
        SmallResNet(weights="imagenet")


def test_too_small_pictures_name_the_network_for_them(build) -> None:
    with pytest.raises(ValueError, match=r"at least 32 x 32 pixels, got 28 x 28 .* small_resnet"):
        build(SMALL["mobilenet"], size=28)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_normalises_and_answers_in_float32(policy: str, build, pictures) -> None:
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = build(SMALL["small_resnet"], pool="gem")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert model.get_layer(backbones.NORMALISE).compute_dtype == "float32"
    assert model.get_layer("stem_conv").compute_dtype == policy.removeprefix("mixed_")
    assert model.outputs[0].dtype == tf.float32
    assert np.isfinite(model(pictures())).all()
