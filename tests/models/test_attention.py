"""Attention behind the levels of networks: what it computes, and that int8 files can hold it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from models import attention, graphs, pooling, saved
from models.attention import ATTENTIONS, Attention, AttentionSettings
from models.backbones import MobileNet, SmallResNet
from models.stack import keras, tf
from pipeline.compress import convert
from pipeline.compress.inspect import inspect_content

CLASSES = 4
SIZE = 16
NETWORK = SmallResNet(depth=6, widths=(8, 16))


@pytest.fixture(autouse=True)
def _forget_graphs() -> None:
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)


def block(kind: str, shape: tuple[int, int, int], **settings: object) -> keras.Model:
    """One block alone, [h, w, F] -> the same."""
    features = keras.Input(shape)
    return keras.Model(features, ATTENTIONS[kind](**settings).attend(features, "attention_one"))


def refined(kind: str, size: int = SIZE) -> tuple[keras.Model, dict[str, tf.Tensor]]:
    """A small network with attention behind its levels, and these."""
    image = keras.Input((size, size, 3), name="image")
    levels = NETWORK.features(image)
    levels = ATTENTIONS[kind]().refine(image, levels)
    pooled = pooling.average(list(levels.values())[-1])
    return keras.Model(image, {"logits": keras.layers.Dense(CLASSES, name="logits")(pooled)}), levels


def features(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def randomised(model: keras.Model) -> keras.Model:
    """The model with weights that make a difference, biases and statistics included."""
    generator = np.random.default_rng(4)
    for weight in model.weights:
        low = 0.5 if "variance" in weight.name else -0.7
        weight.assign(generator.uniform(low, 1.5, weight.shape))
    return model


def test_the_union_and_the_dict_agree() -> None:
    for kind, settings in ATTENTIONS.items():
        assert type(TypeAdapter(Attention).validate_python({"kind": kind})) is settings


# ------------------------------------------------------------------------------------------------- what it computes


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_squeeze_excite() -> None:
    model, x = randomised(block("squeeze_excite", (3, 2, 8), reduction=2)), features(2, 3, 2, 8)
    first, first_bias, second, second_bias = model.get_weights()
    means = x.mean((1, 2))
    gate = sigmoid(np.maximum(means @ first[0, 0] + first_bias, 0) @ second[0, 0] + second_bias)
    assert first.shape == (1, 1, 8, 4)
    np.testing.assert_allclose(model(x), x * gate[:, None, None], rtol=1e-4, atol=1e-5)


def test_eca_weights_channels_by_their_neighbours() -> None:
    model, x = randomised(block("eca", (3, 2, 8))), features(2, 3, 2, 8)
    kernel, bias = model.get_weights()
    means = np.pad(x.mean((1, 2)), ((0, 0), (1, 1)))
    gate = sigmoid(sum(means[:, place : place + 8] * kernel[0, place, 0, 0] for place in range(3)) + bias)
    assert kernel.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(model(x), x * gate[:, None, None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "size"), [(16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)])
def test_the_kernel_of_eca_grows_with_the_channels(channels: int, size: int) -> None:
    """As `int(abs((log2(channels) + 1) / 2))`, made odd upwards, gives them in the authors' code."""
    assert attention.eca_kernel_size(channels) == size


def test_cbam_weights_channels_then_positions() -> None:
    model, x = randomised(block("cbam", (4, 5, 8), kernel_size=3)), features(2, 4, 5, 8)
    first, first_bias, second, second_bias, spatial, spatial_bias = model.get_weights()

    def network(pooled: np.ndarray) -> np.ndarray:  # the last weights halved: the paper sums what here is averaged
        return np.maximum(pooled @ first[0, 0] + first_bias, 0) @ (second[0, 0] / 2) + second_bias / 2

    by_channel = x * sigmoid(network(x.mean((1, 2))) + network(x.max((1, 2))))[:, None, None]
    both = np.stack([by_channel.mean(-1), by_channel.max(-1)], -1)
    gate = tf.sigmoid(tf.nn.conv2d(both, spatial, 1, "SAME") + spatial_bias)
    np.testing.assert_allclose(model(x), by_channel * gate, rtol=1e-4, atol=1e-4)


