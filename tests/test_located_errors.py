"""Errors about settings name file and line, also where only several settings together, or the data, bring them up."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.augment.mixing import check_fields
from pipeline.config import loads
from pipeline.data.sampling import TargetShares, shown_classes
from pipeline.errors import ConfigError
from pipeline.opening import opened
from tests.data.stores import make_store

TEXT = """\
data: {source: digits}
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
