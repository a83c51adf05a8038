"""`convoy doctor data` as a user meets it: what is printed, written, and the exit code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from pipeline import cli
from pipeline.config import load_data
from pipeline.console import terminal
from pipeline.data.prepare import prepare
from pipeline.diagnosis.findings import Diagnosis, Finding
from pipeline.diagnosis.view import as_view, summary
from pipeline.errors import ConfigError, DataError
from pipeline.report import build_report
from pipeline.run import Run
from tests.diagnosis.given import encoded, picture
from tests.report import sample
from tests.report.test_page import Tags

MISSING_AGE = "data.missing_columns.number_columns={age: {kind: constant, value: 3}}"
DATA = "data: {source: {kind: folders, path: photos}}\n"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for number in range(24):
        file = Path("photos", "val" if number % 6 >= 4 else "train", "ab"[number % 2], f"{number:02}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(number)))
    Path("mine.yaml").write_text(DATA, encoding="utf-8")
    yield
    terminal.configure()


def leak() -> None:
    picture(0).transpose(Image.Transpose.ROTATE_90).save("photos/val/a/leak.png")


def state(folder: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def test_sound_data_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    before = state(Path("photos"))
    assert cli.execute(["doctor", "data", "mine.yaml", "--quiet"]) == 0
    output = capsys.readouterr()
    assert "24 pictures: no error, no warning, no note" in output.out
    assert output.err == ""
    assert Run(Path("runs/mine")).diagnosis.is_file()
    assert state(Path("photos")) == before


def test_an_error_ends_with_3_and_everything_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    leak()
    assert cli.execute(["doctor", "data", "mine.yaml", "--json", "--run", "elsewhere"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["exit_code"] == 3
    assert document["counts"] == {"error": 1, "warning": 0, "note": 0}
    (finding,) = document["findings"]
    assert (finding["kind"], finding["where"]) == ("leakage", "photos/val/a/leak.png")
    written = json.loads(Path("elsewhere/doctor.json").read_text(encoding="utf-8"))
    assert written["findings"] == document["findings"]
    assert [one["id"] for one in written["pictures"]] == finding["ids"]
    for one in written["pictures"]:
        with Image.open(Path("elsewhere/doctor", one["file"])) as kept:
            assert max(kept.size) <= 320
    assert not list(Path("elsewhere").glob(".*"))


def test_data_without_anything_to_evaluate_on_ends_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    """As `prepare` says."""
    splits = ["data.exclude_splits=[validation]", "data.splits.test=0"]
    assert cli.execute(["doctor", "data", "mine.yaml", *splits, "--quiet"]) == 3
    assert "There is nothing to evaluate on" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(DataError, match="There is nothing to evaluate on"):
        prepare(load_data(Path("mine.yaml"), splits).data, Path("stores"))


@pytest.mark.parametrize(("imputed", "code"), [([], 3), ([MISSING_AGE], 0)])
def test_a_column_without_a_training_value_ends_as_prepare_does(
    imputed: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(Path("photos").rglob("*.png"))
    rows = [f"{file},{file.parent.name},{file.parts[1]},{7 if 'val' in file.parts else ''}" for file in files]
    Path("list.csv").write_text("\n".join(["image,label,split,age", *rows]), encoding="utf-8")
    source = "kind: table, path: list.csv, label_column: label, split_column: split, number_columns: [age]"
    Path("ages.yaml").write_text(f"data: {{source: {{{source}}}}}\n", encoding="utf-8")
    assert cli.execute(["doctor", "data", "ages.yaml", *imputed, "--quiet"]) == code
    said = "No training example has a number in the column 'age'" in " ".join(capsys.readouterr().out.split())
    assert said == bool(code)


def test_settings_are_overridden(capsys: pytest.CaptureFixture[str]) -> None:
    leak()
    assert cli.execute(["doctor", "data", "mine.yaml", "doctor.allow_leakage=true", "doctor.pictures=0"]) == 0
    assert "warning  leakage  1" in capsys.readouterr().out
    assert list(Path("runs/mine/doctor").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["doctor", "data"], 2, "needs a configuration"),
        (["doctor", "dat", "mine.yaml"], 2, "data"),
        (["doctor", "data", "gone.yaml"], 2, "there is no such file"),
        (["doctor", "data", "mine.yaml", "doctor.outlyer=3"], 2, "Did you mean 'outlier'?"),
        (["doctor", "data", "mine.yaml", "doktor.outlier=3"], 2, "Did you mean 'doctor'?"),
        (["doctor", "data", "mine.yaml", "data.source.path=gone"], 3, "does not exist"),
        (["doctor", "data", "photos"], 7, "no Run"),
    ],
)
def test_mistakes(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(arguments) == code
    assert message in capsys.readouterr().err


def test_a_configuration_with_and_without_a_task() -> None:
    Path("with.yaml").write_text(DATA + "run: there\ndoctor: {outlier: 3}\ntask: classification\n", encoding="utf-8")
    Path("without.yaml").write_text(DATA + "run: there\ndoctor: {outlier: 3}\ntrain: {epochs: 3}\n", encoding="utf-8")
    assert load_data(Path("with.yaml")) == load_data(Path("without.yaml"))
    assert load_data(Path("with.yaml")).doctor.outlier == 3
    with pytest.raises(ConfigError, match="epohcs"):
        load_data(Path("with.yaml"), ["train.epohcs=3"])


def test_at_most_so_many_of_a_kind_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    findings = tuple(Finding("odd", "warning", f"number {number}", fix="Repair it.") for number in range(15))
    statistics = {"pictures": {"train": 15}, "classes": {}, "measures": {}, "drift": []}
    Console().print(as_view(Diagnosis(findings, statistics), 3))
    text = capsys.readouterr().out
    assert "number 2" in text
    assert "number 3" not in text
    assert "... and 12 more" in text
    assert summary(Diagnosis(findings, statistics)) == "15 pictures: no error, 15 warnings, no note"


def test_a_run_that_is_a_file_is_refused_before_anything_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["doctor", "data", "mine.yaml", "--run", "mine.yaml"]) == 8
    said = capsys.readouterr().err
    assert "is a file. Give a folder." in said
    assert "examine" not in said


def test_the_report_shows_it(tmp_path: Path) -> None:
    run = sample.classification_run(tmp_path / "run")
    before = Tags(build_report(run).read_text(encoding="utf-8"))
    assert "diagnosis" not in before.ids
    leak()
    hostile = "<img src=x onerror=alert(1)>.png"
    Path("photos/train/a", hostile).write_bytes(b"broken")
    assert cli.execute(["doctor", "data", "mine.yaml", "--quiet", "--run", str(run.path)]) == 3
    page = build_report(run).read_text(encoding="utf-8")
    tags = Tags(page)
    assert {"#diagnosis"} <= set(tags.addresses)
    assert page.count("data:image/jpeg;base64,") == 2
    assert hostile in tags.text
    assert "<img src=x" not in page
    for words in ("Leakage", "photos/val/a/leak.png", "Unusable picture", "Splits against train"):
        assert words in tags.text
    assert all(address.startswith(("data:", "#")) for address in tags.addresses)


def test_what_was_written_stays_whole_when_it_is_made_again() -> None:
    leak()
    for _ in range(2):
        cli.execute(["doctor", "data", "mine.yaml", "--quiet"])
    run = Run(Path("runs/mine"))
    assert len(list(run.diagnosis_pictures.iterdir())) == 2
    assert {path.name for path in run.path.iterdir()} == {"doctor", "doctor.json"}
