"""`convoy predict`: answers from a Run and from exported files, pictures that cannot be read, drawing."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.backbones import SmallResNet
from models.preprocess import PictureFormat
from models.stack import keras
from pipeline import drawing, predict
from pipeline.cli import execute
from pipeline.config import regions_beside
from pipeline.data.missing import MeanFill, MissingRegions
from pipeline.errors import DataError, RunError
from pipeline.predict import Answer, in_words
from pipeline.run import Run
from pipeline.tasks import Classification
from tests.remote import bucket

__all__ = ["bucket"]


def task() -> Classification:
    return Classification(
        picture=PictureFormat(height=8, width=8, channels=1),
        backbone=SmallResNet(depth=8, widths=(2, 4, 4)),
        class_names=("cat", "dog", "owl"),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A Run with an untrained model and its export."""
    from pipeline import stages
    from pipeline.compress.base import CompressionJob
    from pipeline.compress.post_training import Float32
    from pipeline.export import ExportSettings, contract, saved_model, tflite

    run, classification = Run(tmp_path_factory.mktemp("run")), task()
    keras.utils.set_random_seed(1)
    model = classification.build()
    stages.keep_model(run, model, classification)
    calibration = np.zeros((1, 8, 8, 1), np.uint8)
    job = CompressionJob(
        task=classification, model=model, calibration=calibration, fine_tune=lambda *_, **__: None, drop=lambda _: 0.0
    )
    path = tflite.publish_tflite(classification, Float32().convert(job), run.tflite / "float32.tflite", "float32")
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "PNG")
    version = saved_model.export_saved_model(
        classification, model, run.saved_model, [stream.getvalue()], ExportSettings(warmup_requests=1)
    )
    contract.write_contract(run.export, classification, version, {"float32": path}, {})
    return run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(40):
        Image.effect_noise((10 + index, 12), 60).save(folder / f"{index:02}.png")
    return folder


def test_every_form_of_the_model_gives_the_same_answers(run: Run, pictures: Path) -> None:
    forms = [run.path, run.export, run.saved_model, next(run.saved_model.iterdir()), run.tflite / "float32.tflite"]
    answers = [predict.predict(form, [pictures]) for form in forms]
    first = answers[0]
    assert len(first) == 40
    assert first[0].file == pictures / "00.png"
    assert {answer.answer["label"] for answer in first} <= {"cat", "dog", "owl"}
    for other in answers[1:]:
        scores = [[answer.answer["score"] for answer in given] for given in (first, other)]
        np.testing.assert_allclose(*scores, atol=1e-4)


def test_a_picture_that_cannot_be_read_is_named_after_the_others_are_answered(
    run: Run, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    answers = predict.predict(run.path, [pictures / "03.png", tmp_path / "broken.jpg", pictures / "04.png"])
    assert [bool(answer.error) for answer in answers] == [False, True, False]
    assert answers[1].as_document() == {"file": str(tmp_path / "broken.jpg"), "error": answers[1].error}
    with pytest.raises(DataError, match=r"1 of 3 pictures cannot be read: .*broken\.jpg"):
        predict.require_all(answers)


def test_what_is_not_there_is_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no"):
        predict.predict(tmp_path / "gone", [])
    with pytest.raises(RunError, match=r"no contract\.json"):
        predict.predict(tmp_path, [])
    with pytest.raises(DataError, match="There is no picture"):
        predict.predict(run.path, [tmp_path / "gone.png"])
    with pytest.raises(DataError, match="holds no pictures"):
        predict.predict(run.path, [tmp_path])


def test_draw(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("L", (8, 6), 200).save(stream, "PNG")
    answer = Answer(Path("a/one.png"), stream.getvalue(), {"label": "cat", "score": 0.5})
    other = Answer(Path("b/one.jpg"), stream.getvalue(), {"values": {"age": 3.0}})
    bad = Answer(Path("bad.png"), b"", {}, "broken")
    predict.draw([answer, other, bad], tmp_path / "drawn")
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["one.png", "one_2.png"]
    picture = Image.open(tmp_path / "drawn" / "one.png")
    assert picture.size == (240, 180 + drawing.CAPTION_HEIGHT)
    caption = np.asarray(picture)[180:]
    assert caption.max() > 200, "white text"
    assert np.asarray(picture)[:180].min() == 200, "the picture itself is untouched"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"label": "rose", "score": 0.91349}, "rose 0.913"),
        ({"label": "rose", "score": 0.9, "best": [{"label": "rose", "score": 0.9}]}, "rose 0.900"),
        ({"labels": [{"label": "a", "score": 0.9}, {"label": "b", "score": 0.5}]}, "a 0.900, b 0.500"),
        ({"labels": []}, "none"),
        ({"values": {"age": 31.41592, "height": 2.0}}, "age 31.42, height 2"),
    ],
)
def test_in_words(answer: dict[str, object], text: str) -> None:
    assert in_words(answer) == text


