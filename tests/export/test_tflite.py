"""`.tflite` files with their metadata, read by LiteRT, by hand, and by MediaPipe."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.compress import flatbuffer
from pipeline.errors import ExportError, StorageError
from pipeline.export.metadata import picture_metadata, serialise
from pipeline.export.metadata_reader import TableReader, read_metadata
from pipeline.export.tflite import publish_tflite
from pipeline.tasks import Classification
from tests.export.conftest import CLASS_NAMES

MEDIAPIPE = os.environ.get("CONVOY_MEDIAPIPE_PYTHON") or None


@pytest.fixture(scope="module")
def published(
    task: Classification, variants: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tflite")
    return {name: publish_tflite(task, content, folder / f"{name}.tflite", name) for name, content in variants.items()}


@pytest.mark.parametrize("name", ["float32", "float16", "int8"])
def test_metadata_describes_the_picture_and_the_scores(published: dict[str, Path], name: str) -> None:
    model = read_metadata(published[name].read_bytes())
    assert (model.text(0), model.text(7)) == (name, "1.0.0")
    (graph,) = model.tables(3)
    (image,), (scores,) = graph.tables(2), graph.tables(3)
    size = image.table(3).table(1).table(1)
    (normalise,) = image.tables(4)
    assert (image.text(0), size.unsigned(0), size.unsigned(1)) == ("image", 32, 24)
    assert (normalise.byte(0), normalise.table(1).floats(0), normalise.table(1).floats(1)) == (1, [0.0], [1.0])
    assert (image.table(5).floats(0), image.table(5).floats(1)) == ([255.0], [0.0])
    (labels,) = scores.tables(6)
    assert (scores.text(0), labels.text(0), labels.byte(2)) == ("scores", "labels.txt", 2)
    assert [unit.byte(0) for unit in scores.tables(4)] == [3]


def test_a_grey_picture_says_so() -> None:
    content = serialise(picture_metadata(PictureFormat(height=8, width=9, channels=1)))
    assert content[4:8] == b"M001"
    image = TableReader(content)
    assert image.table(3).table(1).byte(0) == 2


def test_labels_are_a_zip_entry_at_the_end(published: dict[str, Path]) -> None:
    with zipfile.ZipFile(published["int8"]) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == list(CLASS_NAMES)
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED


@pytest.mark.parametrize("name", ["float32", "float16", "int8"])
def test_metadata_changes_no_answer(
    published: dict[str, Path], variants: dict[str, bytes], decoded: np.ndarray, name: str
) -> None:
    before = answers(Interpreter(model_content=variants[name]), decoded)
    after = answers(Interpreter(model_path=str(published[name])), decoded)
    np.testing.assert_array_equal(before, after)


def answers(interpreter: Interpreter, pictures: np.ndarray) -> np.ndarray:
    """float32 [n, K], dequantized."""
    run = interpreter.get_signature_runner("serving_default")
    dtype = run.get_input_details()["image"]["dtype"]
    scale, zero_point = run.get_output_details()["scores"]["quantization"]
    stored = np.concatenate([run(image=picture[None].astype(dtype))["scores"] for picture in pictures])
    return (stored.astype(np.float32) - zero_point) * scale if scale else stored


def test_every_buffer_keeps_its_alignment(published: dict[str, Path]) -> None:
    content = np.frombuffer(published["float32"].read_bytes(), np.uint8)
    model = flatbuffer.schema().Model.GetRootAs(content.tobytes())
    bases = [model.Buffers(index).DataAsNumpy() for index in range(model.BuffersLength())]
    whole = np.frombuffer(model._tab.Bytes, np.uint8)
    start = whole.__array_interface__["data"][0]
    places = [data.__array_interface__["data"][0] - start for data in bases if isinstance(data, np.ndarray)]
    assert places
    assert {place % 16 for place in places} == {0}


def test_the_same_model_gives_the_same_bytes(task: Classification, variants: dict[str, bytes], tmp_path: Path) -> None:
    one = publish_tflite(task, variants["int8"], tmp_path / "a.tflite", "int8")
    other = publish_tflite(task, variants["int8"], tmp_path / "b.tflite", "int8")
    assert one.read_bytes() == other.read_bytes()


def with_operator(task: Classification, function: Any) -> bytes:
    """A file that needs operators of others."""
    specification = tf.TensorSpec([1, 8], tf.float32, name="image")
    concrete = tf.function(function, input_signature=[specification]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.allow_custom_ops = True
    return converter.convert()


def test_other_operators_are_refused_by_name(task: Classification, tmp_path: Path) -> None:
    content = with_operator(task, lambda image: {"scores": tf.math.digamma(image) + tf.math.zeta(image + 2, image)})
    with pytest.raises(ExportError, match=r"'odd' needs operators .*: Digamma, Zeta"):
        publish_tflite(task, content, tmp_path / "odd.tflite", "odd")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_earlier_file(task: Classification, variants: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "int8.tflite"
    path.write_bytes(b"earlier")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(StorageError, match="File too large"):
            publish_tflite(task, variants["int8"], path, "int8")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(MEDIAPIPE is None, reason="CONVOY_MEDIAPIPE_PYTHON names no interpreter that has mediapipe 1.2")
def test_mediapipe_gives_the_same_answers(published: dict[str, Path], decoded: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "pictures.npy", decoded)
    script = Path(__file__).with_name("mediapipe_classify.py")
    command = [str(MEDIAPIPE), str(script), str(tmp_path / "pictures.npy"), *map(str, published.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout)
    for file in published.values():
        ours = answers(Interpreter(model_path=str(file)), decoded)
        for categories, scores in zip(found[str(file)], ours, strict=True):
            by_label = dict(categories)
            # mediapipe drops what lies below the score threshold; the quantized step is 1/256.
            np.testing.assert_allclose([by_label.get(name, 0.0) for name in CLASS_NAMES], scores, atol=1e-5)
            assert categories[0][1] == pytest.approx(scores.max(), abs=1e-5)