def test_coordinate_attention_weights_rows_and_columns() -> None:
    model, x = randomised(block("coordinate", (4, 5, 8))), features(2, 4, 5, 8)
    weights = {
        weight.name.removesuffix(":0").removeprefix("attention_one_"): weight.numpy() for weight in model.weights
    }
    scale = weights["reduce_bn/gamma"] / np.sqrt(weights["reduce_bn/moving_variance"] + 1e-3)
    offset = weights["reduce_bn/beta"] - weights["reduce_bn/moving_mean"] * scale

    def gate(means: np.ndarray, name: str) -> np.ndarray:
        hidden = np.maximum(means @ weights["reduce_conv/kernel"][0, 0] * scale + offset, 0)
        return sigmoid(hidden @ weights[f"{name}_excite/kernel"][0, 0] + weights[f"{name}_excite/bias"])

    expected = x * gate(x.mean(2), "row")[:, :, None] * gate(x.mean(1), "column")[:, None]
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)


def test_self_attention_is_that_of_keras() -> None:
    heads, width, channels = 2, 3, 6
    model = randomised(block("self_attention", (2, 4, channels), heads=heads, head_width=width))
    x = features(2, 2, 4, channels)

    def part(name: str) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias of a convolution with its BatchNormalization."""
        kernel = model.get_layer(f"attention_one_{name}_conv").get_weights()[0][0, 0]
        gamma, beta, mean, variance = model.get_layer(f"attention_one_{name}_bn").get_weights()
        scale = gamma / np.sqrt(variance + 1e-3)
        return kernel * scale, beta - mean * scale

    reference = keras.layers.MultiHeadAttention(heads, width)
    rows = x.reshape(2, 8, channels)
    reference(rows, rows)
    weights = []
    for name in ("query", "key", "value"):
        kernel, bias = part(name)
        factor = np.sqrt(width) if name == "query" else 1.0  # which Keras divides by, and here the query's scale learns
        weights += [factor * kernel.reshape(channels, heads, width), factor * bias.reshape(heads, width)]
    kernel, bias = part("output")
    reference.set_weights([*weights, kernel.reshape(heads, width, channels), bias])
    expected = x + np.reshape(reference(rows, rows), x.shape)
    np.testing.assert_allclose(model(x), expected, rtol=1e-3, atol=1e-4)


def test_the_scores_of_self_attention_start_divided_by_the_root_of_the_width() -> None:
    model = block("self_attention", (2, 2, 4), heads=2, head_width=16)
    scales = {part: model.get_layer(f"attention_one_{part}_bn").gamma.numpy() for part in ("query", "key", "value")}
    assert {part: set(scale.tolist()) for part, scale in scales.items()} == {"query": {0.25}, "key": {1}, "value": {1}}


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_features_pass_nearly_unchanged_to_begin_with(kind: str) -> None:
    x = features(2, 8, 8, 16)
    change = np.abs(block(kind, (8, 8, 16))(x) - x).mean() / np.abs(x).mean()
    assert 0 < change < 0.15


# ------------------------------------------------------------------------------------------------- in a network


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_all_that_is_added_is_named_attention_and_no_op_layer(kind: str) -> None:
    image = keras.Input((SIZE, SIZE, 3), name="image")
    plain = {layer.name for layer in keras.Model(image, NETWORK.features(image)).layers}
    model, levels = refined(kind)
    added = {layer.name for layer in model.layers} - plain - {"average_pool", "logits"}
    assert added and all(name.startswith(attention.PREFIX) for name in added)
    assert not [layer.name for layer in model.layers if "OpLambda" in type(layer).__name__]
    assert [tuple(level.shape[1:]) for level in levels.values()] == [(16, 16, 8), (8, 8, 16)]


@pytest.mark.parametrize("kind", ["eca", "self_attention"])
def test_every_coarser_level_rests_on_the_attention_of_the_finer_ones(kind: str) -> None:
    image = keras.Input((32, 32, 3))
    plain = MobileNet(alpha=0.25).features(image)
    levels = ATTENTIONS[kind]().refine(image, plain)
    assert list(levels) == list(plain)
    chosen = {level for level in levels if not ATTENTIONS[kind].last_level_only or level == list(levels)[-1]}
    names = {layer.name for layer in keras.Model(image, list(levels.values())[-1]).layers}
    assert {level for level in levels if any(f"{attention.PREFIX}{level}" in name for name in names)} == chosen


def test_weights_of_the_network_are_kept() -> None:
    image = keras.Input((32, 32, 3))
    plain = MobileNet(alpha=0.25).features(image)
    levels = ATTENTIONS["squeeze_excite"]().refine(image, plain)
    old, new = (keras.Model(image, list(found.values())[-1]) for found in (plain, levels))
    for layer in old.layers:
        again = new.get_layer(layer.name)
        assert again is not layer or not layer.weights or isinstance(layer, keras.layers.InputLayer)
        assert again.trainable == layer.trainable
        for one, other in zip(layer.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_network_with_attention_inside_its_blocks_gets_none_behind_its_levels() -> None:
    image = keras.Input((32, 32, 3))
    levels = NETWORK.features(image)
    assert ATTENTIONS["eca"]().refine(image, levels, has_blocks=True) == levels
    x = keras.Input((8, 8, 8))
    assert ATTENTIONS["self_attention"]().inside(x, "block") is x
    last = ATTENTIONS["self_attention"]().refine(image, levels, has_blocks=True)["stride_2"]
    assert last.node.layer.name == "attention_stride_2_add"


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_gradients_reach_every_weight(kind: str, pictures: Callable[..., np.ndarray]) -> None:
    model, _ = refined(kind)
    with tf.GradientTape() as tape:
        logits = model(pictures(4, SIZE).astype(np.float32), training=True)["logits"]
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy([0, 1, 2, 3], logits, from_logits=True))
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert gradient is not None and np.any(gradient), weight.name


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_saved_models_load_the_same(kind: str, pictures: Callable[..., np.ndarray], tmp_path: Path) -> None:
    model, x = refined(kind)[0], pictures(2, SIZE).astype(np.float32)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(saved.load(tmp_path / "model.keras")(x)["logits"], model(x)["logits"])


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_small_resnet_attends_inside_its_blocks_before_the_addition(kind: str) -> None:
    image = keras.Input((SIZE, SIZE, 3))
    backbone = SmallResNet(depth=6, widths=(8, 8), attention={"kind": kind})
    model = keras.Model(image, backbone.features(image))
    additions = [layer for layer in model.layers if layer.name.startswith("stage_") and layer.name.endswith("_add")]
    sources = [layer.input[0].node.layer.name for layer in additions]
    inside = [name.startswith(f"{attention.PREFIX}stage_") for name in sources]
    assert inside == [not ATTENTIONS[kind].last_level_only] * 2
    behind = [layer.name for layer in model.layers if layer.name.startswith(f"{attention.PREFIX}stride_")]
    assert bool(behind) == ATTENTIONS[kind].last_level_only


def test_attention_is_trained_while_the_backbone_is_frozen(build: Callable[..., keras.Model]) -> None:
    model = build(MobileNet(alpha=0.25, attention={"kind": "eca"}))
    graphs.freeze_backbone(model)
    trained = {layer.name.split("_")[0] for layer in model.layers if layer.trainable and layer.weights}
    assert trained == {"attention", "logits"}


# ------------------------------------------------------------------------------------------------- int8


def smooth_pictures(count: int, size: int) -> np.ndarray:
    """uint8 [count, size, size, 3] with shapes of some pixels' size, as photographs have and noise has not."""
    coarse = np.random.default_rng(0).normal(128, 90, (count, 4, 4, 3))
    return np.clip(tf.image.resize(coarse, (size, size), "bicubic"), 0, 255).astype(np.uint8)