def copied(folder: Path, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir():
            copied(entry, target / entry.name)
        else:
            (target / entry.name).write_bytes(entry.read_bytes())
    return target


def test_models_and_pictures_in_a_bucket(run: Run, pictures: Path, bucket: Path) -> None:
    there, shown = copied(run.path, bucket / "run"), copied(pictures, bucket / "pictures" / "inner")
    (there / "checkpoints").mkdir()
    expected = [answer.answer for answer in predict.predict(run.path, [pictures])]
    version = next(run.saved_model.iterdir()).name
    for form in ("", "export", "export/saved_model", f"export/saved_model/{version}", "export/tflite/float32.tflite"):
        answers = predict.predict(there / form if form else there, [shown.parent])
        assert [answer.answer["label"] for answer in answers] == [answer["label"] for answer in expected]
        assert str(answers[0].file) == f"{bucket}/pictures/inner/00.png"
    predict.draw(answers[:2], bucket / "drawn")
    assert sorted(file.name for file in (bucket / "drawn").iterdir()) == ["00.png", "01.png"]
    with pytest.raises(RunError, match=r"There is no ram://.*/nothing"):
        predict.predict(there / "nothing", [shown])
    with pytest.raises(DataError, match=r"There is no picture ram://"):
        predict.predict(there, [bucket / "nothing.png"])


def about(value: Any) -> Any:
    """An answer up to rounding: two rows of one batch may be added up in another order."""
    if isinstance(value, dict):
        return {name: about(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [about(inner) for inner in value]
    return pytest.approx(value, abs=1e-5) if isinstance(value, float) else value


def test_a_bucket_on_the_command_line(
    run: Run, pictures: Path, bucket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = copied(run.export, bucket / "export")
    shown = copied(pictures, bucket / "pictures") / "07.png"
    assert execute(["predict", str(there), str(shown), str(pictures / "07.png"), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["predictions"]
    assert first.pop("file") == str(shown) and second.pop("file") and first == about(second)


def test_missing_parts_are_filled_as_in_the_training(run: Run, tmp_path: Path) -> None:
    grey = np.zeros((8, 8, 4), np.uint8) + np.array([90, 90, 90, 255], np.uint8)
    grey[2:5, 2:5] = (255, 255, 255, 0)
    Image.fromarray(grey).save(tmp_path / "holes.png")
    export = copied(run.export, tmp_path / "export")
    assert regions_beside(export) == MissingRegions()
    before = predict.predict(export, [tmp_path / "holes.png"])[0].answer
    (export / "config.yaml").write_text("data: {missing_regions: {transparent: true, fill: mean}}\n")
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "plain.png")
    for form in (export, export / "saved_model", export / "tflite" / "float32.tflite"):
        assert regions_beside(form) == MissingRegions(transparent=True, fill=MeanFill())
    files = [tmp_path / "holes.png", tmp_path / "plain.png"]
    holes, plain = predict.predict(export, files, regions_beside(export))
    assert holes.answer == about(plain.answer)
    assert holes.answer != about(before)
