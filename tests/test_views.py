"""Pictures looked at in tiles and mirrored, and what is found there brought together."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.preprocess import LETTERBOX_GREY, PictureFormat
from pipeline.cli import execute
from pipeline.errors import ConfigError
from pipeline.predict import Asking, views_of
from pipeline.tasks import Classification, Detection
from pipeline.tasks.merging import uncut
from pipeline.views import Mirrored, Tiled, Views, Whole, tiles

FORMAT = PictureFormat(height=32, width=32)
SQUARE = 8
"""Side of the one bright square in each picture, in pixels."""


def picture(height: int, width: int, *corners: tuple[int, int]) -> bytes:
    """PNG of bright squares, their top and left edges given, on black."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for top, left in corners:
        pixels[top : top + SQUARE, left : left + SQUARE] = 255
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def finds_bright(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The box around all bright pixels of a view, if there are any; sure only where they are one square, pixel for
    pixel."""
    images = inputs["image"]
    found = {"boxes": np.zeros((len(images), 4, 4), np.float32), "count": np.zeros(len(images), np.float32)}
    found |= {name: np.zeros((len(images), 4), np.float32) for name in ("classes", "scores")}
    for row, image in enumerate(images):
        rows, columns = (np.flatnonzero((image[..., 0] > 127).any(axis=axis)) for axis in (1, 0))
        if len(rows):
            edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            found["boxes"][row, 0] = np.array(edges) / np.tile(image.shape[1::-1], 2)
            found["scores"][row, 0] = 0.9 if (image[..., 0] == 255).sum() == SQUARE**2 else 0.4
            found["count"][row] = 1
    return found


def task() -> Detection:
    return Detection.model_validate({"class_names": ["square"], "picture": FORMAT.model_dump(), "objects_a_picture": 1})


def sure(views: Views, data: bytes) -> list[list[int]]:
    """The boxes that are found for sure in a picture of 96 x 64, in its pixels."""
    (answer,) = Asking(finds_bright, task(), views).predictions([data])
    boxes = answer["boxes"][answer["scores"] > 0.5] * np.tile((96, 64), 2)
    return sorted(np.rint(boxes).astype(int).tolist())


def test_tiles_cover_a_picture_evenly_and_overlap() -> None:
    assert tiles((32, 32), (32, 32), 0.25) == [(0, 0, 32, 32)]
    assert tiles((20, 90), (32, 32), 0.25) == [(0, 0, 20, 32), (0, 19, 20, 51), (0, 39, 20, 71), (0, 58, 20, 90)]
    for length in (33, 56, 57, 200):
        spans = [(left, right) for _, left, _, right in tiles((32, length), (32, 32), 0.25)]
        assert spans[0][0] == 0 and spans[-1][1] == length
        assert all(before[1] - after[0] >= 8 for before, after in itertools.pairwise(spans))


def test_a_tile_holds_the_picture_s_own_pixels() -> None:
    whole, *parts = Tiled().of(picture(64, 96, (40, 70)), FORMAT)
    assert whole.pixels.shape == parts[0].pixels.shape == (32, 32, 3)
    exact = [view for view in parts if (view.pixels == 255).sum() == 3 * SQUARE**2]
    assert exact
    for view in exact:
        rows, columns = (np.flatnonzero((view.pixels[..., 0] > 0).any(axis=axis)) for axis in (1, 0))
        top, left = view.window[:2] * (64, 96)
        assert (rows[0] + round(top), columns[0] + round(left)) == (40, 70)


@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
def test_a_tile_of_a_low_picture_is_filled_up_pixel_for_pixel(fit: str) -> None:
    """20 x 96 pixels: 6 rows of grey above each tile of 32 x 32, and 6 below."""
    data = picture(20, 96, (0, 70), (12, 70))
    parts = Tiled().of(data, FORMAT.model_copy(update={"fit": fit}))[1:]
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    for view, (top, left, bottom, right) in zip(parts, tiles((20, 96), (32, 32), 0.25), strict=True):
        np.testing.assert_array_equal(view.pixels[6:26], pixels[top:bottom, left:right])
        assert set(view.pixels[:6].ravel()) | set(view.pixels[26:].ravel()) == {LETTERBOX_GREY}
        np.testing.assert_allclose(view.window, [-6 / 20, left / 96, 26 / 20, right / 96], atol=1e-6)


def test_a_picture_no_larger_than_a_tile_is_looked_at_once() -> None:
    assert len(Tiled().of(picture(30, 20), FORMAT)) == 1
    assert len(Mirrored(Tiled()).of(picture(30, 20), FORMAT)) == 2


def test_a_mirrored_view_is_placed_where_it_came_from() -> None:
    data = picture(64, 96, (40, 70))
    (view, mirrored) = Mirrored(Whole()).of(data, FORMAT)
    np.testing.assert_array_equal(mirrored.pixels, view.pixels[:, ::-1])
    again = mirrored.mirrored()
    np.testing.assert_array_equal(again.window, view.window)


def test_small_objects_are_found_in_tiles_alone_and_once() -> None:
    data = picture(64, 96, (40, 70), (3, 5))
    assert sure(Whole(), data) == []
    assert sure(Tiled(), data) == [[5, 3, 13, 11], [70, 40, 78, 48]]
    assert sure(Mirrored(Tiled()), data) == [[5, 3, 13, 11], [70, 40, 78, 48]]


def test_an_object_at_the_edge_of_a_tile_is_found_whole_in_the_next() -> None:
    edges = sorted({right for _, _, _, right in tiles((64, 96), (32, 32), 0.25)})
    left = edges[0] - SQUARE // 2
    assert sure(Tiled(), picture(64, 96, (10, left))) == [[left, 10, left + SQUARE, 10 + SQUARE]]


def test_what_ends_at_the_picture_s_own_border_stays() -> None:
    assert sure(Tiled(), picture(64, 96, (0, 0))) == [[0, 0, SQUARE, SQUARE]]
    assert sure(Tiled(), picture(64, 96, (64 - SQUARE, 96 - SQUARE))) == [[96 - SQUARE, 64 - SQUARE, 96, 64]]


def test_of_the_whole_view_nothing_is_left_out_though_it_is_cropped() -> None:
    """With `crop` the whole view ends inside the picture, and without tiles no other view shows what lies beyond."""
    window = np.array([0.0, 0.2, 1.0, 0.8], np.float32)
    found = {"boxes": np.array([[0.0, 0.3, 0.4, 0.6]], np.float32), "scores": np.array([0.9], np.float32), "count": 1}
    assert uncut(found, window, window)["scores"].tolist() == pytest.approx([0.9])
    assert uncut(found, window[[0, 3, 2, 1]], window)["scores"].tolist() == pytest.approx([0.9])
    assert uncut(found, window, np.array([0.0, 0.0, 1.0, 1.0]))["scores"].tolist() == [0.0]


def test_an_overlap_of_no_tiles_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["predict", str(tmp_path), str(tmp_path), "--overlap", "0.5"]) == 2
    assert "--overlap 0.5 says what tiles share, but there is no --tile" in capsys.readouterr().err
    assert views_of(tile=True, overlap=None, mirror=False) == Tiled(0.25)
    assert views_of(tile=True, overlap=0.5, mirror=True) == Mirrored(Tiled(0.5))
    assert isinstance(views_of(tile=False, overlap=None, mirror=False), Whole)


def test_a_task_that_answers_for_the_whole_picture_refuses() -> None:
    whole = Classification.model_validate({"class_names": ["a", "b"], "picture": FORMAT.model_dump()})
    with pytest.raises(ConfigError, match="--tile and --mirror"):
        Asking(finds_bright, whole, Mirrored(Whole())).predictions([picture(64, 96, (4, 4))])
