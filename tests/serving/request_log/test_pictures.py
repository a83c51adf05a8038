"""Which pictures a request holds, with what was answered to each."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest, ClassificationResponse
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.apis.regression_pb2 import RegressionRequest, RegressionResponse

from pipeline.data.requests.picture import UNKNOWN_VERSION
from pipeline.errors import DataError
from serving.local.conversion import tensor_of
from serving.request_log.pictures import NoPictureError, pictures_of
from serving.request_log.prediction_logs import logged_pictures
from tests.serving.made_models import png

JPEG = b"\xff\xd8\xff\xe0 and so on"


def predicted(inputs: dict[str, Any], outputs: dict[str, Any]) -> tuple[PredictRequest, PredictResponse]:
    request, response = PredictRequest(), PredictResponse()
    request.model_spec.name = response.model_spec.name = "flowers"
    response.model_spec.version.value, response.model_spec.signature_name = 3, "serving_default"
    for message, arrays in ((request.inputs, inputs), (response.outputs, outputs)):
        for name, values in arrays.items():
            message[name].CopyFrom(tensor_of(np.asarray(values)))
    return request, response


def strings(*values: bytes) -> np.ndarray:
    return np.array(values, object)


def example(**features: bytes) -> tf.train.Example:
    def feature(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    return tf.train.Example(features=tf.train.Features(feature={name: feature(v) for name, v in features.items()}))


def test_files_are_kept_as_they_came_each_with_its_row() -> None:
    outputs = {
        "scores": np.float32([[0.1, 0.9], [0.6, 0.4]]),
        "half": np.zeros((2, 3), ml_dtypes.bfloat16),
        "of_the_batch": np.float32(7),
        "of_three": np.zeros(3, np.float32),
    }
    first, second = pictures_of(*predicted({"image_bytes": strings(JPEG, png(9))}, outputs), seconds=1_790_000_000.5)
    assert (first.image, second.image, first.came_as) == (JPEG, png(9), "file")
    assert (first.model, first.version, first.signature, first.seconds) == (
        "flowers",
        3,
        "serving_default",
        1_790_000_000.5,
    )
    assert {name: value.tolist() for name, value in second.outputs.items()} == {
        "scores": pytest.approx([0.6, 0.4]), "half": [0, 0, 0],
    }  # fmt: skip
    assert first.id.startswith("20260921T") and first.id.endswith("-0") and second.id.endswith("-1")


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixels_become_pngs_without_loss(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 6, channels), np.uint8)
    found = pictures_of(*predicted({"image": pixels, "factor": np.float32([1, 2])}, {}), seconds=0.0)
    assert [one.came_as for one in found] == ["pixels"] * 2
    decoded = [np.asarray(Image.open(io.BytesIO(one.image))).reshape(pixels.shape[1:]) for one in found]
    assert np.array_equal(decoded, pixels)


def test_other_formats_become_pngs_of_the_same_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "BMP")
    found = pictures_of(*predicted({"x": strings(stream.getvalue(), b"BM damaged")}, {}), seconds=0.0)
    assert [np.asarray(Image.open(io.BytesIO(one.image))).tolist() for one in found] == [pixels.tolist()]


def test_rows_that_are_no_pictures_are_left_out() -> None:
    outputs = {"scores": np.float32([[1], [2], [3]])}
    found = pictures_of(*predicted({"x": strings(png(1), b"text", png(3))}, outputs), seconds=0.0)
    assert [(one.image, one.outputs["scores"].tolist()) for one in found] == [(png(1), [1]), (png(3), [3])]


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": np.float32([1, 2])},
        {"words": strings(b"rose", b"lily")},
        {"one": strings(png(1)), "other": strings(png(2))},
        {"image": np.zeros((1, 4, 4, 5), np.uint8)},
        {},
    ],
)
def test_requests_without_one_input_of_pictures(inputs: dict[str, Any]) -> None:
    with pytest.raises(NoPictureError, match="expected one input with encoded pictures, or uint8 pixels"):
        pictures_of(*predicted(inputs, {}), seconds=0.0)


def test_classify_and_regress() -> None:
    classify, classified = ClassificationRequest(), ClassificationResponse()
    classify.input.example_list.examples.extend([example(image=png(1), name=b"a"), example(image=png(2))])
    for scores in ((0.25, 0.75), (0.5, 0.5)):
        row = classified.result.classifications.add()
        for label, score in zip(("rose", "lily"), scores, strict=True):
            row.classes.add(label=label, score=score)
    first, second = pictures_of(classify, classified, seconds=0.0)
    assert (first.image, second.image, first.version) == (png(1), png(2), UNKNOWN_VERSION)
    assert first.outputs["scores"].tolist() == [0.25, 0.75] and first.outputs["classes"].tolist() == [b"rose", b"lily"]
    regress, regressed = RegressionRequest(), RegressionResponse()
    regress.input.example_list_with_context.context.CopyFrom(example(image=png(5)))
    regress.input.example_list_with_context.examples.extend([example(), example()])
    regressed.result.regressions.add(value=1.5)
    regressed.result.regressions.add(value=-1)
    assert [(one.image, one.outputs["outputs"].tolist()) for one in pictures_of(regress, regressed, seconds=0.0)] == [
        (png(5), [1.5]),
        (png(5), [-1]),
    ]


def test_tf_servings_own_logs_are_read(tmp_path: Path) -> None:
    logged, warm_up, other, damaged = (PredictionLog() for _ in range(4))
    request, response = predicted({"image_bytes": strings(png(1))}, {"scores": np.float32([[0.5]])})
    logged.predict_log.request.CopyFrom(request)
    logged.predict_log.response.CopyFrom(response)
    logged.log_metadata.timestamp_secs = 1_790_000_000
    warm_up.predict_log.request.CopyFrom(request)
    warm_up.log_metadata.model_spec.name = "trees"
    other.session_run_log.SetInParent()
    damaged.predict_log.request.inputs["image_bytes"].tensor_shape.unknown_rank = True
    file = tmp_path / "log.gz"
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for one in (damaged, logged, warm_up, other):
            writer.write(one.SerializeToString())
    unusable, (first,), (second,), nothing = logged_pictures(file)
    assert (first.model, first.version, first.seconds) == ("flowers", 3, 1_790_000_000)
    assert first.outputs["scores"].tolist() == [0.5]
    assert (second.model, second.signature, second.outputs) == ("trees", "serving_default", {})
    assert unusable == nothing == []
    file.write_bytes(gzip.compress(b"no records" * 9))
    with pytest.raises(DataError, match="holds no TFRecords of PredictionLog, or is cut short"):
        list(logged_pictures(file))