def used(model: keras.Model, pictures: np.ndarray) -> keras.Model:
    """The model with the statistics of these pictures in its BatchNormalizations."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for _ in range(6):
        model(pictures.astype(np.float32), training=True)
    return model


def answers(content: bytes, pictures: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner("serving_default")
    return np.concatenate([runner(image=picture[None].astype(np.float32))["logits"] for picture in pictures])


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_int8_files_hold_no_float_operator_and_answer_alike(kind: str) -> None:
    pictures = smooth_pictures(24, SIZE)
    model = used(refined(kind)[0], pictures)
    content = convert.runnable(convert.int8_file(model, pictures))
    found = inspect_content(content)
    assert found.float_operators == 0
    assert not {name for name in found.operators if "Flex" in name or name == "CUSTOM"}
    expected = model(pictures.astype(np.float32))["logits"].numpy()
    error = np.abs(answers(content, pictures) - expected).mean()
    assert error < 0.1 * expected.std(axis=0).mean()


@pytest.mark.parametrize("pool", pooling.POOLINGS)
def test_poolings_hold_no_float_operator_and_answer_alike(pool: pooling.Pooling) -> None:
    pictures = smooth_pictures(24, SIZE)
    image = keras.Input((SIZE, SIZE, 3), name="image")
    levels = NETWORK.features(image)
    pooled = pooling.POOLINGS[pool](list(levels.values())[-1])
    model = used(keras.Model(image, {"logits": keras.layers.Dense(CLASSES, name="logits")(pooled)}), pictures)
    content = convert.runnable(convert.int8_file(model, pictures))
    assert inspect_content(content).float_operators == 0
    expected = model(pictures.astype(np.float32))["logits"].numpy()
    assert np.abs(answers(content, pictures) - expected).mean() < 0.1 * expected.std(axis=0).mean()


def test_the_generalised_mean_keeps_its_accuracy_in_int8() -> None:
    """Features with long tails, faint channels and dead ones; p from the average's end to the maximum's."""
    generator = np.random.default_rng(0)
    pictures = np.clip(generator.gamma(0.5, 40, (32, 7, 7, 16)), 0, 255).astype(np.uint8)
    pictures[..., :4] //= 8
    pictures *= (generator.random((32, 1, 1, 16)) > 0.2).astype(np.uint8)
    from models.layers import GeneralizedMeanPooling2D

    for power in (1.5, 3.0, 6.0):
        image = keras.Input((7, 7, 16), name="image")
        features = keras.layers.DepthwiseConv2D(1, depthwise_initializer=keras.initializers.Constant(0.02))(image)
        model = keras.Model(image, {"logits": GeneralizedMeanPooling2D(power, name="logits")(features)})
        exact = np.mean(np.maximum(pictures * 0.02, 1e-3) ** power, axis=(1, 2)) ** (1 / power)
        np.testing.assert_allclose(model(pictures.astype(np.float32))["logits"], exact, rtol=1e-4, atol=1e-6)
        error = np.abs(answers(convert.int8_file(model, pictures), pictures) - exact).mean() / exact.mean()
        assert error < 0.02  # the logarithm of the mean of powers without the maximum taken out has 0.01, 0.033, 0.14


def test_settings_have_kinds_of_their_own() -> None:
    assert [settings.model_fields["kind"].default for settings in ATTENTIONS.values()] == list(ATTENTIONS)
    assert all(issubclass(settings, AttentionSettings) for settings in ATTENTIONS.values())
