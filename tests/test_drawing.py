"""Drawing what an example holds: objects at their places, captions in words, sheets."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.drawing import COLOURS, Cell, Names, captions, drawn, enlarged, font, png, sheet, with_caption, wrapped

NAMES = Names(("cat", "dog", "owl"), ("age", "height"))
SIDE = 40


def example(**fields: object) -> dict:
    return {"image": np.full((SIDE, SIDE, 3), 100, np.uint8), **fields}


def boxed(number: int = 1, **fields: object) -> dict:
    """A box from a quarter to three quarters, and an empty place."""
    boxes = np.array([[0.25, 0.5, 0.75, 1.0], [0, 0, 0, 0]], np.float32)
    return example(boxes=boxes, classes=np.array([number, -1]), **fields)


def mixed(parts: list[int], shares: list[float]) -> dict:
    return {"label": np.int64(0), "label_parts": np.array(parts), "label_shares": np.float32(shares)}


def is_colour(pixel: np.ndarray, number: int) -> bool:
    return tuple(pixel) == COLOURS[number]


def test_without_objects_the_picture_is_untouched() -> None:
    for channels in (1, 3):
        pixels = np.random.default_rng(0).integers(0, 256, (6, 9, channels), np.uint8)
        result = np.asarray(drawn({"image": pixels}, NAMES))
        np.testing.assert_array_equal(result, np.broadcast_to(pixels, (6, 9, 3)))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_box_has_its_edge_in_the_colour_of_its_class(number: int) -> None:
    result = np.asarray(drawn(boxed(number), NAMES))
    for y, x in [(39, 20), (35, 10), (35, 29), (39, 10), (39, 29)]:
        assert is_colour(result[y, x], number), (y, x)
    for y, x in [(35, 9), (35, 30), (35, 20), (0, 0)]:
        assert tuple(result[y, x]) == (100, 100, 100), (y, x)
    assert result.min(axis=-1).max() > 180, "the name, white"


def test_an_empty_place_is_not_drawn() -> None:
    nothing = boxed() | {"classes": np.array([-1, -1])}
    assert (np.asarray(drawn(nothing, NAMES)) == 100).all()


def test_corners_and_points() -> None:
    corners = np.zeros((2, 4, 2), np.float32)
    corners[0] = [[0.5, 0.1], [0.9, 0.5], [0.5, 0.9], [0.1, 0.5]]
    points = np.array([[[0.5, 0.5, 2], [0.8, 0.8, 1], [0.0, 0.0, 0]]] * 2, np.float32)
    fields = boxed(2, corners=corners, points=points)
    del fields["boxes"]
    result = np.asarray(drawn(fields, NAMES))
    assert is_colour(result[12, 28], 2), "on the slanted side"
    assert is_colour(result[20, 20], 2), "a visible key point is filled"
    assert tuple(result[32, 32]) == (100, 100, 100), "a hidden one is a ring"
    assert tuple(result[0, 0]) == (100, 100, 100), "one that is not labelled is not there"


def test_masks_are_translucent() -> None:
    masks = np.zeros((2, SIDE, SIDE), np.uint8)
    masks[0, :, :8] = 1
    mask = np.zeros((SIDE, SIDE, 1), np.uint8)
    mask[:, 20:], mask[0] = 1, 255
    tinted = np.asarray(drawn(boxed(2, masks=masks) | {"boxes": np.zeros((2, 4), np.float32)}, NAMES))
    assert tuple(tinted[20, 4]) == tuple(np.rint(100 + 0.45 * (np.array(COLOURS[2]) - 100)))
    assert tuple(tinted[20, 12]) == (100, 100, 100)
    classes = np.asarray(drawn(example(mask=mask), NAMES))
    assert tuple(classes[20, 30]) == tuple(np.rint(100 + 0.45 * (np.array(COLOURS[1]) - 100)))
    assert tuple(classes[0, 3]) == (55, 55, 55), "what does not count is darkened"


def test_small_pictures_are_enlarged_by_whole_factors() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    picture = enlarged(pixels, 5)
    assert picture.size == (6, 6)
    np.testing.assert_array_equal(np.asarray(picture), pixels.repeat(3, 0).repeat(3, 1))
    assert drawn(boxed(), NAMES, 100).size == (120, 120)


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ({}, []),
        ({"label": np.int64(1)}, ["dog"]),
        ({"label": np.int64(-1)}, ["?"]),
        (mixed([0, 1, 0], [0.2, 0.7, 0.1]), ["dog: 70%, cat: 30%"]),
        (mixed([0, 0], [1.0, 0.0]), ["cat"]),
        ({"labels": np.float32([1, 0, 1])}, ["cat, owl"]),
        ({"labels": np.float32([0.25, 0, np.nan])}, ["cat: 25%, 1 not known"]),
        ({"labels": np.float32([0, 0, 0])}, ["none"]),
        ({"value": np.float32([31.41592, np.nan])}, ["age 31.42, height ?"]),
        ({"label": 2, "text": "schön".encode()}, ["owl", "“schön”"]),
    ],
)
def test_captions(fields: dict, lines: list[str]) -> None:
    assert captions(example(**fields), NAMES) == lines


def test_text_is_wrapped_and_cut_off() -> None:
    letters = font(12)
    lines = wrapped("one two three four five six seven eight nine ten", letters, 60, 2)
    assert len(lines) == 2 and lines[1].endswith("…") and lines[0].startswith("one")
    assert all(letters.getlength(line) <= 60 for line in lines)
    assert wrapped("short", letters, 60, 2) == ["short"]
    assert letters.getlength(wrapped("extraordinarily-long", letters, 60, 2)[0]) <= 60
    assert wrapped("", letters, 60, 2) == []


def test_letters_of_other_scripts_are_there() -> None:
    letters = font(20)
    missing = letters.getmask("\uffff").getbbox()
    assert all(letters.getmask(letter).getbbox() != missing for letter in "äßčŁЖΩ")


def test_a_sheet_holds_every_picture_and_its_caption() -> None:
    def cell(row: int, column: int) -> Cell:
        return Cell(Image.new("RGB", (60, 40), (20 * row, 90, 30 * column)), ["a b", "c"])

    rows = [[cell(row, column) for column in (1, 2)] for row in (1, 2, 3)]
    made = sheet(["left", "right"], rows)
    pixels = np.asarray(made)
    for row in (1, 2, 3):
        for column in (1, 2):
            assert (pixels == (20 * row, 90, 30 * column)).all(axis=-1).sum() == 60 * 40
    assert made.width < 2 * 60 + 3 * 10 and (pixels.sum(axis=-1) == 0).any()
    assert Image.open(io.BytesIO(png(made))).size == made.size


def test_a_caption_too_long_is_cut_off() -> None:
    short, long = (np.asarray(with_caption(Image.new("RGB", (100, 50)), "x" * count)) for count in (3, 300))
    assert short.shape == long.shape and not long[:, -6:].any()
