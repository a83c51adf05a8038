from __future__ import annotations

import numpy as np
import pytest

from models.backbones import MobileNet, MobileNetV2, ResNet50
from models.graphs import with_float_input
from models.preprocess import PictureFormat
from models.stack import keras, tf
from pipeline.compress import CompressionJob, convert
from pipeline.compress.inspect import inspect_content
from pipeline.compress.quantization_aware import Int8Qat, activation_ranges, quantization_aware, with_fixed_statistics
from pipeline.errors import ExportError
from pipeline.predictors import KerasPredictor
from pipeline.tasks import Classification
from pipeline.tasks.pooled import PooledHead
from tests.compress.conftest import CLASSES, job_of, network, trained_classifier
from tests.compress.test_post_training import answers


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


def test_convert_gives_a_file_near_the_trained_model(classifier_job, pictures, tmp_path):
    scores = answers(Int8Qat(epochs=1).convert(classifier_job), pictures, tmp_path)["scores"]
    reference = KerasPredictor(classifier_job.task.serving_model(classifier_job.model))({"image": pictures})["scores"]
    assert np.mean(scores.argmax(1) == reference.argmax(1)) >= 0.95


def test_fine_tuning_sees_names_and_trains_no_normalisation(classification, classifier, pictures):
    seen = {}

    def fine_tune(model: keras.Model, epochs: int, learning_rate: float) -> None:
        seen.update(inputs=model.input_names, outputs=model.output_names, epochs=epochs, rate=learning_rate)
        seen["trained"] = sorted(variable.name for variable in model.trainable_variables)
        seen["types"] = [tensor.dtype for tensor in model.inputs]

    job = CompressionJob(classification, classifier, pictures[:8], fine_tune)
    Int8Qat(epochs=3, learning_rate=1e-3).fine_tuned(job)
    assert (seen["inputs"], seen["outputs"], seen["types"]) == (["image"], ["logits"], [tf.float32])
    assert (seen["epochs"], seen["rate"]) == (3, 1e-3)
    kernels = [layer.name for layer in classifier.layers if hasattr(layer, "kernel") and layer.trainable]
    assert "normalise" not in kernels
    assert seen["trained"] == sorted([*(f"quant_{name}/kernel:0" for name in kernels), "quant_logits/bias:0"])


def test_ranges_of_activations_are_the_mean_extremes_of_batches():
    image = keras.Input((1,), name="image")
    student = keras.Model(image, keras.layers.Dense(1, kernel_initializer="ones", name="double")(image + image))
    pictures = np.arange(32, dtype=np.uint8)[:, None]  # two batches: 0..15 and 16..31
    assert activation_ranges(student, pictures)["double"] == (16.0, 46.0)


def test_network_trained_on_two_replicas(classification, pictures, labels, tmp_path):
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("TensorFlow was started with one logical CPU by an earlier test")
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = trained_classifier(classification, pictures, labels)
    job = job_of(classification, model, pictures, labels, scope=strategy.scope)
    student = Int8Qat(epochs=1).fine_tuned(job)
    got = answers(file_of(job, student), pictures, tmp_path)["scores"]
    np.testing.assert_allclose(got, scores_of(job, student, pictures), atol=0.02)


@pytest.mark.parametrize(
    "backbone", [MobileNet(alpha=0.25), MobileNetV2(alpha=0.35), pytest.param(ResNet50(), marks=pytest.mark.slow)]
)
def test_backbones_are_quantized_throughout(backbone):
    task = Classification(class_names=CLASSES, backbone=backbone, picture=PictureFormat(height=32, width=32))
    student = quantization_aware(with_fixed_statistics(with_float_input(task.build())))
    names = {layer.__class__.__name__ for layer in student.layers}
    assert names == {"InputLayer", "QuantizeLayer", "QuantizeWrapperV2"}


def test_refused_layer_is_named():
    picture, head = PictureFormat(height=16, width=16), PooledHead(pooling="gem")
    task = Classification(class_names=CLASSES, backbone=network(), picture=picture, head=head)
    with pytest.raises(ExportError, match=r"Layer gem.*mobilenet_v2.*int16x8"):
        quantization_aware(with_fixed_statistics(with_float_input(task.build())))
