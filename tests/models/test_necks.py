"""Necks: what they compute, for pictures of any size, and that int8 files can hold it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from models import saved
from models.layers import Clip, WeightedSum
from models.necks import FPN, NECKS, PAN, AnyNeck, BiFPN, NeckSettings, levels_for
from models.stack import keras, tf
from pipeline.compress import convert
from pipeline.compress.inspect import inspect_content
from pipeline.predictors import TFLitePredictor

WIDTH = 8


@pytest.fixture(autouse=True)
def _forget_graphs() -> None:
    keras.backend.clear_session()
    keras.utils.set_random_seed(1)


def pyramid(height: int, width: int, *strides: int, channels: int = WIDTH) -> dict[str, tf.Tensor]:
    """Levels as a backbone gives them, each an input."""
    return {
        f"stride_{stride}": keras.Input((-(-height // stride), -(-width // stride), channels), name=f"stride_{stride}")
        for stride in strides
    }


def model_of(neck: NeckSettings, levels: dict[str, tf.Tensor]) -> keras.Model:
    return keras.Model(levels, neck.build(levels))


def features(levels: dict[str, tf.Tensor], least: float = 0.0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(3)
    return {
        name: generator.uniform(least, 1, (2, *level.shape[1:])).astype(np.float32) for name, level in levels.items()
    }


def as_it_is(model: keras.Model) -> keras.Model:
    """Every convolution of the network gives what stands in the middle of its window."""
    for weight in (weight for weight in model.weights if len(weight.shape) == 4):
        kernel = np.zeros(weight.shape, np.float32)
        middle = kernel[kernel.shape[0] // 2, kernel.shape[1] // 2]
        middle[...] = 1.0 if "depthwise" in weight.name else np.eye(*middle.shape)
        weight.assign(kernel)
    return model


def up(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    return x.repeat(2, axis=1).repeat(2, axis=2)[:, : like.shape[1], : like.shape[2]]


def test_the_union_and_the_dict_agree() -> None:
    for kind, settings in NECKS.items():
        assert type(TypeAdapter(AnyNeck).validate_python({"kind": kind})) is settings
    with pytest.raises(ValidationError, match="multiple of 8"):
        FPN(channels=12)


@pytest.mark.parametrize("neck", [FPN(channels=16), PAN(channels=24), BiFPN(channels=16)], ids=lambda neck: neck.kind)
@pytest.mark.parametrize("size", [(64, 96), (50, 71)], ids=str)
def test_names_and_sizes_stay(neck: NeckSettings, size: tuple[int, int]) -> None:
    levels = pyramid(*size, 8, 16, 64)
    mixed = neck.build(levels)
    assert list(mixed) == list(levels)
    for name, level in mixed.items():
        assert level.shape == (None, *levels[name].shape[1:3], neck.channels)
    model = keras.Model(levels, mixed)
    assert not [layer for layer in model.layers if type(layer).__name__ in {"TFOpLambda", "Lambda", "Functional"}]


def test_one_level_alone() -> None:
    for neck in (FPN(), PAN(), BiFPN()):
        keras.backend.clear_session()
        assert neck.build(pyramid(32, 32, 8))["stride_8"].shape == (None, 4, 4, 64)


def test_fpn_adds_coarse_levels_to_fine_ones() -> None:
    levels = pyramid(20, 12, 4, 8, 16)  # 5 x 3, 3 x 2 and 2 x 1 positions
    given = features(levels)
    fine, middle, coarse = given.values()
    mixed = as_it_is(model_of(FPN(channels=WIDTH, use_bn=False), levels))(given)
    np.testing.assert_allclose(mixed["stride_16"], coarse)
    np.testing.assert_allclose(mixed["stride_8"], middle + up(coarse, middle), rtol=1e-6)
    np.testing.assert_allclose(mixed["stride_4"], fine + up(middle + up(coarse, middle), fine), rtol=1e-6)


def test_pan_brings_fine_levels_up_again() -> None:
    levels = pyramid(20, 12, 4, 8)
    given = features(levels)
    fine, coarse = given.values()
    mixed = as_it_is(model_of(PAN(channels=WIDTH, use_bn=False), levels))(given)
    down = fine + up(coarse, fine)  # [2, 5, 3, F]; a stride of 2 sees the middles 0, 2, 4 and 0, 2
    np.testing.assert_allclose(mixed["stride_4"], down, rtol=1e-6)
    np.testing.assert_allclose(mixed["stride_8"], coarse + down[:, ::2, ::2], rtol=1e-6)


def test_bifpn_weighs_what_it_adds() -> None:
    levels = pyramid(24, 24, 4, 8, 16)  # 6, 3 and 2 positions
    given = features(levels)
    fine, middle, coarse = given.values()
    model = as_it_is(model_of(BiFPN(channels=WIDTH, use_bn=False, repeats=1), levels))
    model.get_layer("neck_1_stride_8_down_sum").set_weights([np.float32(1.0), np.float32(3.0)])
    model.get_layer("neck_1_stride_8_out_sum").set_weights(list(np.float32([2.0, 0.0, 6.0])))
    mixed = model(given)
    down_middle = 0.25 * middle + 0.75 * up(coarse, middle)
    down_fine = 0.5 * fine + 0.5 * up(down_middle, fine)
    below = down_fine.reshape(2, 3, 2, 3, 2, WIDTH)
    # Windows of 3 with a stride of 2 begin at each even position and reach into the next window.
    rows = np.maximum(below.max(axis=2), np.concatenate([below[:, 1:, 0], below[:, 2:, 1]], axis=1))
    below = np.maximum(rows.max(axis=3), np.concatenate([rows[:, :, 1:, 0], rows[:, :, 2:, 1]], axis=2))
    np.testing.assert_allclose(mixed["stride_4"], down_fine, rtol=1e-3)
    np.testing.assert_allclose(mixed["stride_8"], 0.25 * middle + 0.75 * below, rtol=1e-3)


def test_separable_convolutions_have_an_eighth_of_the_weights() -> None:
    levels = pyramid(16, 16, 4, 8)
    full, separable = (
        sum(np.prod(weight.shape) for weight in model_of(FPN(convolution=kind), levels).get_layer(name).weights)
        for kind, name in (("full", "neck_stride_4_out_conv"), ("separable", "neck_stride_4_out_conv"))
    )
    assert (full, separable) == (9 * 64 * 64, 64 * 64)


def test_levels_are_chosen_and_added() -> None:
    levels = pyramid(100, 60, 4, 8, 16)
    chosen = levels_for(levels, (8, 16, 64), channels=24)
    assert chosen["stride_8"] is levels["stride_8"]
    assert [tuple(level.shape[1:]) for level in chosen.values()] == [(13, 8, WIDTH), (7, 4, WIDTH), (2, 1, 24)]
    names = [layer.name for layer in keras.Model(levels, chosen).layers]
    assert "extra_stride_32_conv" in names
    with pytest.raises(ValueError, match="no level of stride 2: the backbone has stride_4, stride_8, stride_16"):
        levels_for(levels, (2, 8))


@pytest.mark.parametrize("neck", [FPN(), PAN(), BiFPN()], ids=lambda neck: neck.kind)
def test_levels_of_another_rounding(neck: NeckSettings) -> None:
    levels = {"stride_8": keras.Input((37, 40, WIDTH)), "stride_16": keras.Input((18, 20, WIDTH))}
    with pytest.raises(ValueError, match=r"stride_16, .* has 36 x 40 positions, but stride_8 has 37 x 40.* of 16"):
        neck.build(levels)


def test_weights_of_sums_learn_and_stay_above_zero() -> None:
    layer = WeightedSum()
    one, other = tf.fill((1, 2, 2, 1), 1.0), tf.fill((1, 2, 2, 1), 5.0)
    optimizer = keras.optimizers.legacy.SGD(1.0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(layer([one, other]))  # (a + 5 b) / (a + b)
    gradients = tape.gradient(loss, layer.trainable_variables)
    # By the quotient rule 4 b / (a + b)^2 and its negative, at a = b = 1.
    np.testing.assert_allclose(gradients, [-1.0, 1.0], rtol=1e-3)
    optimizer.apply_gradients(zip([4 * gradient for gradient in gradients], layer.trainable_variables, strict=True))
    np.testing.assert_allclose(layer.shares(), [1.0, 0.0], atol=1e-4)


def test_clip_and_its_gradient() -> None:
    layer = Clip(-2.0, 3.0, name="clip")
    x = tf.constant([[-5.0, -1.0, 2.0, 7.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_array_equal(y, [[-2.0, -1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(tape.gradient(y, x), [[0.0, 1.0, 1.0, 0.0]])
    again = Clip.from_config(layer.get_config())
    assert (again.low, again.high, again.name) == (-2.0, 3.0, "clip")


# ------------------------------------------------------------------------------------------------- in a file


def network(neck: NeckSettings) -> keras.Model:
    """A neck on a small trunk, and a clipped answer of each level."""
    image = x = keras.Input((36, 28, 3), name="image")
    levels = {}
    for stride in (2, 4, 8):
        x = keras.layers.Conv2D(8, 3, 2, "same", activation="relu", name=f"trunk_{stride}")(x)
        levels[f"stride_{stride}"] = x
    mixed = neck.build(levels_for(levels, (4, 8, 16), channels=8))
    answers = {name: keras.layers.Conv2D(3, 1, name=f"{name}_answer")(level) for name, level in mixed.items()}
    model = keras.Model(image, {name: Clip(-2.0, 2.0, name=f"clipped_{name}")(x) for name, x in answers.items()})
    for name, values in keras.Model(image, answers)(pictures(4).astype(np.float32)).items():
        kernel = model.get_layer(f"{name}_answer").kernel
        kernel.assign(kernel * 1.5 / np.std(values))  # so that some are clipped
    return model


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, 36, 28, 3)).astype(np.uint8)


@pytest.mark.parametrize("kind", NECKS)
def test_a_file_in_int8_answers_as_the_network_and_spends_its_levels_within_the_limits(
    kind: str, tmp_path: Path
) -> None:
    given, model = pictures(8), network(NECKS[kind](channels=8))
    path = tmp_path / "model.tflite"
    path.write_bytes(convert.with_input_output(convert.int8_file(model, given), "uint8"))
    file = inspect_content(path.read_bytes())
    assert file.float_operators == 0
    answers, expected = TFLitePredictor(path)({"image": given}), model(given.astype(np.float32))
    for output in file.outputs:
        assert output.scale is not None
        assert output.scale <= 4.0 / 255 * 1.001
        assert np.abs(answers[output.name] - expected[output.name]).mean() <= 0.1  # of 4
        assert np.abs(expected[output.name]).max() == 2.0


def test_a_saved_network_is_loaded(tmp_path: Path) -> None:
    model = network(BiFPN(channels=8))
    model.save(tmp_path / "model.keras")
    given = pictures(2).astype(np.float32)
    loaded = saved.load(tmp_path / "model.keras")(given)
    for name, values in model(given).items():
        np.testing.assert_array_equal(loaded[name], values)
