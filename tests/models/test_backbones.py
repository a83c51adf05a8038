"""What holds for every backbone, and what is special to one."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from models import backbones
from models.attention import SqueezeExcite
from models.backbones import BACKBONES, FAMILIES, Backbone, MobileNet, SmallResNet
from models.backbones.costs import facts, flops
from models.stack import keras, tf

SMALL = {
    "small_resnet": SmallResNet(depth=8, widths=(4, 8, 12)),
    "mobilenet": MobileNet(alpha=0.25),
}
PREPROCESSING = {
    "mobilenet": keras.applications.mobilenet.preprocess_input,
    "mobilenet_v2": keras.applications.mobilenet_v2.preprocess_input,
    "resnet50": keras.applications.resnet.preprocess_input,
    "resnet50_v2": keras.applications.resnet_v2.preprocess_input,
    "vgg16": keras.applications.vgg16.preprocess_input,
    "densenet121": keras.applications.densenet.preprocess_input,
    "inception_resnet_v2": keras.applications.inception_resnet_v2.preprocess_input,
}


@pytest.fixture(autouse=True)
def _forget_graphs() -> None:
    keras.backend.clear_session()


def test_the_union_and_the_dict_agree() -> None:
    assert set(get_args(Backbone)) == set(FAMILIES) == set(BACKBONES.values())
    assert len(BACKBONES) == sum(len(family.members) for family in FAMILIES)
    for kind, family in BACKBONES.items():
        backbone = TypeAdapter(Backbone).validate_python({"kind": kind})
        assert (type(backbone), backbone.kind) == (family, kind)


def test_weights_by_name_are_there_where_keras_publishes_the_network() -> None:
    for kind, family in BACKBONES.items():
        application = family.members[kind].application
        assert bool(family.published) == bool(application)
        assert not application or callable(getattr(keras.applications, application))


@pytest.mark.parametrize("kind", PREPROCESSING)
def test_normalisation_is_that_of_keras_applications(kind: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3)).astype(np.float32)
    image = keras.Input((5, 4, 3))
    ours = keras.Model(image, backbones.normalise(image, BACKBONES[kind].members[kind].normalisation))(pixels)
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


def test_a_saved_model_loads_the_same_with_keras_alone(build, pictures, tmp_path: Path) -> None:
    model = build(SMALL["small_resnet"], pool="gem")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.inputs[0].dtype == tf.uint8
    assert np.array_equal(model(pictures()), again(pictures()))


@pytest.mark.parametrize(
    ("depth", "widths", "blocks"),
    [(8, (16, 32, 64), 1), (20, (16, 32, 64), 3), (10, (8,) * 4, 1)],
)
def test_depth_counts_weighted_layers(depth: int, widths: tuple[int, ...], blocks: int) -> None:
    settings = SmallResNet(depth=depth, widths=widths)
    assert settings.blocks == blocks
    image = keras.Input((32, 32, 3))
    names = [layer.name for layer in keras.Model(image, settings.features(image)).layers]
    assert sum(name.endswith("_conv") and "shortcut" not in name for name in names) == depth - 1  # + the classifier


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (56, 0.85)])
def test_weights_are_as_many_as_he_et_als(depth: int, millions: float) -> None:
    """Table 6, which has them without statistics and with shortcuts that cost nothing."""
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, SmallResNet(depth=depth).features(image))
    layers = [layer for layer in model.layers if "shortcut" not in layer.name]
    weights = sum(keras.backend.count_params(weight) for layer in layers for weight in layer.trainable_weights)
    classifier = 64 * 10 + 10
    assert round((weights + classifier) / 1e6, 2) == millions


@pytest.mark.parametrize(("kind", "total"), [("resnet18_v2", 11_183_488), ("resnet34_v2", 21_299_072)])
def test_built_networks_have_the_published_weights(kind: str, total: int) -> None:
    """As keras-cv's presets state them, statistics included."""
    assert facts()[kind].parameters == total


