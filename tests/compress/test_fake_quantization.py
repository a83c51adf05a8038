"""Each kind of layer in a network of its own: one file of them all is made, and looked at output by output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from models.activations import ConstantScale, HardSigmoid, HardSwish, Scale, StochasticDepth
from models.layers import AxisMaximum, AxisMean, Clip, GeneralizedMeanPooling2D, MatrixProduct, WeightedSum
from models.necks import BiFPN
from models.stack import keras
from pipeline.compress import convert
from pipeline.compress.inspect import TfliteFile, inspect_content
from pipeline.compress.qat.layout import fake_quantized
from pipeline.compress.qat.ranges import set_ranges
from pipeline.compress.quantization_aware import prepared, with_output_names
from pipeline.predictors import TFLitePredictor

Tensor = Any
SIZE, CHANNELS = 8, 4
MEAN_STEPS, MOST_STEPS = 0.5, 4.0
"""How far the file may be from the fake-quantized network, in levels of its output."""
layers = keras.layers
UNEVEN = keras.initializers.Constant(
    np.random.default_rng(2).normal(size=(3, 3, CHANNELS, 1)) * 0.2 ** np.arange(CHANNELS)[:, np.newaxis]
)
"""A depthwise kernel whose channels differ by powers of five."""


def conv(x: Tensor, name: str, **settings: Any) -> Tensor:
    return layers.Conv2D(CHANNELS, 3, padding="same", name=name, **settings)(x)


def self_attention(x: Tensor, name: str) -> Tensor:
    tokens = layers.Reshape((SIZE * SIZE, CHANNELS), name=f"{name}_tokens")(x)
    scores = layers.Softmax(name=f"{name}_softmax")(MatrixProduct(transpose=True, name=f"{name}_s")([tokens, tokens]))
    return layers.Reshape((SIZE, SIZE, CHANNELS), name=name)(MatrixProduct(name=f"{name}_v")([scores, tokens]))


def bifpn(x: Tensor, name: str) -> Tensor:
    """The finest level of two, the coarser of which is laid over it."""
    stem = layers.Conv2D(CHANNELS, 1, name=f"{name}_fine")(x)
    levels = {"stride_1": stem, "stride_2": layers.MaxPooling2D(2, name=f"{name}_pool")(stem)}
    # The neck goes on with the coarser level, of which nothing is asked here; behind it are sums of two and of three.
    fine, coarse = BiFPN(channels=8, repeats=2).build(levels).values()
    return layers.Add(name=name)([fine, layers.UpSampling2D(name=f"{name}_up")(coarse)])


def random_bn(name: str) -> keras.layers.Layer:
    """Statistics as different from channel to channel as those of trained networks."""
    spread = keras.initializers.RandomUniform(0.05, 5.0, seed=3)
    shift = keras.initializers.RandomUniform(-1.0, 1.0, seed=4)
    return layers.BatchNormalization(
        name=name, gamma_initializer=spread, beta_initializer=shift, moving_mean_initializer=shift,
        moving_variance_initializer=spread,
    )  # fmt: skip


KINDS: dict[str, Callable[[Tensor, str], Tensor]] = {
    "convolution": lambda x, name: conv(x, name),
    "convolution_relu": lambda x, name: conv(x, name, activation="relu"),
    "convolution_swish": lambda x, name: conv(x, name, activation="swish"),
    "convolution_bn_relu6": lambda x, name: layers.ReLU(6.0, name=name)(
        random_bn(f"{name}_bn")(conv(x, f"{name}_conv"))
    ),
    "depthwise_bn": lambda x, name: random_bn(name)(
        layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=UNEVEN, name=f"{name}_conv")(x)
    ),
    "transposed": lambda x, name: layers.Conv2DTranspose(CHANNELS, 2, 2, name=name)(x),
    "separable": lambda x, name: layers.SeparableConv2D(CHANNELS, 3, padding="same", name=name)(x),
    "dense_sigmoid": lambda x, name: layers.Dense(CHANNELS, "sigmoid", name=name)(
        layers.GlobalAveragePooling2D(name=f"{name}_mean")(x)
    ),
    "bn_alone": lambda x, name: random_bn(name)(layers.MaxPooling2D(2, name=f"{name}_pool")(x)),
    "bn_of_vectors": lambda x, name: random_bn(name)(layers.GlobalAveragePooling2D(name=f"{name}_mean")(x)),
    "layer_normalization": lambda x, name: layers.LayerNormalization(name=name)(x),
    "relu": lambda x, name: layers.ReLU(name=name)(layers.MaxPooling2D(2, name=f"{name}_pool")(x)),
    "leaky_relu": lambda x, name: layers.LeakyReLU(0.25, name=name)(x),
    "prelu": lambda x, name: layers.PReLU(
        shared_axes=[1, 2], alpha_initializer=keras.initializers.Constant([0.0, 0.1, 0.2, 0.4]), name=name
    )(x),
    "relu_activation": lambda x, name: layers.Activation("relu", name=name)(conv(x, f"{name}_conv")),
    "swish": lambda x, name: layers.Activation("swish", name=name)(x),
    "gelu": lambda x, name: layers.Activation("gelu", name=name)(x),
    "tanh": lambda x, name: layers.Activation("tanh", name=name)(x),
    "sigmoid": lambda x, name: layers.Activation("sigmoid", name=name)(x),
    "hard_sigmoid_of_keras": lambda x, name: layers.Activation("hard_sigmoid", name=name)(x),
    "hard_sigmoid": lambda x, name: HardSigmoid(name=name)(x),
    "hard_swish": lambda x, name: HardSwish(name=name)(x),
    "scale": lambda x, name: Scale(0.3, name=name)(x),
    "constant_scale": lambda x, name: ConstantScale(0.17, name=name)(x),
    "stochastic_depth": lambda x, name: layers.Add(name=name)(
        [x, StochasticDepth(0.5, name=f"{name}_depth")(conv(x, f"{name}_conv"))]
    ),
    "spatial_dropout": lambda x, name: layers.SpatialDropout2D(0.5, name=name)(conv(x, f"{name}_conv")),
    "multiply": lambda x, name: layers.Multiply(name=name)(
        [x, layers.Activation("sigmoid", name=f"{name}_gate")(conv(x, f"{name}_conv"))]
    ),
    "subtract_average": lambda x, name: layers.Subtract(name=name)(
        [x, layers.Average(name=f"{name}_average")([x, conv(x, f"{name}_conv")])]
    ),
    "add_relu": lambda x, name: layers.ReLU(name=name)(layers.Add(name=f"{name}_add")([x, conv(x, f"{name}_conv")])),
    "concatenation": lambda x, name: layers.Concatenate(name=name)(
        [x, conv(x, f"{name}_conv", kernel_initializer=keras.initializers.RandomNormal(stddev=3.0, seed=1))]
    ),
    "concatenation_of_pools": lambda x, name: layers.Concatenate(name=name)(
        [layers.MaxPooling2D(2, name=f"{name}_max")(x), layers.AveragePooling2D(2, name=f"{name}_mean")(x)]
    ),
    "concatenation_twice": lambda x, name: layers.Concatenate(name=name)(
        [x, layers.Concatenate(name=f"{name}_first")([conv(x, f"{name}_1"), layers.ReLU(name=f"{name}_relu")(x)])]
    ),
    "mean_over_channels": lambda x, name: AxisMean(-1, name=name)(x),
    "maximum_over_channels": lambda x, name: AxisMaximum(-1, name=name)(x),
    "pools_with_kept_axes": lambda x, name: layers.Add(name=name)(
        [
            layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x),
            layers.GlobalMaxPooling2D(keepdims=True, name=f"{name}_max")(x),
        ]
    ),
    "average_pooling": lambda x, name: layers.AveragePooling2D(2, name=name)(x),
    "upsampling": lambda x, name: layers.UpSampling2D(2, interpolation="bilinear", name=name)(x),
    "clip": lambda x, name: Clip(-0.5, 0.75, name=name)(conv(x, f"{name}_conv")),
    "clip_of_what_others_read": lambda x, name: layers.Add(name=name)([x, Clip(-0.5, 0.5, name=f"{name}_clip")(x)]),
    "weighted_sum": lambda x, name: WeightedSum(name=name)(
        [x, conv(x, f"{name}_conv"), layers.ReLU(name=f"{name}_relu")(x)]
    ),
    "bifpn": bifpn,
    "upsampled_beside_finer": lambda x, name: layers.Concatenate(name=name)(
        [layers.UpSampling2D(name=f"{name}_up")(layers.MaxPooling2D(2, name=f"{name}_pool")(x)), conv(x, f"{name}_1")]
    ),
    "padding_and_cropping": lambda x, name: layers.Cropping2D(1, name=name)(
        conv(layers.ZeroPadding2D(2, name=f"{name}_pad")(x), f"{name}_conv")
    ),
    "generalized_mean": lambda x, name: GeneralizedMeanPooling2D(name=name)(layers.ReLU(name=f"{name}_relu")(x)),
    "self_attention": self_attention,
    "dot": lambda x, name: layers.Dot((1, 1), name=name)(
        [layers.GlobalAveragePooling2D(name=f"{name}_left")(x), layers.GlobalMaxPooling2D(name=f"{name}_right")(x)]
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A file of all kinds, with what it was made of.

    Args:
        simple: the network in simple layers.
        floats, rounded, answers: kind -> outputs of the float network, of the fake-quantized one, and of the file.
        steps: kind -> how far the levels of the file's output are apart.
    """

    simple: keras.Model
    file: TfliteFile
    floats: dict[str, np.ndarray]
    rounded: dict[str, np.ndarray]
    answers: dict[str, np.ndarray]
    steps: dict[str, float]


