from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from models import rewire
from models.backbones import SmallResNet
from models.graphs import with_float_input
from models.necks import BiFPN
from models.preprocess import PictureFormat
from models.stack import keras
from pipeline.compress.channel_groups import Channels, channels_of, multiply_adds, without
from pipeline.compress.channel_pruning import ChannelPruned, importances
from pipeline.compress.inspect import inspect_content
from pipeline.compress.post_training import Float32, Int8
from pipeline.compress.quantization_aware import Int8Qat
from pipeline.errors import ConfigError, ExportError
from pipeline.predictors import KerasPredictor
from pipeline.tasks import Classification
from tests.compress.conftest import CLASSES, converted
from tests.compress.test_post_training import answers
from tests.contracts import backbones

SIZE = 32
layers = keras.layers


def lively(network: keras.Model) -> keras.Model:
    """BatchNormalization as after a training: untrained, it hides channels that were mixed up."""
    generator = np.random.default_rng(3)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.moving_mean.shape
            given = [generator.uniform(0.5, 1.5, shape)] if layer.scale else []
            given += [generator.normal(0, 0.3, shape)] if layer.center else []
            layer.set_weights([*given, generator.normal(0, 0.3, shape), generator.uniform(0.5, 1.5, shape)])
    return network


def built(backbone: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    picture = PictureFormat(height=SIZE, width=SIZE)
    task = Classification(class_names=CLASSES, backbone=backbone, picture=picture)
    return lively(rewire.rewired_model(with_float_input(task.build()), rewire.copy))


def zeroed(network: keras.Model, channels: Channels, removed: Iterable[int]) -> keras.Model:
    """The whole network with these units at zero behind every layer that gives them."""
    gone = set(removed)

    def replace(call: rewire.Call) -> Any:
        output = rewire.copy(call)
        units = channels.units(channels.layers[call.layer.name].output)
        mask = np.float32([unit not in gone for unit in units])
        return output if mask.all() else layers.Lambda(lambda x: x * mask)(output)

    return rewire.rewired_model(network, replace)


def answers_of(network: keras.Model) -> list[np.ndarray]:
    pictures = np.random.default_rng(0).uniform(0, 255, (2, *network.input_shape[1:])).astype(np.float32)
    outputs = network(pictures, training=False)
    return [output.numpy() for output in (outputs.values() if isinstance(outputs, dict) else [outputs])]


def pruned_and_zeroed(network: keras.Model, variant: ChannelPruned) -> keras.Model:
    """The pruned network, after it was found to compute what the network computes with those channels at zero."""
    channels = channels_of(network)
    removed = variant.removed(network, channels)
    smaller = without(network, channels, removed)
    for got, expected in zip(answers_of(smaller), answers_of(zeroed(network, channels, removed)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(expected).max()))
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in network.layers]
    return smaller


KINDS = (
    *("small_resnet", "mobilenet", "mobilenet_v3_small", "efficientnet_b0"),
    *("vgg16", "resnet50", "resnet18_v2", "densenet121"),
)
"""A backbone for each way in which networks join channels."""
SETTINGS = {"small_resnet": {"depth": 14, "widths": (8, 12, 16)}}


def part_of(kind: str) -> keras.Model:
    """As much of a backbone as holds all of its kinds of layers, with a classifier."""
    whole = backbones.built(kind, **SETTINGS.get(kind, {}))
    pooled = layers.GlobalAveragePooling2D()(whole.least_with_all_kinds())
    model = keras.Model(whole.model.inputs, {"logits": layers.Dense(3, name="logits")(pooled)})
    return lively(rewire.rewired_model(with_float_input(model), rewire.copy))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pruned_backbone_is_the_whole_one_with_channels_at_zero(kind: str) -> None:
    network = part_of(kind)
    smaller = pruned_and_zeroed(network, ChannelPruned(ratio=0.5))
    assert smaller.count_params() < 0.33 * network.count_params()
    assert multiply_adds(smaller) < 0.33 * multiply_adds(network)


@pytest.mark.parametrize(
    ("kind", "least"),
    [("squeeze_excite", 0.35), ("coordinate", 0.35), ("cbam", 0.8), ("eca", 0.8), ("self_attention", 0.8)],
)
def test_attention_is_pruned_along_or_keeps_what_it_reads_across(kind: str, least: float) -> None:
    network = built(SmallResNet(depth=8, widths=(8, 8, 16), attention={"kind": kind}))
    smaller = pruned_and_zeroed(network, ChannelPruned(ratio=0.5))
    assert smaller.count_params() < least * network.count_params()


