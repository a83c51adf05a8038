"""Which versions lie in a folder, which of them a policy wants, and what comes next for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.local.model_config import one_model
from serving.local.version_state import Version, next_action
from serving.local.versions import BasePathMissing, versions_in, wanted


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *(("1", 1), ("00000123", 123), ("-5", -5), ("+7", 7), (" 8", 8)),
        *(("9223372036854775807", 2**63 - 1), ("9223372036854775808", None)),
        *(("1.0", None), ("v1", None), ("tmp-2", None), ("1_000", None), ("0x1", None), ("", None), ("٣", None)),
    ],
)
def test_a_name_is_a_version_if_it_is_a_number(name: str, number: int | None, tmp_path: Path) -> None:
    (tmp_path / f"{name}").mkdir(exist_ok=True)
    (tmp_path / "other").mkdir()
    assert list(versions_in(str(tmp_path))) == ([] if number is None else [number])


def test_one_of_two_names_for_a_version_is_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("1", "01"):
        (tmp_path / name).mkdir()
    assert list(versions_in(str(tmp_path))) == [1]
    assert "Duplicate version directories detected. Version 1" in capsys.readouterr().err


def test_policies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("1", "2", "10"):
        (tmp_path / name).mkdir()
    (model,) = one_model(str(tmp_path)).model_config_list.config
    assert list(wanted(model)) == [10]
    model.model_version_policy.latest.num_versions = 2
    assert list(wanted(model)) == [10, 2]
    model.model_version_policy.all.SetInParent()
    assert sorted(wanted(model)) == [1, 2, 10]
    model.model_version_policy.specific.versions.extend([2, 3])
    assert list(wanted(model)) == [2]
    assert "Version 3 of servable default" in capsys.readouterr().err


def test_a_base_path_that_is_missing_is_not_an_empty_one(tmp_path: Path) -> None:
    (model,) = one_model(str(tmp_path / "nowhere")).model_config_list.config
    with pytest.raises(BasePathMissing, match="Could not find base path"):
        wanted(model)


def version(number: int, state: int, *, aspired: bool) -> Version:
    return Version("m", number, "", state, aspired)


START, LOADING, AVAILABLE, END = (
    *(ModelVersionStatus.START, ModelVersionStatus.LOADING),
    *(ModelVersionStatus.AVAILABLE, ModelVersionStatus.END),
)


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([], None),
        ([(1, START, True), (2, START, True)], 2),
        ([(1, START, True), (2, LOADING, True)], 1),
        ([(1, AVAILABLE, False), (2, LOADING, True)], None),
        ([(1, AVAILABLE, False), (2, START, True)], 2),
        ([(1, AVAILABLE, False), (2, AVAILABLE, True)], 1),
        ([(1, AVAILABLE, False), (2, AVAILABLE, False), (3, LOADING, True)], 1),
        ([(1, AVAILABLE, False), (2, END, True)], None),
        ([(1, AVAILABLE, False), (2, END, False)], 1),
    ],
)
def test_the_next_step_keeps_a_version_serving(versions: list[tuple[int, int, bool]], expected: int | None) -> None:
    chosen = next_action([version(number, state, aspired=aspired) for number, state, aspired in versions])
    assert (chosen.number if chosen else None) == expected
