from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.stack import keras, tf
from pipeline.compress import VARIANTS, CompressionJob, CompressSettings
from pipeline.compress.base import SAVED_MODELS
from pipeline.compress.calibration import Percentile
from pipeline.compress.convert import tflite_file
from pipeline.compress.inspect import TfliteFile, inspect_content
from pipeline.compress.post_training import DynamicInt8, Float16, Float32, Float32FineTuned, Int8, Int16x8
from pipeline.errors import ExportError
from pipeline.predictors import TFLitePredictor
from tests.compress.conftest import converted, job_of, predictor_of


def answers(content: bytes, pictures: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    file = folder / "model.tflite"
    file.write_bytes(content)
    return TFLitePredictor(file)({"image": pictures})


def expected(job: CompressionJob, pictures: np.ndarray) -> dict[str, np.ndarray]:
    return predictor_of(job)({"image": pictures})


def interface(file: TfliteFile) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(tensor.name, tensor.dtype, tensor.shape) for tensor in (*file.inputs, *file.outputs)]


@pytest.mark.parametrize(
    ("variant", "dtype", "tolerance"),
    [
        (Float32(), "float32", 1e-5),
        (Float16(), "float32", 2e-3),
        (DynamicInt8(), "float32", 0.02),
        (Int8(), "uint8", 0.05),
        (Int8(input_output="int8"), "int8", 0.05),
        (Int8(input_output="float32"), "float32", 0.05),
        (Int16x8(), "float32", 0.02),
    ],
    ids=lambda value: value.variant_name if hasattr(value, "kind") else None,
)
def test_classifier(classifier_job, pictures, tmp_path, variant, dtype, tolerance):
    content = converted(variant, classifier_job)
    file = inspect_content(content)
    assert interface(file) == [("image", dtype, (1, 16, 16, 3)), ("scores", dtype, (1, 3))]
    got, reference = answers(content, pictures, tmp_path), expected(classifier_job, pictures)
    assert got["scores"].dtype == np.float32
    np.testing.assert_allclose(got["scores"], reference["scores"], atol=tolerance)
    assert np.mean(got["scores"].argmax(1) == reference["scores"].argmax(1)) >= 0.95


@pytest.mark.parametrize("variant", [Int8(), Int8(input_output="int8"), Int8(input_output="float32"), Int16x8()])
def test_no_float_operator_is_left_inside(classifier_job, variant):
    file = inspect_content(converted(variant, classifier_job))
    assert (file.float_operators, file.decode_operators) == (0, 0)
    assert file.operators["CONV_2D"] == 10  # BatchNormalization, ReLU folded; two shortcuts; the normalisation
    assert file.operators.get("QUANTIZE", 0) <= 2
    assert file.operators.get("DEQUANTIZE", 0) <= 1


def test_uint8_input_is_the_pictures_own_bytes(classifier_job, pictures):
    """Though no calibration picture is darker than 5 or brighter than 240."""
    assert (classifier_job.calibration.min(), classifier_job.calibration.max()) == (5, 240)
    image = inspect_content(converted(Int8(), classifier_job)).inputs[0]
    assert (image.scale, image.zero_point) == (1.0, 0)
    image = inspect_content(converted(Int8(input_output="int8"), classifier_job)).inputs[0]
    assert (image.scale, image.zero_point) == (1.0, -128)


