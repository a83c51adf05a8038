from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.errors import RunError
from pipeline.report import ReportSettings, build_report, numbers
from pipeline.report.content import verdict
from pipeline.run import Run
from tests.report import sample


class Tags(HTMLParser):
    """Counts elements, and keeps every address, id and visible text."""

    def __init__(self, page: str):
        super().__init__()
        self.names: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "action")]
        self.ids += [value or "" for key, value in attrs if key == "id"]
        assert not [key for key, _ in attrs if key.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module", params=["classification_run", "multi_label_run", "regression_run"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With its report."""
    made: Run = getattr(sample, request.param)(tmp_path_factory.mktemp("runs") / "sample run")
    build_report(made)
    return made


def test_one_file_that_loads_nothing_and_runs_nothing(run: Run):
    tags = Tags(run.report.read_text(encoding="utf-8"))
    assert "script" not in tags.names
    assert all(address.startswith(("data:", "#")) for address in tags.addresses)
    assert len(tags.ids) == len(set(tags.ids))
    assert {address[1:] for address in tags.addresses if address.startswith("#")} <= set(tags.ids)


def test_names_that_are_markup_stay_text(run: Run):
    page = run.report.read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "{{ 7 * 7 }}" in page
    assert sample.HOSTILE in Tags(page).text


def test_the_page_says_what_counts(run: Run):
    text = Tags(run.report.read_text(encoding="utf-8")).text
    summary, evaluation = (json.loads(file.read_text()) for file in (run.summary, run.evaluation))
    assert "5 of 6 variants are blessed" in text
    assert summary["variants"]["int16x8"]["why"] in text
    assert all(name in text for name in summary["variants"])
    metric = summary["metric"]["name"]
    assert numbers.measure(evaluation[metric], metric) in text
    assert "median of 50 runs for one picture on An Example Processor @ 2.5 GHz, 1 thread." in text
    for words in (
        "301\u00a0kB",
        "0.187\u00a0ms",
        "1\u00a0min 23\u00a0s",
        "2 pictures could not be used",
        "CONV_2D × 21",
    ):
        assert words in text


def test_parts_have_a_table_of_their_own_and_count_in_the_verdict(tmp_path: Path):
    run = sample.with_parts(sample.regression_run(tmp_path / "parts"))
    build_report(run)
    text = Tags(run.report.read_text(encoding="utf-8")).text
    assert "6 of 8 files are blessed" in text
    row = " ".join(text.partition("parts/float32")[2].partition("parts/int16x8")[0].split())
    for words in ("✓ blessed", "1.1 MB", "123 kB", "1.25 ms2.75 ms"):
        assert words in row
    assert "Template" in text and "Search" in text


def test_figures_follow_the_reader_s_colours(run: Run):
    page = run.report.read_text(encoding="utf-8")
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) >= 6
    for drawing in drawings:
        assert "var(--" in drawing
        assert not re.findall(r"#[0-9a-f]{6}\b", drawing.split("base64", 1)[0])


def test_stages_that_were_not_run_are_named(tmp_path: Path):
    whole = sample.classification_run(tmp_path / "whole")
    started = Run(tmp_path / "started")
    started.write_json(started.data, json.loads(whole.data.read_text()))
    text = Tags(build_report(started).read_text(encoding="utf-8")).text
    assert "Not verified yet" in text
    for verb in ("train", "evaluate", "verify"):
        assert f"convoy {verb}" in text


def test_a_run_without_data_or_with_a_damaged_file_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match="prepare"):
        build_report(Run(tmp_path / "nothing"))
    run = sample.classification_run(tmp_path / "run")
    run.summary.write_text('{"variants": ')
    with pytest.raises(RunError, match="verify"):
        build_report(run)


def test_the_title_can_be_set(tmp_path: Path):
    run = sample.classification_run(tmp_path / "run")
    page = build_report(run, ReportSettings(title="Digits <2>")).read_text(encoding="utf-8")
    assert "<title>Digits &lt;2&gt;: 5 of 6 variants are blessed</title>" in page


@pytest.mark.parametrize(
    ("blessed", "text", "tone"),
    [
        ([], "Not verified yet", "open"),
        ([True], "The only variant is blessed", "good"),
        ([True, True], "All 2 variants are blessed", "good"),
        ([True, False], "1 of 2 variants is blessed", "mixed"),
        ([True, True, False], "2 of 3 variants are blessed", "mixed"),
        ([False, False], "None of 2 variants is blessed", "bad"),
        ([False], "The only variant is not blessed", "bad"),
    ],
)
def test_the_verdict(blessed: list[bool], text: str, tone: str):
    said = verdict({str(number): {"blessed": value, "why": "too slow"} for number, value in enumerate(blessed)})
    assert (said["text"], said["tone"]) == (text, tone)
    assert [why for _, why in said["refused"]] == ["too slow"] * blessed.count(False)


def test_labels_below_the_samples_and_the_contact_sheet(tmp_path: Path):
    run = sample.classification_run(tmp_path)
    assert "Augmentation" not in Tags(build_report(run, ReportSettings()).read_text(encoding="utf-8")).text
    first = min(file.name for file in run.samples.glob("*.png"))
    run.write_json(run.captions, {first: "rose: 70%, <daisy>: 30%"})
    run.preview.write_bytes((run.samples / first).read_bytes())
    page = Tags(build_report(run, ReportSettings()).read_text(encoding="utf-8"))
    assert "rose: 70%, <daisy>: 30%" in page.text and "convoy preview" in page.text
