"""The SavedModel, used the way TensorFlow Serving uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.stack import tf
from pipeline.errors import ExportError, StorageError
from pipeline.export import ExportSettings
from pipeline.export.contract import read_signatures
from pipeline.export.saved_model import export_saved_model, next_version
from pipeline.tasks import Classification, MultiLabel, Regression
from tests.export.conftest import CLASS_NAMES, PICTURE, TINY

WITHOUT_CONVOY = """
import sys
import numpy as np
import tensorflow as tf
version, file, answers = sys.argv[1:]
served = tf.saved_model.load(version)
data = np.load(file, allow_pickle=True)
by_bytes = served.signatures["serving_default"](image_bytes=tf.constant(list(data["encoded"])))
by_pixels = served.signatures["images"](image=tf.constant(data["decoded"]))
assert not {"pipeline", "models", "tf_keras"} & set(sys.modules)
np.savez(answers, by_bytes=by_bytes["scores"].numpy(), by_pixels=by_pixels["scores"].numpy())
"""


def request_examples(pictures: list[bytes]):
    """The `input` of a ClassificationRequest or RegressionRequest."""
    from tensorflow_serving.apis import input_pb2

    examples = input_pb2.Input()
    for picture in pictures:
        feature = examples.example_list.examples.add().features.feature["image"]
        feature.bytes_list.value.append(picture)
    return examples


def run_on_examples(version: Path, signature: str, examples) -> dict[str, np.ndarray]:
    """Feeds `inputs` the serialized Examples, as the server's Classify and Regress do."""
    served = tf.saved_model.load(str(version)).signatures[signature]
    serialized = [example.SerializeToString() for example in examples.example_list.examples]
    return {name: value.numpy() for name, value in served(inputs=tf.constant(serialized)).items()}


def test_names_shapes_and_methods(version: Path) -> None:
    found = {
        name: (
            definition.method_name.removeprefix("tensorflow/serving/"),
            {key: shape_and_dtype(info) for key, info in definition.inputs.items()},
            {key: shape_and_dtype(info) for key, info in definition.outputs.items()},
        )
        for name, definition in read_signatures(version).items()
    }
    scores = {"scores": ([-1, 3], "float32")}
    assert found == {
        "serving_default": ("predict", {"image_bytes": ([-1], "string")}, scores),
        "images": ("predict", {"image": ([-1, 24, 32, 3], "uint8")}, scores),
        "classify": ("classify", {"inputs": ([-1], "string")}, {"classes": ([-1, 3], "string"), **scores}),
    }


def shape_and_dtype(info) -> tuple[list[int], str]:
    return [axis.size for axis in info.tensor_shape.dim], tf.as_dtype(info.dtype).name


