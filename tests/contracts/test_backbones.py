"""What holds for every backbone, with random weights and small pictures; each is built once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models import activations, heads, layers
from models.backbones import BACKBONES, NORMALISE
from models.backbones.costs import facts, measured
from models.graphs import feature_levels, freeze_backbone, unfreeze_from
from models.stack import keras, tf
from tests.contracts.backbones import Built, built

OWN_LAYERS = [one for module in (activations, layers) for one in vars(module).values() if isinstance(one, type)]
KERAS_LAYERS = "tf_keras.src.layers."
"""Where Keras' public layer classes are; those of keras.applications are elsewhere."""

TRAINABLE = {
    "resnet18": 11_689_512 - 513_000,  # torchvision's, without the classifier of 1000 classes
    "resnet34": 21_797_672 - 513_000,
    "efficientnet_lite0": 4_652_008 - 1_281_000,  # the tests of tensorflow/tpu's models/official/efficientnet/lite
    "efficientnet_lite1": 5_416_680 - 1_281_000,
    "efficientnet_lite2": 6_092_072 - 1_281_000,
    "efficientnet_lite3": 8_197_096 - 1_281_000,
    "efficientnet_lite4": 13_006_568 - 1_281_000,
}
"""Trainable weights as published, of networks that are not built by keras.applications."""


@pytest.fixture(scope="module", params=BACKBONES)
def one(request: pytest.FixtureRequest) -> Iterator[Built]:
    yield built(request.param)
    keras.backend.clear_session()


def test_the_graph_is_flat_and_of_named_layers(one: Built) -> None:
    image = one.model.inputs[0]
    assert (image.name, image.dtype) == ("image", tf.uint8)
    for layer in one.model.layers:
        assert type(layer) in (keras.layers.InputLayer, *OWN_LAYERS) or type(layer).__module__.startswith(KERAS_LAYERS)
        assert "lambda" not in type(layer).__name__.lower()
        assert "." not in layer.name  # as the names of op layers have it
        assert len(layer.inbound_nodes) == 1


def test_levels_have_the_stride_of_their_name_and_are_found_again(one: Built) -> None:
    found = feature_levels(one.model)
    assert {level: tensor.node.layer.name for level, tensor in one.levels.items()} == found
    assert len(found) >= 3
    for level, tensor in one.levels.items():
        side, stride = tensor.shape[1], int(level.removeprefix("stride_"))
        unpadded = one.kind == "inception_resnet_v2"
        assert (side <= one.size // stride) if unpadded else (side == one.size // stride)


def test_the_facts_are_those_of_the_graph_and_of_the_publication(one: Built) -> None:
    size = BACKBONES[one.kind].members[one.kind].input_size
    assert measured(one.levels, size) == facts()[one.kind]
    layers = [layer for layer in one.model.layers if layer.name != "logits"]
    trainable = sum(keras.backend.count_params(weight) for layer in layers for weight in layer.trainable_weights)
    assert trainable == TRAINABLE.get(one.kind, trainable)


def test_each_level_can_be_unfrozen(one: Built) -> None:
    freeze_backbone(one.model)
    assert {layer.name for layer in one.model.layers if layer.trainable_weights} == {"logits"}
    counts = []
    for level in reversed(one.levels):
        unfreeze_from(one.model, level)
        counts.append(len(one.model.trainable_weights))
    assert counts[0] >= 2 and counts == sorted(counts)
    assert not one.model.get_layer(NORMALISE).trainable
    assert all(layer.trainable for layer in one.model.layers if layer.name not in (NORMALISE, heads.TO_FLOAT))


def test_no_convolution_has_the_gradient_that_crashes(one: Built) -> None:
    """oneDNN's, of a 1x1 convolution with a stride and fewer than 16 input channels (oneDNN issue 6035)."""
    convolutions = [layer for layer in one.model.layers if isinstance(layer, keras.layers.Conv2D)]
    strided = [layer for layer in convolutions if layer.kernel_size == (1, 1) and max(layer.strides) > 1]
    assert [layer.name for layer in strided if layer.input.shape[-1] < 16] == []
