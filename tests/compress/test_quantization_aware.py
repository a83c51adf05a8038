from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from models.graphs import with_float_input
from models.rewire import copy, rewired_model
from models.stack import keras, tf
from pipeline.compress import CompressionJob, convert
from pipeline.compress.inspect import inspect_content
from pipeline.compress.quantization_aware import (
    Int8Qat,
    load,
    prepared,
    quantization_aware,
    quantized_training,
    with_output_names,
)
from pipeline.errors import ConfigError, ExportError
from pipeline.predictors import KerasPredictor
from tests.compress.conftest import CLASSES
from tests.compress.stored_kernels import stored_kernels
from tests.compress.test_post_training import answers
from tests.contracts import backbones

COLLABORATIVE = "tensorflow_model_optimization.python.core.quantization.keras.collab_opts"


def file_of(job: CompressionJob, network: keras.Model) -> bytes:
    content = convert.with_decoding(network, job.task, lambda model: convert.int8_file(model, job.calibration))
    return convert.with_input_output(content, "uint8")


def scores_of(job: CompressionJob, network: keras.Model, pictures: np.ndarray) -> np.ndarray:
    return KerasPredictor(job.task.serving_model(network))({"image": pictures})["scores"]


@pytest.mark.parametrize("epochs", [0, 2])
def test_file_agrees_with_the_fake_quantized_network(classifier_job, pictures, tmp_path, epochs):
    before = classifier_job.model.get_weights()
    student = Int8Qat(epochs=epochs).fine_tuned(classifier_job)
    for old, new in zip(before, classifier_job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    content = file_of(classifier_job, student)
    file = inspect_content(content)
    assert file.float_operators == 0
    assert file.operators["QUANTIZE"] == 2  # uint8 to int8 and back; none inside
    assert (file.inputs[0].dtype, file.inputs[0].scale, file.inputs[0].zero_point) == ("uint8", 1.0, 0)
    got, reference = answers(content, pictures, tmp_path)["scores"], scores_of(classifier_job, student, pictures)
    np.testing.assert_allclose(got, reference, atol=0.02)
    assert np.mean(got.argmax(1) == reference.argmax(1)) >= 0.98


def test_fine_tuning_sees_names_and_trains_no_normalisation(classification, classifier, pictures):
    seen = {}

    def fine_tune(model: keras.Model, epochs: int, learning_rate: float, **_: Any) -> None:
        seen.update(inputs=model.input_names, outputs=model.output_names, epochs=epochs, rate=learning_rate)
        seen["trained"] = sorted(variable.name for variable in model.trainable_variables)
        seen["types"] = [tensor.dtype for tensor in model.inputs]

    job = CompressionJob(classification, classifier, pictures[:8], fine_tune, lambda _: 0.0)
    Int8Qat(epochs=3, learning_rate=1e-3).fine_tuned(job)
    assert (seen["inputs"], seen["outputs"], seen["types"]) == (["image"], ["logits"], [tf.float32])
    assert (seen["epochs"], seen["rate"]) == (3, 1e-3)
    kernels = [layer.name for layer in classifier.layers if hasattr(layer, "kernel") and layer.trainable]
    assert "normalise" not in kernels
    assert seen["trained"] == sorted([*(f"{name}/kernel:0" for name in kernels), "logits/bias:0"])


def test_skipped_layers_stay_in_float_and_all_others_do_not(classifier_job, pictures, tmp_path):
    variant = Int8Qat(epochs=1, skip=["stage_2_block_1_1_conv", "logits"])
    content = variant.convert(classifier_job)
    file = inspect_content(content)
    # A convolution and a dense layer, with a Dequantize before and a Quantize behind each.
    assert (file.float_operators, file.operators["QUANTIZE"], file.operators["DEQUANTIZE"]) == (6, 4, 2)
    assert file.inputs[0].dtype == "uint8"
    got = answers(content, pictures, tmp_path)["scores"]
    np.testing.assert_allclose(got, scores_of(classifier_job, variant.fine_tuned(classifier_job), pictures), atol=0.03)


def test_an_unknown_layer_to_skip_is_named_with_the_nearest(classifier_job):
    with pytest.raises(ConfigError, match=r"skip names 'logit'. Did you mean 'logits'\?"):
        Int8Qat(skip=["logit"]).convert(classifier_job)


def test_with_batch_normalization_folded_no_such_layer_is_left(classifier_job, pictures, tmp_path):
    student = Int8Qat(epochs=1, batch_normalization="folded").fine_tuned(classifier_job)
    assert not [layer for layer in student.layers if "bn" in layer.name]
    got = answers(file_of(classifier_job, student), pictures, tmp_path)["scores"]
    np.testing.assert_allclose(got, scores_of(classifier_job, student, pictures), atol=0.02)


def test_ranges_of_activations_are_the_mean_extremes_of_batches():
    from pipeline.compress.qat.ranges import activation_ranges

    image = keras.Input((1,), name="image")
    twice = keras.layers.Dense(1, kernel_initializer="ones", name="double")(keras.layers.Add()([image, image]))
    pictures = np.arange(32, dtype=np.uint8)[:, None]  # two batches: 0..15 and 16..31
    assert activation_ranges(keras.Model(image, twice), pictures)["double"] == (16.0, 46.0)


def test_ranges_of_a_layer_that_is_called_twice_hold_all_of_its_outputs():
    from pipeline.compress.qat.ranges import activation_ranges

    image = keras.Input((1,), name="image")
    shared = keras.layers.Dense(1, kernel_initializer="ones", use_bias=False, name="shared")
    both = keras.layers.Subtract()([shared(image), shared(keras.layers.Add()([image, image]))])
    assert activation_ranges(keras.Model(image, both), np.array([[3], [5]], np.uint8))["shared"] == (3.0, 10.0)


@pytest.mark.parametrize("kept", ["prune", "cluster"])
def test_schemes_of_tfmot_that_preserve_structure_fit(kept, classifier_job):
    module = importlib.import_module(f"{COLLABORATIVE}.{kept}_preserve.default_8bit_{kept}_preserve_quantize_scheme")
    scheme = getattr(module, f"Default8Bit{kept.title()}PreserveQuantizeScheme")()
    network = rewired_model(classifier_job.trunk(), copy)
    for layer in network.layers:
        if hasattr(layer, "kernel"):
            kernel, *others = layer.get_weights()
            step = np.abs(kernel).max() / 3
            layer.set_weights([np.round(kernel / step) * step, *others])  # seven values, zero among them
    student = quantized_training(classifier_job, network, 1, 1e-3, scheme)
    inner = stored_kernels(file_of(classifier_job, student))[1:]  # but for the fixed normalisation
    layers = [layer for layer in network.layers if hasattr(layer, "kernel")][1:]
    for kernel, layer in zip(inner, layers, strict=True):
        expected = np.moveaxis(layer.get_weights()[0], -1, 0)
        assert np.all(kernel.reshape(expected.shape)[expected == 0] == 0)


def test_a_saved_network_reloads_and_trains_on(classifier_job, pictures, labels, tmp_path):
    student = Int8Qat(epochs=1).fine_tuned(classifier_job)
    student.save(tmp_path / "student.keras")
    loaded = load(tmp_path / "student.keras")
    assert [one.shape for one in loaded.trainable_weights] == [one.shape for one in student.trainable_weights]
    floats = pictures.astype(np.float32)
    np.testing.assert_array_equal(loaded(floats)["logits"], student(floats)["logits"])
    for model in (student, loaded):
        keras.utils.set_random_seed(3)
        classifier_job.fine_tune(model, 1, 1e-3)
    np.testing.assert_allclose(loaded(floats)["logits"], student(floats)["logits"], atol=1e-4)
    assert inspect_content(file_of(classifier_job, loaded)).float_operators == 0


def test_an_interrupted_training_resumes_from_its_checkpoint(classifier_job, pictures, labels, tmp_path):
    """Weights, ranges and the optimizer's state: two epochs with a break in between are two epochs."""
    floats, targets = pictures.astype(np.float32), {"logits": np.eye(len(CLASSES))[labels]}

    def student() -> tuple[keras.Model, tf.train.Checkpoint]:
        model = with_output_names(quantization_aware(classifier_job.trunk()))
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss, run_eagerly=True)  # two steps are not worth tracing
        return model, tf.train.Checkpoint(model=model, optimizer=model.optimizer)

    def epoch(model: keras.Model) -> None:
        model.fit(floats, targets, batch_size=32, shuffle=False, verbose=0)

    whole, _ = student()
    epoch(whole)
    epoch(whole)
    first, before = student()
    epoch(first)
    path = before.write(str(tmp_path / "checkpoint"))
    second, after = student()
    second.optimizer.build(second.trainable_variables)
    after.read(path).assert_existing_objects_matched()
    epoch(second)
    for one, two in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "alpha"), [("mobilenet", 0.25), ("mobilenet_v2", 0.35)])
def test_every_convolution_of_a_backbone_is_quantized(kind: str, alpha: float) -> None:
    whole = backbones.built(kind, alpha=alpha)
    network = with_float_input(keras.Model(whole.model.inputs, whole.levels["stride_8"]))  # what follows is the same
    names = {layer.name for layer in quantization_aware(network).layers}
    weighted = {
        layer.name for layer in network.layers if hasattr(layer, "kernel") or hasattr(layer, "depthwise_kernel")
    }
    assert {f"quant_{name}" for name in weighted} <= names


def test_a_layer_that_nobody_can_quantize_is_named_with_the_way_out(classification):
    image = keras.Input((16, 16, 3), name="image")
    x = keras.layers.Lambda(lambda x: x * x, name="wave")(image)
    x = keras.layers.Activation("softplus", name="soft")(x)
    network = keras.Model(image, {"logits": keras.layers.GlobalAveragePooling2D(name="logits")(x)})
    with pytest.raises(
        ExportError, match=r"2 layers .*: wave \(Lambda\), soft \(Activation softplus\).*--check.*int16x8"
    ):
        prepared(network)
