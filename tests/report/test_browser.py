"""The report in a real browser, at desktop and phone width, light and dark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.report import build_report
from tests.report import sample

NO_BROWSER = (
    "no chromium on the PATH, so the report was not looked at in a browser; "
    "install the distribution's package (Debian, Ubuntu: apt-get install chromium)"
)
NO_PLAYWRIGHT = "playwright is not installed, so the report was not looked at in a browser; pip install playwright"


def unavailable(reason: str) -> None:
    """Skips where a person tests, fails where nobody would read why it was skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        unavailable(NO_BROWSER)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable(NO_PLAYWRIGHT)
    with sync_playwright() as playwright:
        # Containers run as root, where Chromium's own sandbox refuses to start; the page is our own.
        opened = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    species = tuple(f"species number {number}" for number in range(100))
    runs = [
        sample.classification_run(folder / "classification", species),
        sample.with_diagnosis(sample.multi_label_run(folder / "multi_label")),
        sample.regression_run(folder / "regression"),
    ]
    return [build_report(run) for run in runs]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "light"), (390, "dark")])
def test_it_renders_without_errors_and_without_sideways_scrolling(
    browser: Any, reports: list[Path], width: int, scheme: str
):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    for report in reports:
        page.goto(report.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert page.evaluate(SMALLEST_TEXT) >= 8
        assert page.evaluate(LEAST_CONTRAST) >= 4.5
    context.close()
    assert said == []


SMALLEST_TEXT = """
Math.min(...[...document.querySelectorAll("figure svg text")].map(text => {
  const svg = text.ownerSVGElement, scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return parseFloat(getComputedStyle(text).fontSize) * scale;
}))
"""
"""Pixels on the screen of the smallest text in a figure."""

LEAST_CONTRAST = """
(() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(value => value / 255)
      .map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const texts = [...document.querySelectorAll("h1, h2, p, dt, dd, td, small, .mark, figcaption, .pictures span")];
  return Math.min(...texts.map(text => light(getComputedStyle(text).color))
    .map(ink => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)));
})()
"""
"""WCAG 2.1 contrast ratio of the page's text that is hardest to tell from the background."""
