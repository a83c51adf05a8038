"""Regularisation of a backbone: where it is put, what it does in training, and that nothing of it ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models import heads, losses, penalties, saved
from models.activations import StochasticDepth
from models.backbones import BACKBONES, SmallResNet
from models.regularisation import Regularisation, residual_branches
from models.rewire import nodes_behind
from models.stack import keras, tf
from pipeline.callbacks import ExactValidationLoss
from pipeline.compress import convert
from pipeline.compress.inspect import inspect_content

SIZE = 16
Pictures = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def _forget_graphs() -> None:
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)


def network(**regularisation: float) -> keras.Model:
    """A residual network of four blocks and two levels, with a classifier."""
    image = keras.Input((SIZE, SIZE, 3), name="image")
    backbone = SmallResNet(depth=10, widths=(8, 8), regularisation=regularisation)
    last = list(backbone.features(image).values())[-1]
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(last)
    return keras.Model(image, {"logits": heads.classifier(pooled, 3, 0.0, "logits")})


def of_class(model: keras.Model, kind: type) -> list[Any]:
    return [layer for layer in model.layers if isinstance(layer, kind)]


# ------------------------------------------------------------------------------------------------- stochastic depth


def test_branches_are_left_out_more_often_the_deeper_they_lie() -> None:
    layers = of_class(network(stochastic_depth=0.4), StochasticDepth)
    assert [layer.rate for layer in layers] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    names = [f"stage_{stage}_block_{block}_add_stochastic_depth" for stage in (1, 2) for block in (1, 2)]
    assert [layer.name for layer in layers] == names


def test_it_is_the_branch_that_is_left_out_not_the_shortcut() -> None:
    for layer in of_class(network(stochastic_depth=0.4), StochasticDepth):
        assert layer.input.node.layer.name == layer.name.replace("_add_stochastic_depth", "_2_bn")


@pytest.mark.parametrize(
    ("kind", "blocks"),
    [("resnet18", 8), ("resnet18_v2", 8), ("mobilenet_v2", 10), ("mobilenet_v3_small", 6)],
)
def test_residual_branches_are_found_in_every_family(kind: str, blocks: int) -> None:
    image = keras.Input((64, 64, 3))
    levels = BACKBONES[kind](kind=kind).features(image)
    model = keras.Model(image, levels)
    found = residual_branches(levels)
    assert len(found) == blocks
    for name, place in found.items():
        branch, shortcut = model.get_layer(name).input[place], model.get_layer(name).input[1 - place]
        assert depth_of(branch) > depth_of(shortcut)


def depth_of(tensor: Any) -> int:
    """Layers that it rests on."""
    return len(nodes_behind([tensor]))


def test_a_rate_of_ones_own_takes_the_place_of_the_published_one() -> None:
    image = keras.Input((32, 32, 3))
    kind = "efficientnet_b0"
    model = keras.Model(image, BACKBONES[kind](kind=kind, regularisation={"stochastic_depth": 0.45}).features(image))
    rates = [layer.rate for layer in of_class(model, StochasticDepth)]
    assert rates == pytest.approx(list(np.linspace(0.05, 0.45, 9)))


def test_whole_examples_lose_the_branch_and_the_mean_stays() -> None:
    layer = StochasticDepth(0.25)
    kept = layer(tf.ones([4000, 2, 2, 3]), training=True).numpy()
    first = kept[:, :1, :1, :1]
    assert (kept == first).all()
    assert set(np.unique(first)) == {0.0, np.float32(1 / 0.75)}
    assert kept.mean() == pytest.approx(1.0, abs=0.03)
    assert (layer(tf.ones([4, 2, 2, 3])).numpy() == 1.0).all()


def test_a_network_without_residual_branches_refuses_it() -> None:
    with pytest.raises(ValueError, match="spatial_dropout"):
        BACKBONES["vgg16"](regularisation={"stochastic_depth": 0.1}).features(keras.Input((32, 32, 3)))


# ------------------------------------------------------------------------------------------------- spatial dropout, L2


def test_spatial_dropout_hides_channels_behind_each_level() -> None:
    layers = of_class(network(spatial_dropout=0.5), keras.layers.SpatialDropout2D)
    assert [layer.name for layer in layers] == ["stride_1_spatial_dropout", "stride_2_spatial_dropout"]
    hidden = layers[0](tf.ones([8, 4, 4, 16]), training=True).numpy()
    assert (hidden == hidden[:, :1, :1]).all() and 0 < (hidden == 0).mean() < 1


def test_the_penalty_is_the_sum_of_the_squared_kernels_that_are_trained() -> None:
    model = network(l2=0.01)
    kernels = [weight for weight in model.trainable_weights if "kernel" in weight.name and "logits" not in weight.name]
    assert len(kernels) == 10  # stem, eight convolutions, one shortcut; not the fixed normalisation
    assert model.get_layer("normalise").kernel_regularizer is None
    expected = 0.01 * sum(float(tf.reduce_sum(kernel**2)) for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_the_head_has_a_penalty_of_its_own() -> None:
    features = keras.Input((4,))
    model = keras.Model(features, heads.classifier(features, 3, 0.0, "logits", l2=0.5))
    (kernel, _) = model.weights
    assert float(sum(model.losses)) == pytest.approx(0.5 * float(tf.reduce_sum(kernel**2)))
    assert not keras.Model(features, heads.classifier(features, 3, 0.0, "plain")).losses


def test_depthwise_kernels_have_it_too() -> None:
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, BACKBONES["mobilenet"](alpha=0.25, regularisation={"l2": 0.1}).features(image))
    penalised = [layer for layer in model.layers if layer.losses]
    assert any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in penalised)
    assert len(penalised) == 27


def test_padding_of_the_validation_split_does_not_scale_the_penalty() -> None:
    """Five examples in batches of four: three of padding, which Keras counts with a loss of 0."""
    features = keras.Input((4,))
    model = keras.Model(features, heads.classifier(features, 3, 0.0, "logits", l2=0.5))
    model.compile(keras.optimizers.SGD(0.0), {"logits": losses.ClassLoss(penalties.CrossEntropy())})
    x, targets = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32), np.eye(3, dtype=np.float32)[[0] * 8]
    weights = np.array([1.0] * 5 + [0.0] * 3, np.float32)
    correction = ExactValidationLoss(5, 4)
    history = model.fit(
        x, targets, 4, validation_data=(x, targets, weights), callbacks=[correction], validation_batch_size=4, verbose=0
    )
    exact = float(sum(model.losses)) - float(tf.reduce_mean(tf.nn.log_softmax(model(x[:5]))[:, 0]))
    assert history.history["val_loss"][0] == pytest.approx(exact, rel=1e-5)


# ------------------------------------------------------------------------------------------------- what ships

ALL = {"stochastic_depth": 0.5, "spatial_dropout": 0.5, "l2": 0.01}


def test_weights_and_answers_are_those_of_the_plain_network(pictures: Pictures) -> None:
    plain, regular = network(), network(**ALL)
    for layer in plain.layers:  # by name: the model's own order of layers is another one
        regular.get_layer(layer.name).set_weights(layer.get_weights())
    x = pictures(2, SIZE).astype(np.float32)
    np.testing.assert_array_equal(plain(x)["logits"], regular(x)["logits"])
    assert not np.allclose(regular(x, training=True)["logits"], regular(x, training=True)["logits"])


def test_files_hold_none_of_it(pictures: Pictures) -> None:
    for convert_file in (convert.tflite_file, lambda model: convert.int8_file(model, pictures(2, SIZE))):
        expected, found = (inspect_content(convert_file(model)).operators for model in (network(), network(**ALL)))
        assert found == expected


def test_saved_models_keep_it(pictures: Pictures, tmp_path: Path) -> None:
    model = network(**ALL)
    model.save(tmp_path / "model.keras")
    again = saved.load(tmp_path / "model.keras")
    x = pictures(2, SIZE).astype(np.float32)
    np.testing.assert_array_equal(again(x)["logits"], model(x)["logits"])
    assert float(sum(again.losses)) == pytest.approx(float(sum(model.losses)))
    assert [layer.rate for layer in of_class(again, StochasticDepth)] == [0.125, 0.25, 0.375, 0.5]


def test_none_of_it_leaves_the_network_as_it_is() -> None:
    image = keras.Input((SIZE, SIZE, 3))
    levels = SmallResNet(depth=6, widths=(8, 8)).features(image)
    assert Regularisation().refine(image, levels) == levels


@pytest.mark.parametrize("wrong", [{"stochastic_depth": 1.0}, {"spatial_dropout": -0.1}, {"l2": -1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Regularisation.model_validate(wrong)