def network_of_all() -> keras.Model:
    """Each kind behind a convolution of its own: the converter merges what several branches compute alike."""
    image = keras.Input((SIZE, SIZE, 3), name="image")
    outputs = {}
    for seed, (kind, build) in enumerate(KINDS.items()):
        small = keras.initializers.RandomNormal(stddev=0.01, seed=seed)
        outputs[kind] = build(layers.Conv2D(CHANNELS, 1, kernel_initializer=small, name=f"{kind}_stem")(image), kind)
    return keras.Model(image, outputs)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    keras.utils.set_random_seed(5)
    pictures = np.random.default_rng(5).integers(0, 256, (24, SIZE, SIZE, 3)).astype(np.uint8)
    network = network_of_all()
    network.get_layer("weighted_sum").set_weights(list(np.float32([0.5, 2.0, 1.0])))
    simple = prepared(network)
    rounded = fake_quantized(simple)
    set_ranges(rounded, simple, pictures)
    rounded = with_output_names(rounded)
    content = convert.with_input_output(convert.int8_file(rounded, pictures), "uint8")
    path = tmp_path_factory.mktemp("kinds") / "model.tflite"
    path.write_bytes(content)
    file = inspect_content(content)
    floats = pictures.astype(np.float32)
    return Made(
        simple,
        file,
        {name: value.numpy() for name, value in network(floats).items()},
        {name: value.numpy() for name, value in rounded(floats).items()},
        TFLitePredictor(path)({"image": pictures}),
        {output.name: output.scale for output in file.outputs},
    )