def test_a_process_without_convoy_gets_the_trained_models_answers(
    version: Path, pictures: list[bytes], decoded: np.ndarray, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    np.savez(tmp_path / "in.npz", encoded=np.array(pictures, dtype=object), decoded=decoded)
    command = [sys.executable, "-I", "-c", WITHOUT_CONVOY, str(version), "in.npz", "out.npz"]
    environment = {"PATH": os.environ["PATH"], "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    answers = np.load(tmp_path / "out.npz")
    np.testing.assert_allclose(answers["by_bytes"], expected["scores"], atol=1e-5)
    np.testing.assert_allclose(answers["by_pixels"], expected["scores"], atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_batch_size(version: Path, pictures: list[bytes], expected: dict[str, np.ndarray], count: int) -> None:
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    scores = served(image_bytes=tf.constant(pictures[:count]))["scores"]
    np.testing.assert_allclose(scores, expected["scores"][:count], atol=1e-5)


def test_classify_request(version: Path, pictures: list[bytes], expected: dict[str, np.ndarray]) -> None:
    from tensorflow_serving.apis import classification_pb2

    request = classification_pb2.ClassificationRequest(input=request_examples(pictures))
    answer = run_on_examples(version, "classify", request.input)
    result = classification_pb2.ClassificationResult()
    for names, scores in zip(answer["classes"], answer["scores"], strict=True):
        classes = result.classifications.add().classes
        for name, score in zip(names, scores, strict=True):
            classes.add(label=name.decode(), score=score)
    assert len(result.classifications) == len(pictures)
    for one, scores in zip(result.classifications, expected["scores"], strict=True):
        assert tuple(entry.label for entry in one.classes) == CLASS_NAMES
        np.testing.assert_allclose([entry.score for entry in one.classes], scores, atol=1e-5)


def test_multi_label_classifies_too(pictures: list[bytes], tmp_path: Path) -> None:
    task = MultiLabel(picture=PICTURE, backbone=TINY, class_names=CLASS_NAMES)
    version = export_saved_model(task, task.build(), tmp_path, pictures, ExportSettings(warmup_requests=1))
    answer = run_on_examples(version, "classify", request_examples(pictures[:2]))
    assert answer["classes"].dtype == object
    assert answer["classes"].shape == answer["scores"].shape == (2, 3)


def regression(*names: str) -> Regression:
    numbers = (2.5,) * len(names)
    return Regression(picture=PICTURE, backbone=TINY, value_names=names, value_mean=numbers, value_std=numbers)


def test_regress_request(pictures: list[bytes], decoded: np.ndarray, tmp_path: Path) -> None:
    from tensorflow_serving.apis import regression_pb2

    task = regression("cells")
    model = task.build()
    version = export_saved_model(task, model, tmp_path, pictures, ExportSettings())
    request = regression_pb2.RegressionRequest(input=request_examples(pictures))
    answer = run_on_examples(version, "regress", request.input)
    assert list(answer) == ["outputs"]
    assert answer["outputs"].dtype == np.float32
    expected = task.serving_model(model)({"image": decoded})["values"]
    np.testing.assert_allclose(answer["outputs"], expected, atol=1e-4)
    assert "classify" not in read_signatures(version)


def test_several_targets_have_no_regress(pictures: list[bytes], tmp_path: Path) -> None:
    task = regression("cells", "area")
    version = export_saved_model(task, task.build(), tmp_path, pictures, ExportSettings(warmup_requests=1))
    assert set(read_signatures(version)) == {"serving_default", "images"}
    assert (version / "assets" / "labels.txt").read_text() == "cells\narea\n"


def test_labels_are_an_asset(version: Path) -> None:
    assert (version / "assets" / "labels.txt").read_text(encoding="utf-8").splitlines() == list(CLASS_NAMES)


def test_warm_up_requests_replay(version: Path, pictures: list[bytes]) -> None:
    from tensorflow_serving.apis import prediction_log_pb2

    served = tf.saved_model.load(str(version)).signatures
    records = tf.data.TFRecordDataset(str(version / "assets.extra" / "tf_serving_warmup_requests"))
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
    assert len(logs) == 8
    batches = set()
    for log in logs:
        request = getattr(log, log.WhichOneof("log_type")).request
        signature = request.model_spec.signature_name
        batches.add((signature, replay(served[signature], log)))
    assert batches == {(name, size) for name in ("serving_default", "images", "classify") for size in (1, 3)}


def replay(signature, log) -> int:
    """Runs a logged request through its signature and gives the batch size answered."""
    if log.WhichOneof("log_type") == "predict_log":
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in log.predict_log.request.inputs.items()}
    else:
        examples = log.classify_log.request.input.example_list.examples
        inputs = {"inputs": np.array([example.SerializeToString() for example in examples])}
    answer = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    return int(answer["scores"].shape[0])


def test_versions_are_numbers(task: Classification, model, pictures: list[bytes], tmp_path: Path) -> None:
    assert next_version(tmp_path / "missing") == 1
    for name in ("00000012", "3", "tmp-99", "v100", "1.5"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == 13
    settings = ExportSettings(version=3)
    with pytest.raises(ExportError, match="Version 3 exists already"):
        export_saved_model(task, model, tmp_path, pictures, settings)


def test_no_warm_up_when_none_is_wanted(task: Classification, model, tmp_path: Path) -> None:
    version = export_saved_model(task, model, tmp_path, [], ExportSettings(warmup_requests=0, version=20261122))
    assert version.name == "20261122"
    assert not (version / "assets.extra").exists()


def test_a_failure_leaves_nothing(task: Classification, model, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="at least one picture"):
        export_saved_model(task, model, tmp_path, [], ExportSettings())
    broken = task.model_copy(update={"class_names": ("a\nb", "c", "d")})
    with pytest.raises(ExportError, match="line break"):
        export_saved_model(broken, model, tmp_path, [b""], ExportSettings())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def full_disk(tmp_path: Path):
    """A file system of 64 KiB; skips where this process may not mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs the rights of root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_the_earlier_version(
    task: Classification, model, pictures: list[bytes], full_disk: Path
) -> None:
    (full_disk / "1").mkdir()
    with pytest.raises(StorageError, match=r"No space left on device\. Free some space"):
        export_saved_model(task, model, full_disk, pictures, ExportSettings())
    assert [path.name for path in full_disk.iterdir()] == ["1"]


def test_a_file_size_limit_is_a_full_disk_too(
    task: Classification, model, pictures: list[bytes], tmp_path: Path
) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(StorageError, match="File too large"):
            export_saved_model(task, model, tmp_path, pictures, ExportSettings())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
