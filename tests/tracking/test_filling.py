"""Gaps in tracks that are filled."""

from __future__ import annotations

import numpy as np

from pipeline.tracking.filling import filled
from pipeline.tracking.tracker import CONFIRMED, Tracked


def seen(*rows: tuple[int, float, int, float]) -> Tracked:
    """Rows of track, place, class, score: boxes of 10 pixels beginning at that place."""
    ids, places, classes, scores = zip(*rows, strict=True) if rows else ((), (), (), ())
    boxes = np.array([[place, place, place + 10.0, place + 10.0] for place in places]).reshape(-1, 4)
    states = np.full(len(rows), CONFIRMED, np.int8)
    return Tracked(np.array(ids, np.int64), boxes, np.array(classes, np.int64), np.array(scores), states)


def told(one: Tracked) -> list[tuple[int, float, int, float]]:
    return list(zip(one.ids.tolist(), one.boxes[:, 0].tolist(), one.classes.tolist(), one.scores.tolist(), strict=True))


TRACKS = {
    1: seen((1, 0.0, 3, 0.9), (2, 50.0, 4, 0.8)),
    2: seen((2, 51.0, 4, 0.8)),
    3: seen((2, 52.0, 4, 0.8)),
    4: seen((1, 30.0, 5, 0.6)),
}


def test_a_gap_is_filled_on_a_straight_line() -> None:
    result = filled(TRACKS, most=2)
    assert told(result[1]) == told(TRACKS[1]) and told(result[4]) == told(TRACKS[4])
    assert told(result[2]) == [(2, 51.0, 4, 0.8), (1, 10.0, 3, 0.6)]
    assert told(result[3]) == [(2, 52.0, 4, 0.8), (1, 20.0, 3, 0.6)]
    assert (result[2].boxes[1] == [10.0, 10.0, 20.0, 20.0]).all() and (result[2].states == CONFIRMED).all()
    assert {one.ids.dtype for one in result.values()} == {np.dtype(np.int64)}


def test_a_longer_gap_and_the_time_after_a_track_stay_empty() -> None:
    for most in (0, 1):
        assert {number: told(one) for number, one in filled(TRACKS, most).items()} == {
            number: told(one) for number, one in TRACKS.items()
        }


def test_frames_that_could_not_be_read_get_no_boxes() -> None:
    without = {number: one for number, one in TRACKS.items() if number != 3}
    result = filled(without, most=2)
    assert list(result) == [1, 2, 4]
    assert told(result[2]) == [
        (2, 51.0, 4, 0.8),
        (1, 10.0, 3, 0.6),
    ]  # frame 3 was there all the same
