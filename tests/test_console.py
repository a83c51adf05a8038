"""What goes to stdout, what to stderr, and when."""

from __future__ import annotations

import json

import pytest

from pipeline import console
from pipeline.console import Level, terminal


@pytest.fixture(autouse=True)
def _as_it_was() -> object:
    yield
    terminal.configure()


def test_messages_go_to_stderr_by_level(capsys: pytest.CaptureFixture[str]) -> None:
    for level in Level:
        terminal.configure(level)
        console.say(f"say {level.name}")
        console.detail(f"detail {level.name}")
        console.warn(f"warn {level.name}")
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "Warning: warn QUIET",
        "say NORMAL",
        "Warning: warn NORMAL",
        "say VERBOSE",
        "detail VERBOSE",
        "Warning: warn VERBOSE",
    ]


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("a [bold]class[/bold] of " + "long " * 60)
    assert capsys.readouterr().err == "a [bold]class[/bold] of " + "long " * 60 + "\n"


def test_results_go_to_stdout_and_json_is_one_document_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.answer({"a": 1}, "for people")
    terminal.finish()
    assert capsys.readouterr().out == "for people\n"
    terminal.configure(as_json=True)
    terminal.answer({"a": 1}, "for people")
    assert capsys.readouterr().out == ""
    terminal.finish(error={"exit_code": 6})
    assert json.loads(capsys.readouterr().out) == {"a": 1, "error": {"exit_code": 6}}


def test_progress_without_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    with console.progress("prepare", "picture") as tell:
        for done in range(0, 101, 10):
            tell(done, 100, bad=2, loss=0.123456)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) < 11
    assert lines[-1].startswith("prepare: 100/100 pictures")
    assert lines[-1].endswith("bad=2  loss=0.1235")


def test_progress_is_silent_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.configure(Level.QUIET)
    with console.progress("prepare") as tell:
        tell(1, None)
    assert capsys.readouterr() == ("", "")


def test_progress_in_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with console.progress("train", "step") as tell:
        tell(1, 4, loss=0.5)
        tell(4, 4, loss=0.25)
    shown = capsys.readouterr().err
    assert "train" in shown
    assert "4/4 steps" in shown


def test_pace_counts_from_the_first_report(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 110.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    pace = console.Pace()
    pace.update(1000, 2000)  # resumed in the middle
    assert console.describe_pace(1000, 2000, "step", pace) == "1000/2000 steps"
    pace.update(1050, 2000)
    assert pace.rate == 5.0
    assert console.describe_pace(1050, 2000, "step", pace) == "1050/2000 steps  5/s  3:10 left"
    assert console.describe_pace(1, 1, "step", console.Pace()) == "1/1 step"
    assert console.describe_pace(0, None, "step", console.Pace()) == "0 steps"


@pytest.mark.parametrize(("seconds", "text"), [(6, "0:06"), (59.7, "1:00"), (750, "12:30"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert console.clock(seconds) == text
