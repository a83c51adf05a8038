"""Sequences of scenes: who moves where, in which ink, and what is said of who is hidden."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pipeline.data.scenes.digits import LUMINANCE, Digit, Stamp
from pipeline.data.scenes.motion import REACH, Actor, Cast, Frame, Sequence, looks_of, met_in
from pipeline.data.scenes.render import Layout
from pipeline.data.sources import SceneSequences
from tests.data.scenes.test_scenes import LAYOUT, pixels


def test_a_sequence_may_be_long() -> None:
    """Who has left is gone: a digit neither grows back into the picture nor is laid out for ever."""
    sequence = Sequence(Layout(64, 64, (2, 6), (0.1, 0.35), 0.75, 0.28), "train", 0, 0, 3000)
    cast = sequence.places()
    assert len(cast.actors) > 100
    laid, _ = cast.laid(2999, 3000, sequence.layout)
    assert 1 <= len(laid) <= 12
    assert max(one.digit.height for one in laid) < 0.35 * 64 * 2
    assert pixels(Frame(sequence, 2999).read_bytes()).shape == (64, 64, 3)


def test_sequences_move() -> None:
    examples = list(SceneSequences(train=2, validation=1, test=0, frames=40).examples())
    assert [one.id for one in examples[38:42]] == [
        "train/0000/000038",
        "train/0000/000039",
        "train/0001/000000",
        "train/0001/000001",
    ]
    for start in (0, 40, 80):
        frames = examples[start : start + 40]
        tracks: dict[int, list[tuple[int, float, float]]] = {}
        labels: dict[int, set[str]] = {}
        for moment, frame in enumerate(frames):
            numbers = [one.track for one in frame.objects or ()]
            assert len(numbers) == len(set(numbers))
            for one in frame.objects or ():
                x_min, y_min, x_max, y_max = one.box or (0, 0, 0, 0)
                tracks.setdefault(one.track or 0, []).append((moment, (x_min + x_max) / 2, (y_min + y_max) / 2))
                labels.setdefault(one.track or 0, set()).add(one.label)
                assert one.visible is not None and one.difficult == (one.visible < 0.25)
        assert 0 not in tracks
        assert all(len(names) == 1 for names in labels.values())
        assert any(np.hypot(way[-1][1] - way[0][1], way[-1][2] - way[0][2]) > 10 for way in tracks.values())
    everyone = [sorted(one.track or 0 for one in frame.objects or ()) for frame in examples]
    assert any(set(before) - set(after) for before, after in pairwise(everyone))
    first, second = (pixels(examples[number].image.read_bytes()).astype(int) for number in (0, 1))
    assert 0 < np.abs(first - second).mean() < 25


def test_a_hidden_digit_is_where_it_would_be_seen() -> None:
    """Two digits on one spot, the upper one larger: the lower one is not asked for, and boxed as if it lay free."""
    sequence = Sequence(LAYOUT._replace(digits=(1, 1)), "train", 0, 0, 2)
    digit = Digit.drawn(np.random.default_rng(1), "train", 30.0).at(80.0, 80.0)
    alone, bar = Actor(digit, 0, (0.0, 0.0), 1.0, 0.0, 0.0, 20.0), Stamp(60, 60, np.ones((40, 40), np.float32))
    (free,) = met_in(sequence, Cast([alone], [], (0.0, 0.0)), 0)
    (hidden,) = met_in(sequence, Cast([alone], [bar], (0.0, 0.0)), 0)
    assert (free.visible, hidden.visible) == (1.0, 0.0)
    assert hidden.box == free.box
    assert not hidden.mask.any()
    half = Stamp(60, 60, np.ones((40, 20), np.float32))
    (part,) = met_in(replace(sequence, layout=LAYOUT._replace(most_hidden=0.99)), Cast([alone], [half], (0.0, 0.0)), 0)
    ys, xs = np.nonzero(free.mask[:, 80:])
    assert part.box == (80 + xs.min(), ys.min(), 80 + xs.max() + 1, ys.max() + 1)
    (too_far,) = met_in(
        replace(sequence, layout=LAYOUT._replace(most_hidden=0.05)), Cast([alone], [half], (0.0, 0.0)), 0
    )
    assert (too_far.box, too_far.visible) == (free.box, part.visible)
    beyond = alone._replace(digit=digit.at(400.0, 80.0))
    assert met_in(sequence, Cast([beyond], [], (0.0, 0.0)), 0) == []


def test_an_ink_can_be_read_all_along_its_way() -> None:
    """The ground is black at the left and white at the right: no ink keeps 0.4 from both, so there is a rim; where the
    digit stays on one side, there is an ink without."""
    sequence = Sequence(LAYOUT._replace(digits=(1, 1), least_contrast=0.4), "train", 0, 0, 60)
    digit = Digit.drawn(np.random.default_rng(1), "train", 20.0)
    across = Actor(digit.at(20.0, 80.0), 0, (2.0, 0.0), 1.0, 0.0, 0.0, 20.0)
    stays = Actor(digit.at(20.0, 40.0), 0, (0.1, 0.0), 1.0, 0.0, 0.0, 20.0)
    side = 160 + 2 * sequence.margin
    world = np.repeat(np.where(np.arange(side) < side / 2, 0.0, 1.0).astype(np.float32)[None, :, None], side, 0)
    world = np.repeat(world, 3, 2)
    cast = Cast([across, stays], [], (0.0, 0.0))
    looks = [looks_of(np.random.default_rng(seed), sequence, cast, world) for seed in range(20)]
    assert all(way.rim for way, _ in looks)
    assert {still.rim for _, still in looks} == {True, False}  # by chance, as in scenes
    assert all(float(still.digit.shade @ LUMINANCE) >= 0.4 for _, still in looks)


def test_digits_of_one_ink_that_may_meet_have_a_rim() -> None:
    """On mid grey only black and white can be read, so a third digit shares its ink with another."""
    sequence = Sequence(LAYOUT._replace(least_contrast=0.4), "train", 0, 0, 20)
    digit = Digit.drawn(np.random.default_rng(1), "train", 20.0).at(80.0, 80.0)
    cast, side = Cast([Actor(digit, 0, (0.1, 0.0), 1.0, 0.0, 0.0, 20.0)] * 3, [], (0.0, 0.0)), 160 + 2 * sequence.margin
    world = np.full((side, side, 3), 0.5, np.float32)
    looks = [looks_of(np.random.default_rng(seed), sequence, cast, world) for seed in range(20)]
    assert {one.digit.ink for those in looks for one in those} == {"black", "white"}
    assert {those[0].rim for those in looks} == {True, False}
    shared = [those[2] for those in looks if those[2].digit.ink in (those[0].digit.ink, those[1].digit.ink)]
    assert len(shared) > 10
    assert all(one.rim for one in shared)


def test_a_slow_digit_s_way_is_looked_at_to_its_end() -> None:
    """It lies on black for 400 pictures and on white from there on."""
    sequence = Sequence(LAYOUT._replace(least_contrast=0.6), "train", 0, 0, 1000)
    slow = Actor(Digit.drawn(np.random.default_rng(1), "train", 20.0).at(0.0, 80.0), 0, (0.2, 0.0), 1.0, 0.0, 0.0, 20.0)
    side = 160 + 2 * sequence.margin
    world = np.zeros((side, side, 3), np.float32)
    world[:, sequence.margin + 80 :] = 1.0
    looks = [looks_of(np.random.default_rng(seed), sequence, Cast([slow], [], (0.0, 0.0)), world) for seed in range(20)]
    assert all(one.rim for (one,) in looks)


@pytest.mark.parametrize("digits", [(1, 1), (2, 6), (5, 5)])
def test_no_more_digits_are_in_a_picture_than_asked_for(digits: tuple[int, int]) -> None:
    """The camera swings over no others, either; and whoever leaves is followed by another."""
    layout, most, middles = LAYOUT._replace(digits=digits, most_hidden=0.75), [], list[int]()
    for number in range(5):
        sequence = Sequence(layout, "train", number, 0, 200)
        cast = sequence.places()
        laid = [len(cast.laid(time, 200, layout)[0]) for time in range(200)]
        assert digits[0] - 1 <= min(laid)
        assert max(len(met_in(sequence, cast, time)) for time in range(0, 200, 5)) <= max(laid) <= digits[1]
        there = [[actor.at(time) for actor in cast.actors if actor.start <= time] for time in range(200)]
        middles += [sum(0 <= one.x < 160 and 0 <= one.y < 160 for one in those) for those in there]
        most.append(max(laid))
    assert max(most) == digits[1]
    assert np.mean(middles) > 0.6 * digits[0]


def test_none_of_a_digit_is_beyond_its_reach() -> None:
    """However it is turned and slanted, so that who is laid in no picture is seen in none."""
    for seed in range(300):
        digit = Digit.drawn(np.random.default_rng(seed), "train", 30.0)
        turned = replace(digit, angle=float(np.random.default_rng(seed).uniform(-180, 180)))
        box = turned.at(100.0, 100.0).stamp().box(200, 200)
        assert box is not None
        left, top, right, bottom = box
        assert max(100 - left, 100 - top, right - 100, bottom - 100) <= REACH * 30.0


def test_digits_come_in_and_go_out() -> None:
    cast = Sequence(LAYOUT._replace(digits=(2, 6), most_hidden=0.75), "train", 3, 0, 200).places()
    assert len({actor.start for actor in cast.actors}) > 2
    assert [actor.digit.track for actor in cast.actors] == list(range(1, len(cast.actors) + 1))
    gone = [actor for actor in cast.actors if not (0 <= actor.at(199).x < 160 and 0 <= actor.at(199).y < 160)]
    assert gone
