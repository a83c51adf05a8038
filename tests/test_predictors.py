from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.backbones import SmallResNet
from models.preprocess import PictureFormat
from models.stack import keras, tf
from pipeline.compress import CompressionJob
from pipeline.compress.post_training import Float32, Int8
from pipeline.errors import RunError
from pipeline.latency import measure_latency
from pipeline.predictors import (
    KerasPredictor,
    SavedModelPredictor,
    TFLitePredictor,
    dequantized,
    open_predictor,
    quantized,
)
from pipeline.run import Run
from pipeline.tasks import Classification


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def task() -> Classification:
    backbone = SmallResNet(depth=4, widths=(8,))
    return Classification(class_names=("a", "b"), backbone=backbone, picture=PictureFormat(height=8, width=8))


@pytest.fixture(scope="module")
def model(task: Classification) -> keras.Model:
    keras.utils.set_random_seed(0)
    return task.build()


@pytest.fixture(scope="module")
def files(task: Classification, model: keras.Model, pictures: np.ndarray, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    job = CompressionJob(task, model, pictures, lambda *_, **__: None, lambda _: 0.0)
    paths = {}
    for variant in (Float32(), Int8(), Int8(name="int8_signed", input_output="int8")):
        paths[variant.variant_name] = folder / f"{variant.variant_name}.tflite"
        paths[variant.variant_name].write_bytes(variant.convert(job))
    return paths


@pytest.fixture(scope="module")
def reference(task: Classification, model: keras.Model, pictures: np.ndarray) -> np.ndarray:
    return task.serving_model(model).predict(pictures, verbose=0)["scores"]


def test_keras(task, model, pictures, reference):
    predictor = KerasPredictor(task.serving_model(model))
    got = predictor({"image": pictures, "id": np.arange(7)})
    assert list(got) == ["scores"]
    np.testing.assert_allclose(got["scores"], reference, atol=1e-6)


@pytest.mark.parametrize(("name", "tolerance"), [("float32", 1e-5), ("int8", 0.02), ("int8_signed", 0.02)])
def test_tflite(files, pictures, reference, name, tolerance):
    got = TFLitePredictor(files[name])({"image": pictures})["scores"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, reference, atol=tolerance)


@pytest.mark.parametrize("name", ["float32", "int8"])
def test_batch_gives_the_bits_of_single_pictures(files, pictures, name):
    predictor = TFLitePredictor(files[name])
    one_by_one = [predictor({"image": picture[None]})["scores"] for picture in pictures]
    np.testing.assert_array_equal(predictor({"image": pictures})["scores"], np.concatenate(one_by_one))


@pytest.mark.parametrize(("threads", "workers"), [(2, 1), (1, 2), (1, 9)])
def test_threads_and_workers_give_the_same_bits(files, pictures, threads, workers):
    got = TFLitePredictor(files["float32"], threads, workers)({"image": pictures})["scores"]
    np.testing.assert_array_equal(got, TFLitePredictor(files["float32"])({"image": pictures})["scores"])


def test_quantized_numbers():
    detail = {"dtype": np.int8, "quantization": (0.5, 10)}
    assert quantized(np.array([0.0, 1.0, 1.3, 1000.0, -1000.0]), detail).tolist() == [10, 12, 13, 127, -128]
    assert dequantized(np.array([10, 12, -128], np.int8), detail).tolist() == [0.0, 1.0, -69.0]
    assert quantized(np.array([0, 255]), {"dtype": np.uint8, "quantization": (1.0, 0)}).tolist() == [0, 255]


@pytest.fixture(scope="module")
def saved_model(task: Classification, model: keras.Model, tmp_path_factory) -> Path:
    """Versions 2 and 10; the tenth is the network, the second always answers 0."""
    folder = tmp_path_factory.mktemp("saved_model")
    serving = task.serving_model(model)

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.uint8, name="image")])
    def images(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return serving(image)

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.uint8, name="image")])
    def zeros(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.zeros([tf.shape(image)[0], 2])}

    tf.saved_model.save(serving, str(folder / "10"), {"images": images.get_concrete_function()})
    tf.saved_model.save(tf.Module(), str(folder / "2"), {"images": zeros.get_concrete_function()})
    return folder


def test_saved_model_of_the_newest_version(saved_model, pictures, reference):
    for path in (saved_model, saved_model / "10"):
        np.testing.assert_allclose(SavedModelPredictor(path)({"image": pictures})["scores"], reference, atol=1e-6)


def test_unknown_signature(saved_model):
    with pytest.raises(RunError, match=r"'image'.*Did you mean 'images'"):
        SavedModelPredictor(saved_model, "image")


def test_a_file_without_a_signature(tmp_path):
    doubled = tf.function(lambda x: x * 2.0).get_concrete_function(tf.TensorSpec([1, 2]))
    (tmp_path / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([doubled]).convert())
    with pytest.raises(RunError, match=r"LiteRT cannot run .*model.tflite.*serving_default"):
        TFLitePredictor(tmp_path / "model.tflite")


def test_open_predictor(files, saved_model, task, model, pictures, reference, tmp_path):
    run = Run(tmp_path)
    run.write_json(run.task, task.model_dump(mode="json"))
    model.save(run.model)
    for path in (files["float32"], saved_model, saved_model / "10", tmp_path):
        np.testing.assert_allclose(open_predictor(path)({"image": pictures})["scores"], reference, atol=1e-5)


def test_nothing_to_open(tmp_path):
    with pytest.raises(RunError, match="nothing to predict with"):
        open_predictor(tmp_path)
    with pytest.raises(RunError, match="There is no file"):
        open_predictor(tmp_path / "missing.tflite")
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"TFL3 damaged")
    with pytest.raises(RunError, match="cannot run"):
        open_predictor(damaged)


def test_latency(files, pictures):
    latency = measure_latency(TFLitePredictor(files["int8"]), {"image": pictures}, runs=5, warm_up=1)
    assert 0 < latency.least <= latency.median <= latency.most
    assert latency.runs == 5
    assert "cores" in latency.host