def test_trained_model_is_left_as_it_is(classifier_job):
    before = classifier_job.model.get_weights()
    Int8().convert(classifier_job)
    for old, new in zip(before, classifier_job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_model_of_mixed_precision(classification, classifier, classifier_job, pictures, labels, tmp_path, policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        mixed = classification.build()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    mixed.set_weights(classifier.get_weights())
    job = job_of(classification, mixed, pictures, labels)
    scores = expected(classifier_job, pictures)["scores"]
    np.testing.assert_allclose(answers(Float32().convert(job), pictures, tmp_path)["scores"], scores, atol=1e-5)
    np.testing.assert_allclose(answers(Int8().convert(job), pictures, tmp_path)["scores"], scores, atol=0.05)


def test_variants_of_int8_answer_alike(classifier_job, pictures, tmp_path):
    scores = [
        answers(converted(Int8(input_output=dtype), classifier_job), pictures, tmp_path)["scores"]
        for dtype in ("uint8", "int8", "float32")
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def test_sizes_fall(classifier_job):
    sizes = [len(converted(variant, classifier_job)) for variant in (Float32(), Float16(), Int8())]
    assert sizes[0] > 1.3 * sizes[1] > 1.3 * sizes[2]


@pytest.mark.parametrize("variant", [Float32(), Float16(), DynamicInt8(), Int8(), Int16x8()])
def test_targets_of_unlike_units_survive(regressor_job, pictures, tmp_path, variant):
    """Each target errs by less than a twentieth of its own standard deviation. Folded into one int8 tensor, the first
    would be 0 throughout; as a float16 bias, the mean of the third would overflow."""
    content = converted(variant, regressor_job)
    got, reference = answers(content, pictures, tmp_path)["values"], expected(regressor_job, pictures)["values"]
    error = np.abs(got - reference) / np.array(regressor_job.task.value_std)
    assert error.mean(axis=0).max() < 0.05, error.mean(axis=0)
    assert inspect_content(content).outputs[0].dtype == "float32"


def test_decoding_of_a_regression_is_float_behind_the_network(regressor_job):
    file = inspect_content(converted(Int8(), regressor_job))
    assert (file.float_operators, file.decode_operators) == (0, 2)
    assert file.inputs[0].dtype == "uint8"


def test_operator_that_is_not_builtin_is_named():
    image = keras.Input((2, 2), name="image")
    model = keras.Model(image, {"values": tf.linalg.det(image) + tf.linalg.logdet(image)})
    with pytest.raises(ExportError, match=r"^The model needs Cholesky, MatrixDeterminant, MatrixDiagPartV3, which"):
        tflite_file(model)


def test_names_of_variants_must_differ():
    with pytest.raises(ValueError, match="two variants are called int8"):
        CompressSettings(variants=(Int8(), Int8(input_output="int8")))
    settings = CompressSettings(variants=(Int8(), Int8(name="int8_signed", input_output="int8")))
    assert [variant.variant_name for variant in settings.variants] == ["int8", "int8_signed"]


@pytest.mark.parametrize("name", ["../export", "a/b", "", ".hidden", "two words", "-v"])
def test_the_name_of_a_variant_stays_inside_the_run(name):
    with pytest.raises(ValueError, match="cannot name a file: use letters"):
        CompressSettings.model_validate({"variants": [{"kind": "int8", "name": name}]})


@pytest.mark.parametrize("name", SAVED_MODELS)
def test_no_variant_takes_the_name_of_the_saved_model(name):
    with pytest.raises(ValueError, match="what `verify` calls the SavedModel"):
        CompressSettings.model_validate({"variants": [{"kind": "int8", "name": name}]})


def test_list_of_variants_is_that_of_the_kinds():
    assert {kind: variant().variant_name for kind, variant in VARIANTS.items()} == {kind: kind for kind in VARIANTS}


def test_the_fine_tuned_float_model_has_trained_on_and_its_statistics_have_not(classifier_job, pictures, tmp_path):
    seen = {}

    def fine_tune(model, epochs, learning_rate, **_):
        seen.update(epochs=epochs, rate=learning_rate, names=model.output_names, dtype=model.inputs[0].dtype)
        layers = keras.layers.BatchNormalization
        seen["frozen"] = not any(layer.trainable for layer in model.layers if isinstance(layer, layers))
        model.get_layer("logits").bias.assign([0.0, 0.0, 1000.0])

    variant = Float32FineTuned(epochs=3, learning_rate=1e-3)
    before = classifier_job.model.get_weights()
    content = variant.convert(replace(classifier_job, fine_tune=fine_tune))
    assert seen == {"epochs": 3, "rate": 1e-3, "names": ["logits"], "dtype": tf.float32, "frozen": True}
    assert set(answers(content, pictures, tmp_path)["scores"].argmax(1)) == {2}
    for old, new in zip(before, classifier_job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_only_the_trained_model_itself_is_the_same_function():
    assert [kind for kind, variant in VARIANTS.items() if variant.same_function] == ["float32"]


def test_ranges_of_a_variant_go_before_those_of_all(classifier_job):
    narrow = Percentile(percentile=90)
    contents = [
        variant.convert(job)
        for variant, job in (
            (Int8(), classifier_job),
            (Int8(range=narrow), classifier_job),
            (Int8(), replace(classifier_job, ranges=narrow)),
        )
    ]
    assert contents[0] != contents[1]
    assert contents[1] == contents[2]
