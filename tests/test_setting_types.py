"""Short forms of choices, defaults that are completed, places of errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from models.settings import Settings
from pipeline.setting_types import default_list, expand, form_of, kind_of, kinds_of, place_of, stands_alone


class Circle(Settings):
    """Round."""

    kind: Literal["circle"] = "circle"
    radius: float = 1.0


class Square(Settings):
    """Not round."""

    kind: Literal["square"] = "square"
    side: float


class Only(Settings):
    """The only one of its choice."""

    kind: Literal["only"] = "only"


Shape = Annotated[Circle | Square, Field(discriminator="kind")]


class Frame(Settings):
    """Has no kind."""

    width: int = 1
    height: int = 1


class Drawing(Settings):
    """All forms of fields."""

    shape: Shape = Circle(radius=3.0)
    maybe: Shape | None = None
    more: tuple[Shape, ...] = (Circle(), Square(side=2.0))
    named: dict[str, Shape] = Field(default_factory=dict)
    only: Only = Only()
    frame: Frame = Frame(width=7)
    numbers: tuple[int, ...] = (1, 2)
    path: Path | None = None


def read(data: dict[str, Any]) -> Drawing:
    return Drawing.model_validate(expand(data, Drawing))


@pytest.mark.parametrize(
    ("annotation", "plain", "choices", "many"),
    [
        (Shape, None, {"circle", "square"}, False),
        (Shape | None, None, {"circle", "square"}, False),
        (tuple[Shape, ...], None, {"circle", "square"}, True),
        (dict[str, Shape], None, {"circle", "square"}, True),
        (Only, None, {"only"}, False),
        (Frame | None, Frame, set(), False),
        (tuple[int, ...] | None, None, set(), True),
        (int | None, None, set(), False),
    ],
)
def test_form_of(annotation: Any, plain: Any, choices: set[str], many: bool) -> None:
    form = form_of(annotation)
    assert (form.plain, set(form.choices), form.many) == (plain, choices, many)


def test_kinds() -> None:
    assert (kind_of(Circle()), kinds_of(Circle)) == ("circle", ("circle",))
    assert (kind_of(Frame()), kinds_of(Frame)) == (None, ())
    assert stands_alone(Circle)
    assert not stands_alone(Square)


def test_a_bare_string_stands_for_a_kind_wherever_a_choice_is_expected() -> None:
    drawing = read({"maybe": "circle", "more": ["circle"], "named": {"a": "circle"}, "only": "only"})
    assert drawing.maybe == drawing.more[0] == drawing.named["a"] == Circle()
    assert drawing.only == Only()


def test_settings_that_are_not_given_keep_those_of_the_default() -> None:
    assert read({"frame": {"height": 5}}).frame == Frame(width=7, height=5)
    assert read({"shape": {}}).shape == Circle(radius=3.0)
    assert read({"shape": {"kind": "circle"}}).shape == read({"shape": "circle"}).shape == Circle(radius=3.0)
    assert read({"shape": {"kind": "square", "side": 1}}).shape == Square(side=1.0)


def test_settings_that_are_objects_already_are_left_alone() -> None:
    assert read({"shape": Square(side=4.0), "more": (Circle(),)}).shape == Square(side=4.0)


def test_default_list() -> None:
    kinds = [item["kind"] for item in default_list(("more",), {}, Drawing) or []]
    assert kinds == ["circle", "square"]
    assert default_list(("numbers",), {}, Drawing) == [1, 2]
    assert default_list(("frame",), {}, Drawing) is None
    assert default_list(("nothing", "at", "all"), {}, Drawing) is None


@pytest.mark.parametrize(
    ("data", "place", "owner"),
    [
        ({"shape": {"kind": "square"}}, ("shape", "side"), Square),
        ({"more": ["circle", {"kind": "circle", "radios": 2}]}, ("more", 1, "radios"), Circle),
        ({"named": {"x": {"kind": "square", "side": "wide"}}}, ("named", "x", "side"), Square),
        ({"frame": {"widht": 2}}, ("frame", "widht"), Frame),
        ({"numbers": [1, "two"]}, ("numbers", 1), Drawing),
        ({"maybe": "triangle"}, ("maybe",), Drawing),
        ({"path": 3.5}, ("path",), Drawing),
        ({"only": {"extra": 1}}, ("only", "extra"), Only),
        ({"unknown": 1}, ("unknown",), Drawing),
    ],
)
def test_place_of(data: dict[str, Any], place: tuple[str | int, ...], owner: type) -> None:
    with pytest.raises(ValidationError) as caught:
        read(data)
    assert place_of(caught.value.errors()[0]["loc"], Drawing) == (place, owner)
