"""Scores of tracks: by hand, and against TrackEval, the reference of HOTA's authors."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.tracking.mot import NOTHING, Objects
from pipeline.tracking.scores import THRESHOLDS, Compared, hota, scores

SCORES_OF_TRACKEVAL = (
    (0.1401244144434707, 0.22368055394891123, 0.09375881734253377),
    (0.13874361351757486, 0.1903255862932014, 0.11053887657228996),
    (0.14362333421807516, 0.2177792725579915, 0.10271750388901218),
)
"""HOTA, DetA and AssA of `drawn`, by TrackEval 1.3.0 (`trackeval.metrics.HOTA.eval_sequence`)."""


def objects(*placed: tuple[int, float], kind: int = -1, ignored: bool = False, in_parts: bool = False) -> Objects:
    """(id, x) -> boxes of 10 x 10."""
    boxes = np.array([(x, 0.0, x + 10, 10.0) for _, x in placed]).reshape(-1, 4)
    ids = np.array([track for track, _ in placed], np.int64)
    return Objects(
        ids, boxes, np.full(len(placed), kind), *(np.full(len(placed), flag) for flag in (ignored, in_parts))
    )


def joined(*parts: Objects) -> Objects:
    return Objects(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(NOTHING)))


def drawn(seed: int) -> list[Compared]:
    """Forty frames of tracks that half of the time change their ids."""
    random, frames = np.random.default_rng(seed), []
    for time in range(40):
        true = np.sort(random.choice(8, random.integers(0, 7), replace=False))
        tracked = np.sort(random.choice(10, random.integers(0, 8), replace=False))
        same = true[:, None] == tracked + (time > 20)
        overlap = np.clip(random.uniform(-0.3, 0.5, same.shape) + 0.6 * same, 0, 1)
        frames.append(Compared(true + 5, tracked + 100, overlap))
    return frames


@pytest.mark.parametrize("seed", range(len(SCORES_OF_TRACKEVAL)))
def test_hota_is_that_of_its_authors(seed: int) -> None:
    assert tuple(hota(drawn(seed)).values()) == pytest.approx(SCORES_OF_TRACKEVAL[seed], rel=1e-12)


def test_a_track_that_changes_its_id_half_way() -> None:
    truth = {number: objects((1, 0)) for number in (1, 2, 3, 4)}
    tracked = {1: objects((7, 0)), 2: objects((7, 0)), 3: objects((8, 0)), 4: objects((8, 0))}
    found = scores(truth, tracked, [1, 2, 3, 4])
    assert found["mota"] == 1 - 1 / 4, "one identity switch among four objects"
    assert (found["identity_switches"], found["misses"], found["false_positives"]) == (1, 0, 0)
    assert found["idf1"] == 2 * 2 / (4 + 4), "two frames of the better one"
    # Each of the four pairs shares 2 of the 4 + 2 - 2 frames that either track has.
    assert (found["detection_accuracy"], found["association_accuracy"]) == pytest.approx((1.0, 0.5))
    assert found["hota"] == pytest.approx(np.sqrt(0.5))


def test_boxes_that_are_off_count_up_to_their_overlap() -> None:
    found = scores({1: objects((1, 0))}, {1: objects((1, 2.5))}, [1])  # 7.5 of 12.5
    assert found["mota"] == 1.0
    assert found["detection_accuracy"] == pytest.approx((THRESHOLDS <= 0.6 + 1e-9).mean())


def test_misses_and_what_is_not_there() -> None:
    found = scores({1: objects((1, 0), (2, 50)), 2: objects((1, 0))}, {1: objects((5, 0), (6, 100))}, [1, 2])
    assert (found["misses"], found["false_positives"]) == (2, 1)
    assert found["mota"] == pytest.approx(1 - 3 / 3)
    assert found["detection_accuracy"] == pytest.approx(1 / (1 + 2 + 1))


def test_who_follows_what_does_not_count_neither_gains_nor_loses() -> None:
    truth = {1: joined(objects((1, 0)), objects((2, 50), ignored=True))}
    found = scores(truth, {1: objects((5, 0), (6, 50))}, [1])
    assert (found["mota"], found["idf1"], found["hota"]) == (1.0, 1.0, 1.0)
    assert scores(truth, {1: objects((5, 0))}, [1])["mota"] == 1.0


def test_what_is_asked_for_has_its_track_before_what_is_ignored() -> None:
    """The track overlaps the ignored object more: 9.2 of 10.8, the other 8.8 of 11.2."""
    truth = {1: joined(objects((1, 0)), objects((2, 2), ignored=True))}
    assert scores(truth, {1: objects((5, 1.2))}, [1])["mota"] == 1.0
    both = scores(truth, {1: objects((5, 1.2), (6, 2))}, [1])
    assert (both["mota"], both["false_positives"]) == (1.0, 0)


@pytest.mark.parametrize(("in_parts", "mota"), [(True, 1.0), (False, 0.0)])
def test_a_part_of_what_is_hidden_may_be_found(in_parts: bool, mota: float) -> None:
    """Its right four tenths are seen; and of another box a third lies on it, which is not half."""
    truth = {1: joined(objects((1, 50)), objects((2, 0), ignored=True, in_parts=in_parts))}
    found = joined(objects((7, 50)), objects((8, 0)))
    found.boxes[1] = (6.0, 0.0, 10.0, 10.0)
    assert scores(truth, {1: found}, [1])["mota"] == mota
    found.boxes[1] = (7.0, 0.0, 16.0, 10.0)
    assert scores(truth, {1: found}, [1])["mota"] == 0.0


def test_who_is_wrong_about_what_is_in_front_is_wrong() -> None:
    """A hidden object lies under the visible one, of which a second track is wrong, and one of another class."""
    truth = {1: joined(objects((1, 0), kind=3), objects((2, 2), kind=4, ignored=True, in_parts=True))}
    assert scores(truth, {1: objects((5, 0), (6, 1), kind=3)}, [1])["false_positives"] == 1
    assert scores(truth, {1: objects((5, 0), kind=7)}, [1])["mota"] == 1 - 2 / 1


def test_what_is_ignored_and_seen_is_found_once() -> None:
    truth = {1: joined(objects((1, 50)), objects((2, 0), ignored=True))}
    assert scores(truth, {1: objects((5, 50), (6, 0), (7, 1))}, [1])["false_positives"] == 1


def test_what_is_ignored_may_be_taken_for_another_class() -> None:
    truth = {1: joined(objects((1, 0), kind=3), objects((2, 50), kind=3, ignored=True))}
    assert scores(truth, {1: joined(objects((5, 0), kind=3), objects((6, 50), kind=4))}, [1])["mota"] == 1.0
    assert scores(truth, {1: joined(objects((5, 0), kind=4), objects((6, 50), kind=4))}, [1])["mota"] == -1.0


def test_classes_have_to_agree_where_they_are_known() -> None:
    tracked = {1: objects((5, 0), kind=3)}
    assert scores({1: objects((1, 0), kind=3)}, tracked, [1])["mota"] == 1.0
    assert scores({1: objects((1, 0))}, tracked, [1])["mota"] == 1.0
    assert scores({1: objects((1, 0), kind=4)}, tracked, [1])["mota"] == -1.0, "a miss and a false one"


def test_nothing_at_all() -> None:
    found = scores({}, {}, [1, 2])
    assert (found["mota"], found["idf1"], found["hota"]) == (None, None, 0.0)
    assert scores({1: objects((1, 0))}, {}, [1])["hota"] == 0.0
    assert scores({}, {1: objects((1, 0))}, [1])["false_positives"] == 1
