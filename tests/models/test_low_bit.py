"""Layers that compute with rounded weights: what they round to, and what gradients they give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.low_bit import KERNELS, BinaryWeights, QuantizedWeights, kernel_of, rows_of
from models.stack import keras, tf

layers = keras.layers
WRAPPABLE = {
    "Conv2D": lambda: layers.Conv2D(5, (3, 2), name="one"),
    "DepthwiseConv2D": lambda: layers.DepthwiseConv2D((3, 2), depth_multiplier=2, name="one"),
    "Dense": lambda: layers.Dense(5, name="one"),
    "Conv2DTranspose": lambda: layers.Conv2DTranspose(5, (3, 2), name="one"),
}


def dense(rows: list[list[float]], wrapper: type = QuantizedWeights, **settings: Any) -> Any:
    """A wrapped dense layer; each row holds the weights of one output."""
    wrapping = wrapper(layers.Dense(len(rows), use_bias=False, name="one"), **settings)
    wrapping.build((None, len(rows[0])))
    wrapping.kernel.assign(np.array(rows, np.float32).T)
    return wrapping


def test_by_hand_weights_are_rounded_to_their_channels_grid() -> None:
    layer = dense([[0.0, 0.24, -0.26, 9.0], [1.0, -3.0, 0.49, 0.51]])
    layer.set_steps(np.array([[[0.5]], [[1.0]]]))
    expected = [[0.0, 0.0, -0.5, 3.5], [1.0, -3.0, 0.0, 1.0]]
    np.testing.assert_allclose(layer.rounded(), np.array(expected).T, rtol=1e-6)
    np.testing.assert_allclose(layer(np.array([[1.0, 1.0, 1.0, 2.0]])), [[6.5, 0.0]], rtol=1e-6)
    codes, _ = layer.codes_and_scales(layer.latent_rows())
    np.testing.assert_array_equal(codes[:, 0], [[0, 0, -1, 7], [1, -3, 0, 1]])


def test_by_hand_each_block_has_its_own_step() -> None:
    layer = dense([[1.2, -7.9, 0.12, 0.3]], block=2)
    layer.set_steps(np.array([[[1.0], [0.1]]]))
    np.testing.assert_allclose(layer.rounded(), np.array([[1.0, -7.0, 0.1, 0.3]]).T, rtol=1e-6)


def test_eight_bits_reach_to_127() -> None:
    layer = dense([[126.6, -300.0]], limit=127)
    layer.set_steps(np.array([[[1.0]]]))
    np.testing.assert_allclose(layer.rounded(), [[127.0], [-127.0]], rtol=1e-6)


def test_gradients_are_those_of_learned_step_size() -> None:
    """Esser et al. 2020, equations 3 and 5: 1 within the grid for a weight, and for its step the rounding's error."""
    layer = dense([[0.3, 2.0, -9.0]])
    layer.set_steps(np.array([[[0.5]]]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer.rounded() * np.array([[1.0], [10.0], [100.0]], np.float32))
    of_weights, of_step = tape.gradient(total, [layer.kernel, layer.log_step])
    np.testing.assert_allclose(of_weights, [[1.0], [10.0], [0.0]], rtol=1e-5)
    pulls = 1.0 * (1 - 0.6) + 10.0 * 0.0 + 100.0 * -7  # round(v/s) - v/s inside, the limit outside
    np.testing.assert_allclose(of_step, [[[0.5 * pulls / np.sqrt(3 * 7)]]], rtol=1e-4)


def test_by_hand_binary_weights_are_signs_times_the_mean_magnitude() -> None:
    layer = dense([[0.5, -1.0, 0.0, 2.5], [-0.1, -0.1, 0.1, 0.3]], BinaryWeights)
    expected = np.array([[1.0, -1.0, 1.0, 1.0], [-0.15, -0.15, 0.15, 0.15]]).T
    np.testing.assert_allclose(layer.rounded(), expected, rtol=1e-6)


def test_binary_layers_harden_by_and_by() -> None:
    layer = dense([[0.5, -1.5]], BinaryWeights)
    for share, expected in {0.0: [0.5, -1.5], 0.5: [0.75, -1.25], 1.0: [1.0, -1.0]}.items():
        layer.share.assign(share)
        np.testing.assert_allclose(layer.rounded()[:, 0], expected, rtol=1e-6)


def test_gradients_pass_the_sign_but_not_for_weights_far_out() -> None:
    layer = dense([[0.1, -0.1, 5.0]], BinaryWeights, reach=2.0)
    with tf.GradientTape() as tape:
        signs, _ = layer.codes_and_scales(layer.latent_rows())
        total = tf.reduce_sum(signs)
    gradient = tape.gradient(total, layer.kernel)[:, 0].numpy()
    # The third's own magnitude moves the mean that the others are measured by; without it, it gets none.
    assert (gradient[:2] != 0).all()
    assert abs(gradient[2]) < abs(gradient[0])


@pytest.mark.parametrize("kind", WRAPPABLE)
def test_rows_are_output_channels_in_the_order_of_a_file(kind: str) -> None:
    layer = WRAPPABLE[kind]()
    layer.build((None, 6, 6, 4))
    kernel = np.arange(np.prod(getattr(layer, KERNELS[kind]).shape), dtype=np.float32)
    kernel = kernel.reshape(getattr(layer, KERNELS[kind]).shape)
    by_hand = {
        "Conv2D": lambda: [kernel[:, :, :, channel].ravel() for channel in range(5)],
        "DepthwiseConv2D": lambda: [kernel[:, :, source, turn].ravel() for source in range(4) for turn in range(2)],
        "Dense": lambda: [kernel[:, channel] for channel in range(5)],
        "Conv2DTranspose": lambda: [kernel[:, :, channel, :].ravel() for channel in range(5)],
    }
    rows = rows_of(kernel, kind)
    np.testing.assert_array_equal(rows, by_hand[kind]())
    np.testing.assert_array_equal(kernel_of(rows, kind, kernel.shape), kernel)


@pytest.mark.parametrize("kind", WRAPPABLE)
@pytest.mark.parametrize("wrapper", [QuantizedWeights, BinaryWeights])
def test_a_wrapped_layer_computes_as_the_plain_one_with_rounded_weights(wrapper: type, kind: str) -> None:
    inputs = np.random.default_rng(1).normal(0, 1, (2, 6, 6, 4)).astype(np.float32)
    wrapping, plain = wrapper(WRAPPABLE[kind]()), WRAPPABLE[kind]()
    found = wrapping(inputs)
    assert wrapping.name == "one"
    plain(inputs)
    plain.set_weights([wrapping.rounded(), *wrapping.layer.get_weights()[1:]])
    np.testing.assert_allclose(found, plain(inputs), rtol=1e-5, atol=1e-6)
    assert isinstance(wrapping.kernel, tf.Variable)


@pytest.mark.parametrize("wrapper", [QuantizedWeights, BinaryWeights])
def test_it_learns_saves_and_loads(wrapper: type, tmp_path: Any) -> None:
    image = keras.Input((6, 6, 4))
    wrapping = wrapper(layers.Conv2D(5, 3, name="one"))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(wrapping(image)))
    inputs, targets = np.random.default_rng(2).normal(0, 1, (16, 6, 6, 4)), np.ones((16, 5))
    model.compile("adam", "mse")
    before = [weight.numpy() for weight in model.trainable_weights]
    losses = model.fit(inputs, targets, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    names = {weight.name.split("/")[-1].split(":")[0] for weight in model.trainable_weights}
    assert names == {"kernel", "bias"} | ({"log_step"} if wrapper is QuantizedWeights else set())
    for old, new in zip(before, model.trainable_weights, strict=True):
        assert np.abs(old - new.numpy()).max() > 0
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(inputs), model(inputs))


def test_a_frozen_layer_stays_frozen() -> None:
    wrapping = QuantizedWeights(layers.Dense(3, trainable=False))
    wrapping.build((None, 4))
    assert not wrapping.trainable_weights


def test_layers_of_other_classes_and_blocks_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="got SeparableConv2D 'other'"):
        QuantizedWeights(layers.SeparableConv2D(3, 3, name="other"))
    with pytest.raises(ValueError, match=r"Blocks of 5 weights do not divide the 12 weights .* 'one'"):
        QuantizedWeights(layers.Dense(3, name="one"), block=5).build((None, 12))
