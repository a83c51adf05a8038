"""The check of the machine."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from pipeline import doctor
from pipeline.doctor import Finding
from pipeline.errors import ConvoyError


def test_examine_finds_this_environment_able_to_work() -> None:
    findings = {finding.name: finding for finding in doctor.examine()}
    assert findings["Keras 2"].state == "ok"
    assert findings["Keras 2"].found.startswith("2.")
    assert {"Python", "GPU", "bfloat16", "memory", "disk, here", "browser"} <= set(findings)
    assert all(finding.advice for finding in findings.values() if finding.state != "ok")
    doctor.require_healthy(list(findings.values()))


@pytest.mark.parametrize(
    ("requirement", "state", "advice"),
    [
        ("pydantic>=2", "ok", ""),
        ("pydantic<1", "note", "pip install 'pydantic<1'"),
        ("no-such-package>=1", "wrong", "pip install 'no-such-package>=1'"),
        ('no-such-package>=1; extra == "full"', "wrong", "pip install 'no-such-package>=1'"),
        ('no-such-package; extra == "test"', "note", "pip install 'convoy[test]'"),
    ],
)
def test_packages(requirement: str, state: str, advice: str) -> None:
    finding = doctor._package(Requirement(requirement))
    assert finding.state == state
    assert advice in finding.advice


def test_what_is_wrong_is_an_error_and_a_note_is_not() -> None:
    doctor.require_healthy([Finding("a", "note", "old"), Finding("b", "ok", "new")])
    with pytest.raises(ConvoyError, match=r"tensorflow: not installed\. pip install tensorflow"):
        doctor.require_healthy([Finding("tensorflow", "wrong", "not installed", "pip install tensorflow")])


def test_shown_as_table_and_document(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    findings = [Finding("disk, here", "note", "1 GiB free", "Free some space.")]
    Console().print(doctor.as_table(findings))
    assert "Free some space." in capsys.readouterr().out
    assert doctor.as_document(findings)["findings"][0]["name"] == "disk, here"
