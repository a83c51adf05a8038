"""Errors about settings name file and line, also where only several settings together, or the data, bring them up."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.augment.mixing import check_fields
from pipeline.cli import execute
from pipeline.config import loads
from pipeline.data.sampling import TargetShares, shown_classes
from pipeline.errors import ConfigError
from pipeline.opening import opened
from tests.data.sources.test_yolo import yolo
from tests.data.stores import make_store

TEXT = """\
data: {source: {kind: yolo, path: pets}}
task: classification
input:
  sampling:
    kind: target
    shares:
      "11": 0.5
train: {batch_size: 32}
augment:
  - horizontal_flip
  - kind: copy_paste
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(TEXT)
    return path


def test_groups_that_do_not_fit_the_batch() -> None:
    with pytest.raises(ConfigError, match=r"^test\.yaml:11: `augment\.1` \(copy_paste\) mixes groups.* is 30"):
        loads(TEXT.replace("32", "30"), name="test.yaml")
    with pytest.raises(ConfigError, match=r"^override 'augment\.0=mix_up': `augment\.0` \(mix_up\) mixes"):
        loads(TEXT, ["train.batch_size=30", "augment.0=mix_up"], name="test.yaml")


def test_an_operation_that_the_data_does_not_suit(file: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"run\.yaml:11: `augment\.1` \(copy_paste\) needs the field 'masks'"),
        opened(file, [], tmp_path / "run") as job,
    ):
        check_fields(job.config.augment, ("id", "image", "label"))


@pytest.mark.parametrize(
    "source",
    [
        *(
            "digits",
            "{kind: pascal_voc, path: pets}",
            "{kind: csv_boxes, path: pets.csv}",
            "{kind: folders, path: pets}",
        ),
        *("{kind: coco, path: pets, masks: false}", "scenes", "scene_sequences", "{kind: tfds, name: voc/2007}"),
    ],
)
def test_a_source_that_never_has_masks_is_refused_before_it_is_read(source: str) -> None:
    text = TEXT.replace("{kind: yolo, path: pets}", source)
    with pytest.raises(
        ConfigError, match=r"^test\.yaml:11: `augment\.1` \(copy_paste\) needs.*gives none as it is set"
    ):
        loads(text, name="test.yaml")


@pytest.mark.parametrize("source", ["{kind: coco, path: pets}", "{kind: scenes, learn: instances}"])
def test_a_source_that_may_have_masks_is_looked_at_first(source: str) -> None:
    assert loads(TEXT.replace("{kind: yolo, path: pets}", source)).augment[1].kind == "copy_paste"


def test_data_without_masks_is_refused_when_it_is_prepared(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its format has a place for them; the pictures are kept, so that the mended configuration finds them prepared."""
    yolo(tmp_path / "pets")
    source = f"{{kind: yolo, path: {tmp_path / 'pets'}}}"
    text = TEXT.replace("{kind: yolo, path: pets}", source).replace('"11"', "cat")
    file.write_text(text.replace("task: classification", "task: {kind: detection, picture: {height: 64, width: 64}}"))
    assert execute(["prepare", str(file), "--run", str(tmp_path / "run")]) == 2
    assert (
        "run.yaml:11: `augment.1` (copy_paste) needs the field 'masks', but the data holds" in capsys.readouterr().err
    )
    assert not (tmp_path / "run" / "data.json").exists()


def test_a_class_that_the_data_does_not_have(file: Path, tmp_path: Path) -> None:
    store = make_store(tmp_path, {"train": 8}, [(4, 4)])
    with (
        pytest.raises(ConfigError, match=r"run\.yaml:7: input\.sampling\.shares: there is no class '11'"),
        opened(file, [], tmp_path / "run") as job,
    ):
        assert isinstance(job.config.input.sampling, TargetShares)
        job.config.input.sampling.factors(shown_classes(store))


def test_an_override_is_named(file: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"override 'augment\.0=copy_paste': `augment\.0`"),
        opened(file, ["augment.0=copy_paste"], tmp_path / "run") as job,
    ):
        check_fields(job.config.augment, ("id", "image"))


def test_other_errors_pass_as_they_are(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^nothing of a setting$"), opened(file, [], tmp_path / "run"):
        raise ConfigError("nothing of a setting")


def test_the_address_of_a_service_is_explained() -> None:
    expected = r"'input\.service=trainer:5050': input\.service: got 'trainer:5050', expected grpc://HOST:PORT"
    with pytest.raises(ConfigError, match=expected):
        loads(TEXT, ["input.service=trainer:5050"], name="test.yaml")
