from __future__ import annotations

import subprocess
import sys

import pytest

from models.stack import keras, tf
from pipeline.compress.convert import tflite_file
from pipeline.compress.flatbuffer import join
from pipeline.compress.inspect import inspect_content, inspect_file
from pipeline.errors import ExportError
from pipeline.predictors import TFLitePredictor


def affine_file(input_name: str, output_name: str, scale: float, offset: float) -> bytes:
    numbers = keras.Input((2,), name=input_name)
    return tflite_file(keras.Model(numbers, {output_name: numbers * scale + offset}))


def test_float_file():
    file = inspect_content(affine_file("image", "values", 2.0, 1.0))
    assert file.operators == {"ADD": 1, "MUL": 1}
    assert (file.float_operators, file.decode_operators) == (2, 0)
    assert file.dtypes == {"float32": 5}
    assert (file.inputs[0].name, file.inputs[0].shape, file.inputs[0].scale) == ("image", (1, 2), None)


def test_joined_files_run_one_after_the_other(tmp_path):
    joined = join(affine_file("image", "middle", 2.0, 1.0), affine_file("middle", "values", 10.0, 0.5))
    file = inspect_content(joined)
    assert file.operators == {"ADD": 2, "MUL": 2}
    assert (file.float_operators, file.decode_operators) == (2, 2)
    assert [tensor.name for tensor in file.outputs] == ["values"]
    path = tmp_path / "joined.tflite"
    path.write_bytes(joined)
    assert TFLitePredictor(path)({"image": [[1, 2]]})["values"].tolist() == [[30.5, 50.5]]


def test_island_of_float_is_counted(classifier_job):
    """A sine has no int8 kernel: the quantizer leaves it in float, between a Dequantize and a Quantize."""
    from pipeline.compress.convert import int8_file

    trunk = classifier_job.trunk()
    island = keras.layers.Dense(2)(tf.math.sin(trunk.outputs[0]))
    file = inspect_content(int8_file(keras.Model(trunk.inputs, {"values": island}), classifier_job.calibration))
    assert file.operators["SIN"] == 1
    assert file.float_operators == 3


def test_what_is_no_file_of_this_kind(tmp_path):
    with pytest.raises(ExportError, match="There is no file"):
        inspect_file(tmp_path / "missing.tflite")
    other = tmp_path / "other.tflite"
    other.write_bytes(b"not a model at all")
    with pytest.raises(ExportError, match=r"no \.tflite file"):
        inspect_file(other)


def test_needs_no_tensorflow(tmp_path):
    path = tmp_path / "affine.tflite"
    path.write_bytes(affine_file("image", "values", 2.0, 1.0))
    code = (
        "import sys; from pathlib import Path; from pipeline.compress.inspect import inspect_file; "
        f"inspect_file(Path({str(path)!r})); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
