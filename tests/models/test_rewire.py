"""Graphs rebuilt call by call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import rewire
from models.rewire import Call, copy, move, rewired_model, same
from models.stack import keras, tf

layers = keras.layers


@pytest.fixture(autouse=True)
def _forget_graphs() -> None:
    keras.backend.clear_session()


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def branched() -> keras.Model:
    """A shared layer, a layer of several inputs, and two outputs."""
    image = keras.Input((4, 4, 3), name="image")
    twice = layers.Conv2D(3, 3, padding="same", name="twice", bias_initializer="normal")
    x = twice(twice(image))
    x = layers.Add(name="add")([x, image])
    first = layers.Dense(2, name="first")(x)
    second = layers.Concatenate(name="second")([x, first])
    return keras.Model(image, {"first": first, "second": second}, name="branched")


def with_operations() -> keras.Model:
    """Op layers with constants by position, by name, before the tensor, as a slice and as a list of tensors."""
    image = keras.Input((4, 6), name="image")
    x = tf.nn.relu(features=image + 3.0) * (1.0 / 6.0)
    x = tf.math.subtract(1.0, x)
    x = tf.concat([x, image], axis=-1)[:, ::2]
    low, high = tf.split(x, 2, axis=-1)
    return keras.Model(image, tf.math.maximum(low, y=high))


def nested() -> keras.Model:
    inner_input = keras.Input((3,), name="inner_input")
    hidden = layers.Dense(4, name="hidden")(inner_input)
    inner = keras.Model(inner_input, [layers.ReLU(name="relu")(hidden), hidden], name="inner")
    sequential = keras.Sequential([keras.Input((3,)), layers.Dense(3, name="dense")], name="sequential")
    image = keras.Input((3,), name="image")
    positive, raw = inner(sequential(image))
    return keras.Model(image, layers.Subtract(name="out")([positive, raw]))


@pytest.mark.parametrize("replace", [same, copy, move])
@pytest.mark.parametrize(("make", "shape"), [(branched, (2, 4, 4, 3)), (with_operations, (2, 4, 6)), (nested, (2, 3))])
def test_the_rebuilt_graph_answers_the_same(make, shape, replace) -> None:
    model = make()
    names, inputs = model.output_names, [(one.name, one.dtype, one.shape) for one in model.inputs]
    expected = model(numbers(*shape))
    again = rewired_model(model, replace)
    expected = expected if isinstance(expected, dict) else dict(zip(names, [expected], strict=True))
    answers = again(numbers(*shape))
    assert set(answers) == set(expected)
    for name, answer in answers.items():
        np.testing.assert_array_equal(answer, expected[name])
    assert (again.name, again.output_names) == (model.name, names)
    assert [(one.name, one.dtype, one.shape) for one in again.inputs] == inputs
    assert not any(isinstance(layer, keras.Model) for layer in again.layers)


def test_same_shares_weights_and_copy_does_not() -> None:
    model = branched()
    shared, copied = rewired_model(model, same), rewired_model(model, copy)
    assert shared.get_layer("twice") is model.get_layer("twice")
    assert copied.get_layer("twice") is not model.get_layer("twice")
    assert len(copied.weights) == len(model.weights)
    model.get_layer("twice").bias.assign_add([1.0, 1.0, 1.0])
    pixels = numbers(2, 4, 4, 3)
    assert np.array_equal(shared(pixels)["first"], model(pixels)["first"])
    assert not np.array_equal(copied(pixels)["first"], model(pixels)["first"])


def test_moved_layers_have_the_calls_of_the_new_graph_only() -> None:
    model = branched()
    again = rewired_model(model, move)
    assert again.get_layer("add") is model.get_layer("add")
    assert [len(layer.inbound_nodes) for layer in again.layers] == [1, 2, 1, 1, 1]  # `twice` is called twice
    assert again.get_layer("first").output.shape == (None, 4, 4, 2)


def test_a_shared_layer_is_copied_once() -> None:
    again = rewired_model(branched(), copy)
    assert [layer.name for layer in again.layers].count("twice") == 1


def test_the_rebuilt_graph_saves_and_loads(tmp_path: Path) -> None:
    again = rewired_model(nested(), copy)
    again.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(numbers(2, 3))["out"], again(numbers(2, 3))["out"])


def test_calls_carry_their_constants() -> None:
    calls: list[Call] = []

    def watched(call: Call):
        calls.append(call)
        return same(call)

    image = keras.Input((4, 4, 3))
    rewired_model(keras.Model(image, tf.reduce_mean(image * 2.0, [1, 2], keepdims=True)), watched)
    product, mean = calls
    assert product.keywords["y"] == 2.0
    assert (mean.keywords["axis"], mean.keywords["keepdims"]) == ([1, 2], True)
    assert keras.backend.is_keras_tensor(mean.inputs)


def test_a_call_may_become_several_or_none() -> None:
    def replace(call: Call):
        if call.layer.name == "twice":
            return call.inputs
        if call.layer.name == "add":
            return layers.ReLU(name="add_relu")(layers.Average(name="average")(call.inputs))
        return copy(call)

    again = rewired_model(branched(), replace)
    names = [layer.name for layer in again.layers]
    assert {"average", "add_relu"} <= set(names) and not {"twice", "add"} & set(names)
    pixels = numbers(2, 4, 4, 3)
    kernel, bias = again.get_layer("first").get_weights()
    np.testing.assert_allclose(again(pixels)["first"], np.maximum(pixels, 0) @ kernel + bias, atol=1e-5)


def test_a_part_of_a_graph_continues_another() -> None:
    model = branched()
    start = layers.Input((4, 4, 3))
    doubled = layers.Rescaling(2.0)(start)
    (end,) = rewire.rewire([model.get_layer("add").output], {model.inputs[0].ref(): doubled}, same)
    pixels = numbers(2, 4, 4, 3)
    middle = keras.Model(model.inputs, model.get_layer("add").output)
    np.testing.assert_allclose(keras.Model(start, end)(pixels), middle(2 * pixels), atol=1e-5)


def test_starts_cut_the_graph_where_they_are() -> None:
    model = branched()
    begin = keras.Input((4, 4, 3))
    (end,) = rewire.rewire([model.get_layer("first").output], {model.get_layer("add").output.ref(): begin}, same)
    assert [layer.name for layer in keras.Model(begin, end).layers[1:]] == ["first"]


def test_a_missing_start_is_named() -> None:
    with pytest.raises(ValueError, match="rests on the input 'image'"):
        rewire.rewire(branched().outputs, {}, same)


def test_given_inputs_take_the_place_of_the_old_ones() -> None:
    image = keras.Input((4, 4, 3), batch_size=1, name="picture")
    again = rewired_model(branched(), same, [image])
    assert (again.input_names, again.input_shape) == (["picture"], (1, 4, 4, 3))


@pytest.mark.parametrize("replace", [same, copy])
def test_mixed_precision_stays(replace) -> None:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = branched()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    again = rewired_model(model, replace)
    assert again.get_layer("twice").compute_dtype == "bfloat16"
    assert again.get_layer("twice").variable_dtype == "float32"
    assert [output.dtype for output in again.outputs] == [output.dtype for output in model.outputs]


def test_frozen_layers_stay_frozen_in_copies() -> None:
    model = branched()
    model.get_layer("first").trainable = False
    assert not rewired_model(model, copy).get_layer("first").trainable


def test_graphs_may_be_deeper_than_pythons_stack() -> None:
    x = image = keras.Input((1,))
    for _ in range(1200):
        x = layers.ReLU()(x)
    calls: list[Call] = []
    rewire.rewire([x], {image.ref(): image}, lambda call: calls.append(call) or call.inputs)
    assert len(calls) == 1200
