"""Teachers answer alike whatever they are opened from; those that do not fit are refused before anything is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.stack import tf
from pipeline.compress import CompressionJob
from pipeline.compress.post_training import Float32, Int8
from pipeline.errors import ConfigError, RunError
from pipeline.export import ExportSettings, contract
from pipeline.export.saved_model import export_saved_model
from pipeline.export.tflite import publish_tflite
from pipeline.learners import Distilled
from pipeline.learners.teachers import described, difference, open_teacher
from pipeline.run import Run
from pipeline.tasks.base import Task
from pipeline.trained import load_model
from tests.learners.given import pictures, run_of, task, wide

PNG = tf.io.encode_png(pictures(1)[0]).numpy()


def export(run: Run, taught: Task) -> None:
    """As the stage does, with a float32 and an int8 file."""
    model = load_model(run)
    version = export_saved_model(taught, model, run.saved_model, [PNG], ExportSettings(warmup_requests=1))
    job = CompressionJob(taught, model, pictures(8), lambda *_, **__: None, lambda _: 0.0)
    files = {
        name: publish_tflite(taught, variant.convert(job), run.tflite / f"{name}.tflite", name)
        for name, variant in (("float32", Float32()), ("int8", Int8()))
    }
    contract.write_contract(run.export, taught, version, files, {})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classifier, exported."""
    run = run_of(tmp_path_factory.mktemp("classifier") / "run", wide())
    export(run, wide())
    return run


def probabilities(place: Path, student: Task, shown: np.ndarray) -> np.ndarray:
    answer = open_teacher(str(place)).open(student)
    return tf.nn.softmax(answer(shown)["outputs"]["logits"]).numpy()


@pytest.mark.parametrize(
    ("place", "tolerance"),
    [
        ("export", 1e-5),
        ("export/saved_model", 1e-5),
        ("export/saved_model/1", 1e-5),
        ("export/tflite/float32.tflite", 1e-5),
        ("export/tflite/int8.tflite", 0.1),
    ],
)
def test_an_export_teaches_what_its_run_does(run: Run, place: str, tolerance: float) -> None:
    shown = pictures()
    expected = tf.nn.softmax(load_model(run)(shown, training=False)["logits"]).numpy()
    assert np.ptp(expected) > 0.2
    np.testing.assert_allclose(probabilities(run.path, task(), shown), expected, atol=1e-6)
    np.testing.assert_allclose(probabilities(run.path / place, task(), shown), expected, atol=tolerance)


def test_a_teacher_sees_the_students_picture_at_its_own_size(tmp_path: Path) -> None:
    large = run_of(tmp_path / "large", wide(size=24))
    shown = np.full((2, 16, 16, 3), 77, np.uint8)
    expected = tf.nn.softmax(load_model(large)(np.full((2, 24, 24, 3), 77, np.uint8), training=False)["logits"])
    np.testing.assert_allclose(probabilities(large.path, task(), shown), expected, atol=1e-6)


def test_numbers_are_taught_in_the_students_units(tmp_path: Path) -> None:
    taught = task("regression", value_mean=(10.0, 0.0), value_std=(2.0, 1.0))
    run, student = run_of(tmp_path / "run", taught), task("regression")
    export(run, taught)
    values = taught.decode(load_model(run)(pictures(), training=False))["values"].numpy()
    for place, tolerance in ((run.path, 1e-5), (run.export, 1e-5), (run.tflite / "float32.tflite", 1e-4)):
        outputs = open_teacher(str(place)).open(student)(pictures())["outputs"]
        np.testing.assert_allclose(student.decode(outputs)["values"], values, rtol=tolerance, atol=tolerance)


def learner(place: Any, *transfers: Any) -> Distilled:
    chosen = [one if isinstance(one, dict) else {"kind": one} for one in transfers or ("soft_targets",)]
    return Distilled.model_validate({"teacher": place, "transfers": chosen})


def refusal(place: Any, student: Task, *transfers: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        learner(place, *transfers).training_model(student, student.build())
    return str(caught.value)


def test_a_teacher_that_is_not_there_is_named(tmp_path: Path, run: Run) -> None:
    assert "There is no" in refusal(str(tmp_path / "gone"), task())
    assert "gone" in refusal([str(run.path), str(tmp_path / "gone")], task())
    assert "is not on this machine" in refusal("gs://bucket/run", task())
    copied = shutil.copy(run.tflite / "float32.tflite", tmp_path / "alone.tflite")
    assert "no contract.json lies beside it" in refusal(str(copied), task())


def test_a_teacher_of_another_task_is_refused_and_both_are_named(run: Run) -> None:
    said = refusal(str(run.path), task("multi_label"))
    assert "trained on the task 'classification', the student learns 'multi_label'" in said


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("cat", "owl", "dog"), "entry 1 is 'dog' with the teacher and 'owl' with the student (3 and 3 names)"),
        (("cat", "dog"), "entry 2 is 'owl' with the teacher and missing with the student (3 and 2 names)"),
    ],
)
def test_a_teacher_of_other_names_is_refused(run: Run, names: tuple[str, ...], expected: str) -> None:
    for place in (run.path, run.export, run.tflite / "int8.tflite"):
        with pytest.raises(ConfigError, match="answers in another order or with other names") as caught:
            learner(str(place)).check(task(class_names=names))
        assert expected in str(caught.value)
        assert caught.value.place == ("learner", "teacher")


def test_what_an_export_does_not_show_is_refused(run: Run) -> None:
    assert "attention_transfer looks at feature levels" in refusal(str(run.export), task(), "attention_transfer")
    assert "Set `of: outputs`" in refusal(str(run.export), task(), "relational")
    learner(str(run.export), {"kind": "relational", "of": "outputs"}).check(task())


def test_levels_that_a_network_does_not_have_are_named(run: Run) -> None:
    said = refusal(str(run.path), task(), {"kind": "attention_transfer", "levels": ["stride_4"]})
    assert f"the teacher {run.path} has no feature level 'stride_4'" in said
    said = refusal(str(run.path), task(), {"kind": "relational", "level": "stride_9"})
    assert "the student has no feature level 'stride_9'. Did you mean 'stride_" in said


def test_no_teacher_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="name at least one teacher"):
        Distilled(teacher=())


def test_where_lists_of_names_differ() -> None:
    assert difference(["a"], ["b"]).startswith("entry 0 is 'a' with the teacher and 'b' with the student")
    assert "missing with the teacher" in difference([], ["b"])


def test_a_teacher_is_described_and_known_again(run: Run, tmp_path: Path) -> None:
    one, again = described(str(run.path)), described(str(run.path))
    assert one == again
    assert one.description.startswith("small_resnet, ")
    small = run.tflite / "int8.tflite"
    held = (run.export / "contract.json").stat().st_size + small.stat().st_size
    assert described(str(small)).description == f"small_resnet, {held / 1000:,.0f} KB"
    other = run_of(tmp_path / "other", wide(), seed=4)
    assert described(str(other.path)).checksum != one.checksum
    other.write_json(other.evaluation, {"accuracy": 0.91239})
    assert ", accuracy 0.9124, " in described(str(other.path)).description


def test_a_damaged_teacher_is_named(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", task())
    run.model.write_bytes(run.model.read_bytes()[:1000])
    student = task()
    with pytest.raises(RunError, match="is damaged"):
        learner(str(run.path)).training_model(student, student.build())
