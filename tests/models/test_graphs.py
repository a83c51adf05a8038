"""Graphs with a float input, frozen in part and quantized."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models import graphs
from models.backbones import VGG, BackboneSettings, MobileNet, ResNet, SmallResNet
from models.stack import keras, tf
from pipeline.compress.convert import tflite_file

TINY = SmallResNet(depth=8, widths=(4, 8, 12))


@pytest.fixture(autouse=True)
def _forget_graphs() -> None:
    keras.backend.clear_session()


def test_float_input_shares_weights_and_answers_the_same(build, pictures) -> None:
    model = build(TINY, pool="average_max")
    floats = graphs.with_float_input(model)
    assert (floats.input_names, floats.inputs[0].dtype, floats.output_names) == (["image"], tf.float32, ["logits"])
    assert not any(isinstance(layer, keras.Model) for layer in floats.layers)
    assert "to_float" not in [layer.name for layer in floats.layers]
    assert floats.get_layer("stem_conv") is model.get_layer("stem_conv")
    assert np.array_equal(model(pictures()), floats(pictures().astype(np.float32)))


def test_float_input_keeps_named_outputs(build, pictures) -> None:
    model = build(TINY)
    serving = keras.Model(model.inputs, {"scores": tf.nn.softmax(model.output)})
    floats = graphs.with_float_input(serving)
    answer = floats(pictures().astype(np.float32))
    assert list(answer) == ["scores"]
    assert np.array_equal(answer["scores"], serving(pictures())["scores"])


def test_float_input_refuses_other_models() -> None:
    image = keras.Input((4,))
    with pytest.raises(ValueError, match="to_float"):
        graphs.with_float_input(keras.Model(image, keras.layers.Dense(1)(image)))


def trainable(model: keras.Model) -> set[str]:
    return {layer.name for layer in model.layers if layer.trainable_weights}


def test_freezing_leaves_the_head(build) -> None:
    model = build(TINY)
    graphs.freeze_backbone(model)
    assert trainable(model) == {"logits"}


def test_unfreezing_a_level_frees_what_comes_after_the_level_before(build) -> None:
    model = build(TINY)
    graphs.unfreeze_from(model, "stride_4")
    assert all(name.startswith("stage_3") or name == "logits" for name in trainable(model))
    assert "stage_3_block_1_shortcut_conv" in trainable(model)
    graphs.unfreeze_from(model, "stride_1")
    assert "stem_conv" in trainable(model)
    assert "normalise" not in trainable(model)


def test_unfreezing_a_layer_frees_it_and_what_does_not_lead_to_it(build) -> None:
    model = build(ResNet())
    graphs.unfreeze_from(model, "conv5_block1_2_conv")
    assert "conv5_block1_2_conv" in trainable(model)
    assert "conv5_block1_0_conv" in trainable(model)  # the shortcut beside it
    assert "conv5_block1_1_conv" not in trainable(model)
    graphs.unfreeze_from(model, "stride_32")
    assert min(trainable(model)) == "conv5_block1_0_bn"


def test_frozen_batch_normalization_is_in_inference_mode(build, pictures) -> None:
    model = build(TINY)
    graphs.freeze_backbone(model)
    before = model.get_layer("stem_bn").get_weights()
    assert np.array_equal(model(pictures(), training=True), model(pictures(), training=False))
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_layer("stem_bn").get_weights(), strict=True))


def test_freezing_works_after_a_graph_was_shared(build) -> None:
    model = build(TINY)
    graphs.with_float_input(model)
    graphs.unfreeze_from(model, "stride_2")
    assert "stem_conv" not in trainable(model)
    assert "stage_2_block_1_1_conv" in trainable(model)


def test_unknown_levels_get_the_nearest_name(build) -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'stride_4'\? Levels: stride_1, stride_2, stride_4"):
        graphs.unfreeze_from(build(TINY), "stride4")
    with pytest.raises(ValueError, match="Did you mean 'stem_conv'"):
        graphs.layers_up_to(build(TINY), "stem_con")


QUANTIZABLE = [TINY, MobileNet(alpha=0.25), VGG()]
"""Every kind of layer in the networks that tfmot knows without help."""


@pytest.mark.parametrize("backbone", QUANTIZABLE, ids=lambda one: one.kind)
def test_quantization_aware_training_accepts_the_graph(backbone: BackboneSettings, build) -> None:
    import tensorflow_model_optimization as tfmot

    floats = graphs.with_float_input(build(backbone))
    quantized = tfmot.quantization.keras.quantize_model(floats)
    assert not quantized.get_layer("quant_normalise").trainable
    assert quantized.output_shape == (None, 5)


@pytest.mark.parametrize("channels", [1, 3])
def test_int8_holds_only_integers_and_normalises_exactly(channels: int, build, pictures) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = graphs.with_float_input(build(TINY, channels=channels))
    samples = pictures(16, 32, channels)
    samples[0], samples[1] = 0, 255

    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([one[None].astype(np.float32)] for one in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8

    interpreter = Interpreter(model_content=tflite_file(model, prepare), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    tensors = interpreter.get_tensor_details()
    assert not [tensor["name"] for tensor in tensors if tensor["dtype"] == np.float32]
    assert interpreter.get_input_details()[0]["quantization"] == (1.0, 0)
    normalised = [
        one for one in tensors if one["quantization"][0] == 1 / 64 and tuple(one["shape"]) == (1, 32, 32, channels)
    ]
    assert normalised, "the normalised picture has another scale than the 1/64 that is exact"
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], samples[2:3])
    interpreter.invoke()
    assert np.array_equal(interpreter.get_tensor(normalised[0]["index"]), samples[2:3].astype(int) - 128)


@pytest.mark.parametrize(("steps", "momenta"), [(90, (0.9, 0.9)), (1000, (0.98, 0.9)), (100_000, (0.999, 0.9))])
def test_statistics_settle_within_a_training(steps: int, momenta: tuple[float, float]) -> None:
    inputs = keras.Input((4,))
    published = keras.layers.BatchNormalization(momentum=0.999)
    ours = keras.layers.BatchNormalization(momentum=0.9)
    graphs.let_statistics_settle(keras.Model(inputs, ours(published(inputs))), steps)
    assert (published.momentum, ours.momentum) == pytest.approx(momenta)