def tower(image: Any, name: str, width: int) -> Any:
    x = layers.Conv2D(width, 3, padding="same", name=f"{name}_conv")(image)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.Activation("sigmoid", name=f"{name}_sigmoid")(x)  # not zero at zero


def test_concatenation_depthwise_multiplier_gate_flatten_and_dense() -> None:
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Concatenate(name="both")([tower(image, "left", 6), tower(image, "right", 4)])
    x = layers.DepthwiseConv2D(3, strides=4, depth_multiplier=2, name="depthwise")(x)
    gate = layers.GlobalAveragePooling2D(name="means")(x)
    gate = layers.Reshape((1, 1, 20), name="as_picture")(gate)
    gate = layers.Conv2D(20, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Multiply(name="weighted")([x, gate])
    x = layers.Flatten(name="flat")(layers.AveragePooling2D(2, name="pool")(x))
    x = layers.Dense(8, activation="relu", name="hidden")(x)
    network = lively(keras.Model(image, layers.Dense(3, name="logits")(x)))
    smaller = pruned_and_zeroed(network, ChannelPruned(ratio=0.5))
    assert smaller.get_layer("both").output.shape[-1] == 5
    assert smaller.get_layer("weighted").output.shape[-1] == 10
    assert smaller.get_layer("hidden").units == 4
    assert smaller.output_shape == {"logits": (None, 3)}


def test_a_neck_of_weighted_sums_is_pruned_along() -> None:
    image = keras.Input((SIZE, SIZE, 3), name="image")
    levels = SmallResNet(depth=8, widths=(8, 8, 16)).features(image)
    mixed = BiFPN(channels=16, repeats=1).build(levels)
    heads = {name: layers.Conv2D(3, 1, name=f"{name}_head")(level) for name, level in mixed.items()}
    network = lively(keras.Model(image, heads))
    smaller = pruned_and_zeroed(network, ChannelPruned(ratio=0.5))
    assert multiply_adds(smaller) < 0.4 * multiply_adds(network)
    assert all(smaller.get_layer(f"{name}_head").output.shape[-1] == 3 for name in mixed)


def test_a_shared_layer_is_pruned_once() -> None:
    image = keras.Input((SIZE, SIZE, 3), name="image")
    shared = layers.Conv2D(8, 3, padding="same", name="shared")
    first, second = (layers.Conv2D(6, 3, padding="same", name=name)(image) for name in ("first", "second"))
    x = layers.Add(name="sum")([shared(first), shared(second)])
    x = layers.GlobalAveragePooling2D(name="means")(x)
    network = keras.Model(image, layers.Dense(3, name="logits")(x))
    for name, smallest in (("first", 0), ("second", 3)):  # they disagree on which three channels are the least
        kernel, bias = network.get_layer(name).get_weights()
        kernel[..., smallest : smallest + 3] *= 0.1 if name == "first" else 0.5
        network.get_layer(name).set_weights([kernel, bias])
    smaller = pruned_and_zeroed(network, ChannelPruned(ratio=0.5))
    assert [smaller.get_layer(name).filters for name in ("first", "second", "shared")] == [3, 3, 4]


def test_what_looks_across_channels_keeps_them() -> None:
    image = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Conv2D(8, 3, name="read_across")(image)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.Conv2D(8, 3, groups=2, name="grouped")(x)
    x = layers.Conv2D(8, 3, name="free")(x)
    x = layers.Softmax(name="softmax")(layers.Conv2D(8, 1, name="into_softmax")(x))
    x = layers.GlobalAveragePooling2D(name="means")(x)
    network = keras.Model(image, layers.Dense(3, name="logits")(x))
    smaller = pruned_and_zeroed(network, ChannelPruned(ratio=0.5))
    filters = {layer.name: layer.filters for layer in smaller.layers if hasattr(layer, "filters")}
    assert filters == {"read_across": 8, "grouped": 8, "free": 4, "into_softmax": 8}


def small_network() -> keras.Model:
    """Two filters of known norms, a BatchNormalization of known scales."""
    image = keras.Input((SIZE, SIZE, 1), name="image")
    x = layers.Conv2D(2, 1, use_bias=False, name="conv")(image)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.GlobalAveragePooling2D(name="means")(x)
    network = keras.Model(image, layers.Dense(3, name="logits")(x))
    network.get_layer("conv").set_weights([np.float32([[[[-3.0, 1.0]]]])])
    network.get_layer("bn").gamma.assign([0.5, 1.5])
    return network


@pytest.mark.parametrize(("by", "expected"), [("l1", [1.5, 0.5]), ("l2", [1.5, 0.5]), ("batch_norm", [0.5, 1.5])])
def test_importance_is_relative_to_the_layers_mean(by: str, expected: list[float]) -> None:
    network = small_network()
    channels = channels_of(network)
    units = channels.units(channels.layers["conv"].output)
    found = importances(network, channels, by)
    assert [found[unit] for unit in units] == pytest.approx(expected)
    left = ChannelPruned(ratio=0.5, importance=by).smaller(network).get_layer("conv").get_weights()[0]
    assert left.ravel() == pytest.approx([-3.0] if by != "batch_norm" else [1.0])


def test_l1_and_l2_differ() -> None:
    image = keras.Input((SIZE, SIZE, 2), name="image")
    x = layers.Conv2D(2, 1, use_bias=False, name="conv")(image)
    x = layers.GlobalAveragePooling2D(name="means")(x)
    network = keras.Model(image, layers.Dense(3, name="logits")(x))
    network.get_layer("conv").set_weights([np.float32([[[[3.0, 2.0], [0.0, 2.0]]]])])  # L1 3 and 4, L2 3 and 2.83
    kept = [
        ChannelPruned(ratio=0.5, importance=by).smaller(network).get_layer("conv").get_weights()[0].ravel().tolist()
        for by in ("l1", "l2")
    ]
    assert kept == [[2.0, 2.0], [3.0, 0.0]]


def test_numbers_of_channels_are_rounded_up() -> None:
    network = built(SmallResNet(depth=8, widths=(8, 8, 16)))
    smaller = ChannelPruned(ratio=0.6, multiple_of=4).smaller(network)
    assert {layer.filters for layer in smaller.layers if hasattr(layer, "filters")} == {3, 4, 8}


def test_kept_and_frozen_layers_stay_whole() -> None:
    network = built(SmallResNet(depth=8, widths=(8, 8, 16)))
    network.get_layer("stage_2_block_1_1_conv").trainable = False
    smaller = ChannelPruned(ratio=0.5, keep=("stage_3_block_1_1_conv",)).smaller(network)
    filters = {layer.name: layer.filters for layer in smaller.layers if hasattr(layer, "filters")}
    assert (filters["stage_1_block_1_1_conv"], filters["stage_2_block_1_1_conv"]) == (4, 8)
    assert (filters["stage_3_block_1_1_conv"], filters["stage_3_block_1_2_conv"]) == (16, 8)
    assert filters["normalise"] == 3


@pytest.mark.parametrize("then", [Int8(), Int8Qat(epochs=1)], ids=lambda then: then.kind)
def test_the_file_is_smaller_and_answers(classifier_job, pictures, labels, tmp_path, then) -> None:
    before = classifier_job.model.get_weights()
    variant = ChannelPruned(ratio=0.25, epochs=10, learning_rate=3e-3, then=then)
    made = variant.compress(classifier_job)
    for old, new in zip(before, classifier_job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert len(made.content) < len(converted(Float32(), classifier_job))
    assert made.facts["after"]["parameters"] < 0.65 * made.facts["before"]["parameters"]
    assert f"-> {made.facts['after']['parameters']:,} parameters" in made.says
    assert inspect_content(made.content).float_operators == 0
    scores = answers(made.content, pictures, tmp_path)["scores"]
    assert np.mean(scores.argmax(1) == labels) >= 0.9


def test_without_epochs_the_file_is_the_pruned_network(classifier_job, pictures, tmp_path) -> None:
    variant = ChannelPruned(ratio=0.3, epochs=0, then=Float32())
    smaller = variant.smaller(classifier_job.trunk())
    expected = KerasPredictor(classifier_job.task.serving_model(smaller))({"image": pictures})["scores"]
    got = answers(variant.convert(classifier_job), pictures, tmp_path)["scores"]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_ratio_that_removes_everything(classifier_job) -> None:
    with pytest.raises(ConfigError, match=r"0.97 leaves none of the 8 channels of stage_.*below 0.93,.*`keep`"):
        ChannelPruned(ratio=0.97).convert(classifier_job)
    trunk = classifier_job.trunk()
    with pytest.raises(ConfigError):
        ChannelPruned(ratio=0.939).smaller(trunk)
    assert ChannelPruned(ratio=0.929).smaller(trunk).count_params() < trunk.count_params()


def test_nothing_to_remove(classifier_job) -> None:
    with pytest.raises(ExportError, match="No channel of this network can be removed"):
        ChannelPruned(keep=("*_conv",)).convert(classifier_job)