@pytest.mark.parametrize("downsampling", ["strided", "max", "average"])
@pytest.mark.parametrize("size", [16, 13])
def test_stages_halve_the_size_as_they_are_told(downsampling: str, size: int) -> None:
    image = keras.Input((size, size, 3))
    levels = SmallResNet(depth=8, widths=(4, 8, 12), downsampling=downsampling).features(image)
    assert [features.shape[1] for features in levels.values()] == [size, -(-size // 2), -(-size // 4)]
    layers = keras.Model(image, levels).layers
    strided = [layer.name for layer in layers if isinstance(layer, keras.layers.Conv2D) and layer.strides > (1, 1)]
    pools = [type(layer).__name__ for layer in layers if layer.name.endswith("_pool") and layer.pool_size > (1, 1)]
    name = {"max": "MaxPooling2D", "average": "AveragePooling2D"}.get(downsampling)
    assert (
        (strided, pools) == (["stage_2_block_1_1_conv", "stage_3_block_1_1_conv"], [])
        if name is None
        else (
            [],
            [name] * 2,
        )
    )


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


def test_attention_is_inside_the_blocks_of_small_resnet() -> None:
    image = keras.Input((16, 16, 3))
    levels = SmallResNet(depth=8, widths=(4, 8, 12), attention=SqueezeExcite()).features(image)
    model = keras.Model(image, levels)
    attended = {layer.name for layer in model.layers if layer.name.startswith("attention_")}
    assert {f"attention_stage_{stage}_block_1_weighted" for stage in (1, 2, 3)} <= attended
    (branch, _) = model.get_layer("stage_2_block_1_add").input
    assert branch.node.layer.name in attended


def test_weights_of_a_network_without_attention_leave_it_at_its_start(tmp_path: Path) -> None:
    plain = SmallResNet(depth=8, widths=(4, 8, 12))
    image = keras.Input((16, 16, 3))
    first = keras.Model(image, plain.features(image))
    for ending in ("keras", "weights.h5"):
        file = tmp_path / f"model.{ending}"
        first.save(file) if ending == "keras" else keras.Model(image, first.outputs[-1]).save_weights(file)
        again = plain.model_copy(update={"weights": str(file), "attention": SqueezeExcite()}).features(image)
        layer = keras.Model(image, again).get_layer("stem_conv")
        assert np.array_equal(layer.get_weights()[0], first.get_layer("stem_conv").get_weights()[0])


def test_operations_are_those_that_tensorflow_counts() -> None:
    """Of convolutions and products of matrices; its statistics count two for each multiply-add, as ours do."""
    image = keras.Input((64, 64, 3))
    levels = SMALL["mobilenet"].features(image)
    model = keras.Model(image, list(levels.values()))
    traced = tf.function(model).get_concrete_function(tf.TensorSpec((1, 64, 64, 3)))
    kinds = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
    counted = {operation.name: operation for operation in traced.graph.get_operations() if operation.type in kinds}
    from tensorflow.python.framework.ops import get_stats_for_node_def

    expected = sum(
        get_stats_for_node_def(traced.graph, operation.node_def, "flops").value
        for name, operation in counted.items()
        if "normalise" not in name
    )
    assert flops(list(levels.values()), 64) == expected > 1e6


@pytest.mark.parametrize(
    ("kind", "billions"),  # multiply-adds with the classifier, as the papers or torchvision state them
    [
        *(("mobilenet_v2", 0.300), ("efficientnet_b0", 0.39), ("resnet18", 1.81), ("resnet50", 3.86)),
        *(("densenet121", 2.83), ("convnext_tiny", 4.46), ("vgg16", 15.35)),
    ],
)
def test_operations_are_as_published(kind: str, billions: float) -> None:
    assert facts()[kind].flops / 2e9 == pytest.approx(billions, rel=0.02)
