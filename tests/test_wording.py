"""Numbers in messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli_data import _as_text
from pipeline.data.convert import Converted
from pipeline.data.sources.boxes import count_of
from pipeline.wording import quantity


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 boxes were cut"), (1, "1 box was cut"), (2, "2 boxes were cut"), (1200, "1,200 boxes were cut")],
)
def test_a_number_and_what_it_counts(number: int, said: str) -> None:
    assert quantity(number, "box was cut", "boxes were cut") == said


def test_an_s_is_the_usual_plural() -> None:
    assert (quantity(1, "picture"), quantity(2, "picture")) == ("1 picture", "2 pictures")


def test_warnings_about_one_name_and_several() -> None:
    assert count_of([], "row has", "rows have") == []
    assert count_of(["a:1"], "row has none", "rows have none") == ["1 row has none: a:1."]
    assert count_of(["a:1", "a:2"], "row has none", "rows have none") == ["2 rows have none: a:1, a:2."]


def test_one_of_everything_converted() -> None:
    result = Converted({"kind": "coco"}, pictures=1, objects=1, clipped=1, left_out=[("a", "b")])
    said = _as_text(result, Path("new")).splitlines()
    assert said[:3] == [
        "new: 1 picture with 1 object",
        "1 box reached out of its picture and was cut at its edge",
        "1 picture or object was left out",
    ]