def test_no_float_operator_and_only_builtin_ones(made: Made) -> None:
    assert made.file.float_operators == 0
    assert not [name for name in made.file.operators if "Flex" in name or name == "CUSTOM"]
    assert (made.file.inputs[0].dtype, made.file.inputs[0].scale, made.file.inputs[0].zero_point) == ("uint8", 1.0, 0)
    assert {output.dtype for output in made.file.outputs} == {"uint8"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_answers_as_the_fake_quantized_layer(kind: str, made: Made) -> None:
    errors = np.abs(made.answers[kind] - made.rounded[kind]) / made.steps[kind]
    assert errors.mean() <= MEAN_STEPS
    assert errors.max() <= MOST_STEPS


@pytest.mark.parametrize("kind", KINDS)
def test_the_fake_quantized_layer_is_near_the_float_one(kind: str, made: Made) -> None:
    spread = made.floats[kind].max() - made.floats[kind].min()
    assert np.abs(made.rounded[kind] - made.floats[kind]).mean() <= 0.03 * spread


def test_each_channel_of_a_depthwise_kernel_has_255_levels_of_its_own() -> None:
    """tfmot's own configuration has one scale for all, in which the faint channels vanish."""
    image = keras.Input((SIZE, SIZE, CHANNELS), name="image")
    layer = layers.DepthwiseConv2D(3, depthwise_initializer=UNEVEN, name="depthwise")
    quantized = fake_quantized(prepared(keras.Model(image, {"depthwise": layer(image)}))).get_layer("quant_depthwise")
    ((kernel, quantizer, variables),) = quantized._weight_vars
    rounded = quantizer(kernel, training=False, weights=variables)
    largest = np.abs(kernel).max(axis=(0, 1))
    assert np.all(np.abs(rounded - kernel).max(axis=(0, 1)) <= largest / 127 / 2 * 1.001)
    steps = (rounded / (largest / 127)).numpy()
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
