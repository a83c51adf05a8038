"""The rows of a sweep: what is measured, what is taken over, and what happens where a variant cannot be made."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from models.stack import tf
from pipeline.compress import CompressionJob
from pipeline.compress.base import Compression
from pipeline.compress.post_training import Float16, Float32, Int8
from pipeline.data.example import ID, IMAGE, LABEL, REAL
from pipeline.errors import ExportError, StorageError
from pipeline.sweep.grid import Examiner, Timing, key_of, sweep

SHARED = {"model": "a digest"}


class Failing(Float16):
    """A variant that cannot be made."""

    def convert(self, job: CompressionJob) -> bytes:
        raise ExportError("the layer gem\ncannot be quantized")


class Broken(Float16):
    """A variant at which a library fails."""

    def convert(self, job: CompressionJob) -> bytes:
        raise KeyError("no such tensor")


class NoRoom(Float16):
    """A variant for which the disk is full."""

    def convert(self, job: CompressionJob) -> bytes:
        raise StorageError("No space left")


@pytest.fixture(scope="module")
def examiner(classifier_job, pictures, labels) -> Examiner:
    names = np.array([f"{number}.png" for number in range(len(pictures))])
    examples = {IMAGE: pictures, LABEL: labels.astype(np.int64), ID: names, REAL: np.ones(len(pictures), bool)}
    batches = tf.data.Dataset.from_tensor_slices(examples).batch(16)
    return Examiner(classifier_job.task, classifier_job.model, lambda: batches, Timing(threads=1, runs=3))


def swept(variants: list[Compression], job, examiner, folder, shared=SHARED):
    return sweep(variants, job, examiner, folder, shared)


def test_a_row_holds_what_was_measured_on_its_file(classifier_job, examiner, tmp_path):
    whole, small = swept([Float32(), Int8()], classifier_job, examiner, tmp_path)
    assert (whole.name, whole.settings) == ("float32", {"kind": "float32"})
    assert whole.drop == 0.0 and whole.agreement == 1.0 and whole.metric == examiner.trained
    assert whole.float_ops == 18 and small.float_ops == 0
    assert small.bytes == (tmp_path / "int8" / "model.tflite").stat().st_size < whole.bytes
    assert 0 < small.zipped_bytes < small.bytes
    assert small.drop == pytest.approx(examiner.trained - small.metric)
    assert small.weight_bytes["int8"] > 0 and small.slow_operators == {}
    assert small.latency_ms > 0 and small.seconds > 0 and small.cpu_seconds > 0


def test_finished_rows_are_taken_over_until_something_changes(classifier_job, examiner, tmp_path):
    (first,) = swept([Float32()], classifier_job, examiner, tmp_path)
    (again,) = swept([Float32()], None, examiner, tmp_path)
    assert again == first  # without a job: it was not made
    file = tmp_path / "float32" / "model.tflite"
    before = file.stat().st_mtime_ns
    swept([Float32()], classifier_job, examiner, tmp_path, {"model": "another"})
    assert file.stat().st_mtime_ns != before
    assert key_of(Float32(), SHARED) != key_of(Float32(), {"model": "another"})
    assert key_of(Int8(), SHARED) != key_of(Int8(input_output="int8"), SHARED)


def test_a_damaged_row_is_made_anew(classifier_job, examiner, tmp_path):
    (first,) = swept([Float32()], classifier_job, examiner, tmp_path)
    file = tmp_path / "float32" / "row.json"
    file.write_text(file.read_text()[:-20])
    (again,) = swept([Float32()], classifier_job, examiner, tmp_path)
    assert again.bytes == first.bytes
    assert json.loads(file.read_text())["row"] == json.loads(json.dumps(asdict(again)))


def test_a_variant_that_cannot_be_made_is_a_row_with_its_reason(classifier_job, examiner, tmp_path):
    failing, broken, made = swept([Failing(), Broken(name="broken"), Float32()], classifier_job, examiner, tmp_path)
    assert (failing.error, failing.bytes, failing.made) == ("the layer gem cannot be quantized", None, False)
    assert broken.error == "KeyError: 'no such tensor'"
    assert made.made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float32"]
    (again,) = swept([Float16()], classifier_job, examiner, tmp_path)
    assert again.made  # tried again


def test_a_full_disk_ends_the_sweep(classifier_job, examiner, tmp_path):
    with pytest.raises(StorageError):
        swept([Float32(), NoRoom()], classifier_job, examiner, tmp_path)
    assert (tmp_path / "float32" / "row.json").is_file()
