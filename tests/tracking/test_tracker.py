"""The tracker: who is matched with whom, and how a track lives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.backbones import SmallResNet
from models.preprocess import PictureFormat
from models.stack import keras
from pipeline import stages
from pipeline.errors import ConfigError
from pipeline.run import Run
from pipeline.tasks import Classification
from pipeline.tracking.appearance import Colours, NetworkFeatures
from pipeline.tracking.association import assigned, with_looks
from pipeline.tracking.camera import MovingCamera
from pipeline.tracking.mot import Objects
from pipeline.tracking.particles import Particles
from pipeline.tracking.scores import scores
from pipeline.tracking.settings import TrackSettings
from pipeline.tracking.tracker import CONFIRMED, LOST, Tracked, Tracker
from tests.tracking.given import box, detections, known, spoiled, together

NOTHING = detections()


def test_the_least_total_cost_wins_and_what_costs_too_much_is_no_pair() -> None:
    costs = np.array([[0.1, 0.2, 0.9], [0.15, 0.7, 0.9], [0.9, 0.85, 0.95]])
    # One by one, 0 would take 0 and 1 be left with 0.7; together 0.2 + 0.15 is less.
    tracks, found = assigned(costs, 0.8)
    assert (tracks.tolist(), found.tolist()) == ([0, 1], [1, 0])
    assert [len(one) for one in assigned(np.zeros((0, 3)), 0.8)] == [0, 0]


def test_looks_count_where_the_place_is_possible() -> None:
    looks, distances = np.array([[0.1, 0.1, 0.3]]), np.array([[5.0, 50.0, 5.0]])
    np.testing.assert_allclose(with_looks(np.ones((1, 3)), looks, distances, 0.2), [[0.05, 1.0, 1.0]])


def test_a_track_lives_is_lost_comes_back_and_ends() -> None:
    tracker = Tracker(TrackSettings(keep_lost=2))
    assert tracker.update(detections(box(30, 30))).ids.tolist() == [1], "in the first frame, at once"
    both = together(detections(box(32, 30)), detections(box(90, 90), score=0.8, kind=4))
    assert tracker.update(both).ids.tolist() == [1], "later, when it was seen twice"
    tracked = tracker.update(both)
    assert (tracked.ids.tolist(), tracked.classes.tolist(), tracked.scores.tolist()) == ([1, 2], [0, 4], [0.9, 0.8])
    gone = tracker.update(detections(box(32, 30)))
    assert (gone.states.tolist(), gone.seen.ids.tolist()) == ([CONFIRMED, LOST], [1])
    assert tracker.update(both).states.tolist() == [CONFIRMED, CONFIRMED], "and back at once"
    for _ in range(2):
        assert tracker.update(detections(box(32, 30))).ids.tolist() == [1, 2]
    assert tracker.update(detections(box(32, 30))).ids.tolist() == [1]
    tracker.update(both)
    assert tracker.update(both).ids.tolist() == [1, 3], "an id is never given twice"


def test_what_is_seen_once_is_no_track_and_takes_no_id() -> None:
    tracker = Tracker(TrackSettings())
    tracker.update(NOTHING)
    tracker.update(detections(box(30, 30)))
    assert tracker.update(NOTHING).ids.size == 0
    for _ in range(2):
        tracked = tracker.update(detections(box(100, 30)))
    assert tracked.ids.tolist() == [1]
    assert tracker.update(detections(box(60, 90), score=0.65)).seen.ids.size == 0, "0.65 begins no track"


def test_low_scores_keep_tracks_that_were_just_seen_and_no_others() -> None:
    weak, strong = detections(box(30, 30), score=0.2), detections(box(30, 30))
    tracker = Tracker(TrackSettings())
    tracker.update(strong)
    assert tracker.update(weak).seen.ids.tolist() == [1]
    tracker.update(NOTHING)
    assert tracker.update(weak).seen.ids.size == 0, "a lost one needs a high score"
    assert tracker.update(strong).seen.ids.tolist() == [1]
    without = Tracker(TrackSettings(low_score=0.6))
    without.update(strong)
    assert without.update(weak).seen.ids.size == 0


def test_classes_are_kept_apart_unless_asked_not_to() -> None:
    sure, unsure = detections(box(30, 30), kind=3), detections(box(31, 30), score=0.8, kind=8)
    apart, across = Tracker(TrackSettings()), Tracker(TrackSettings(across_classes=True))
    for tracker in (apart, across):
        tracker.update(sure)
    assert apart.update(unsure).seen.ids.size == 0
    tracked = across.update(unsure)
    assert (tracked.ids.tolist(), tracked.classes.tolist()) == ([1], [3]), "0.9 for 3 against 0.8 for 8"
    assert across.update(unsure).classes.tolist() == [8]


def test_of_two_detections_in_one_place_the_better_one_is_an_object() -> None:
    # Boxes of 20 x 20, 5 apart: 15 * 20 of 25 * 20 pixels are shared, an overlap of 0.6.
    found = together(detections(box(30, 30), score=0.8, kind=8), detections(box(35, 30), score=0.9, kind=3))
    assert Tracker(TrackSettings()).update(found).classes.tolist() == [8, 3]
    assert Tracker(TrackSettings(duplicates=0.65)).update(found).classes.tolist() == [8, 3]
    assert Tracker(TrackSettings(duplicates=0.55)).update(found).classes.tolist() == [3]
    assert len(Tracker(TrackSettings()).update(together(found, found)).ids) == 4, "with 1 all stay, the same ones too"


def test_scores_of_the_model_stand_in_for_those_that_are_left_out() -> None:
    assert TrackSettings().thresholds() == pytest.approx((0.1, 0.6, 0.7))
    assert TrackSettings().thresholds(0.85) == pytest.approx((0.1, 0.85, 0.9))
    assert TrackSettings().thresholds(0.05) == pytest.approx((0.05, 0.05, 0.15))
    assert TrackSettings(high_score=0.4, new_score=0.45).thresholds(0.9) == pytest.approx((0.1, 0.4, 0.45))
    assert TrackSettings(high_score=0.05).thresholds() == pytest.approx((0.05, 0.05, 0.15))
    with pytest.raises(ValueError, match=r"expected low_score <= high_score <= new_score, got 0\.5, 0\.4"):
        TrackSettings(high_score=0.5, new_score=0.4)


def test_scores_that_contradict_the_models_own_are_refused() -> None:
    assert TrackSettings(low_score=0.35, new_score=0.35).thresholds(0.35) == pytest.approx((0.35, 0.35, 0.35))
    with pytest.raises(ConfigError, match=r"low_score=0\.5 contradicts the model's own threshold 0\.35.*at most"):
        TrackSettings(low_score=0.5).thresholds(0.35)
    with pytest.raises(ConfigError, match=r"new_score=0\.2 contradicts the model's own threshold 0\.35.*at least"):
        Tracker(TrackSettings(new_score=0.2), 0.35)
    assert TrackSettings(low_score=0.5, high_score=0.6).thresholds(0.35) == pytest.approx((0.5, 0.6, 0.7))


def test_a_broken_frame_costs_no_track() -> None:
    tracker = Tracker(TrackSettings(keep_lost=0))
    for step in range(8):
        tracker.update(detections(box(30 + 5 * step, 30)))
    tracker.skip()
    tracker.skip()
    assert tracker.update(detections(box(80, 30))).ids.tolist() == [1], "it moved on by two frames in between"


def test_the_first_frame_that_can_be_read_is_the_first() -> None:
    tracker = Tracker(TrackSettings(confirm=3))
    tracker.skip()
    assert tracker.update(detections(box(30, 30))).ids.tolist() == [1]
    assert tracker.update(detections(box(30, 30), box(90, 30))).ids.tolist() == [1], "the other is not confirmed yet"


def painted(*places: tuple[float, tuple[int, int, int]]) -> np.ndarray:
    """A frame with squares at x, each of a colour."""
    pixels = np.full((60, 160, 3), 90, np.uint8)
    for x, colour in places:
        pixels[20:40, int(x) - 10 : int(x) + 10] = colour
    return pixels


def swapped(settings: TrackSettings) -> Tracked:
    """Two objects that are hidden for some frames, and meanwhile change places."""
    red, blue, tracker = (220, 30, 30), (30, 30, 220), Tracker(settings)
    for _ in range(3):
        tracker.update(detections(box(50, 30), box(75, 30)), painted((50, red), (75, blue)))
    for _ in range(20):
        tracker.update(NOTHING, painted())
    return tracker.update(detections(box(50, 30), box(75, 30)), painted((50, blue), (75, red))).seen


def test_colours_tell_who_is_who_after_an_occlusion() -> None:
    by_place, by_looks = swapped(TrackSettings()), swapped(TrackSettings(appearance=Colours()))
    assert np.sort(by_place.ids).tolist() == np.sort(by_looks.ids).tolist() == [1, 2]
    np.testing.assert_allclose(middles(by_place), [50, 75], atol=6)
    np.testing.assert_allclose(middles(by_looks), [75, 50], atol=6)


def test_features_of_a_network_tell_it_too(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    describe = NetworkFeatures(run=str(run)).describer()
    frame = painted((50, (220, 30, 30)), (100, (30, 30, 220)), (140, (220, 30, 30)))
    looks = describe(frame, np.array([box(50, 30), box(100, 30), box(140, 30), (150.0, 50.0, 170.0, 90.0)]))
    assert looks.shape == (4, describe.length)
    np.testing.assert_allclose(np.linalg.norm(looks, axis=1), 1.0)
    assert looks[0] @ looks[2] == pytest.approx(1.0, abs=1e-5)
    assert looks[0] @ looks[1] < 0.999
    np.testing.assert_allclose(
        middles(swapped(TrackSettings(appearance=NetworkFeatures(run=str(run))))), [75, 50], atol=6
    )


def trained(folder: Path) -> Path:
    """A Run with a network of random weights."""
    task = Classification(
        picture=PictureFormat(height=16, width=16), backbone=SmallResNet(depth=6, widths=(4, 8)), class_names=("a", "b")
    )
    keras.utils.set_random_seed(1)
    stages.keep_model(Run(folder), task.build(), task)
    return folder


def middles(tracked: Tracked) -> np.ndarray:
    """x of the tracks in the order of their ids."""
    return tracked.boxes[np.argsort(tracked.ids)][:, [0, 2]].mean(axis=1)


def test_looks_need_a_frame() -> None:
    with pytest.raises(ValueError, match="no frame was given"):
        Tracker(TrackSettings(appearance=Colours())).update(detections(box(30, 30)))


def panned(settings: TrackSettings) -> list[int]:
    """The ids of a small object that stands still, while the camera jumps from side to side by more than it is wide."""
    world = np.kron(np.random.default_rng(0).integers(0, 255, (40, 60, 1)), np.ones((8, 8, 3))).astype(np.uint8)
    tracker, ids = Tracker(settings), set()
    for start in (60, 74, 60, 46, 60, 78):
        found = detections(box(300 - start, 150, 12))
        ids |= set(tracker.update(found, world[20:260, start : start + 320]).seen.ids.tolist())
    return sorted(ids)


def test_a_moving_camera_is_reckoned_with() -> None:
    assert panned(TrackSettings(camera=MovingCamera())) == [1]
    assert panned(TrackSettings(camera=MovingCamera(height=120))) == [1], "also where the flow is taken of less"
    assert panned(TrackSettings(confirm=1)) == [1, 2, 3], "one for each place, else"


def test_a_camera_that_shows_nothing_says_nothing() -> None:
    camera = MovingCamera().start()
    grey, none = np.full((60, 80, 3), 90, np.uint8), np.zeros((0, 4))
    assert camera(grey, none) is None
    assert camera(grey, none) is None
    assert camera(None, none) is None
    assert camera(grey[:40], none) is None


@pytest.mark.parametrize(
    ("settings", "mota", "idf1", "hota"),
    [(TrackSettings(), 0.75, 0.85, 0.68), (TrackSettings(motion=Particles(count=100)), 0.72, 0.8, 0.62)],
    ids=["kalman", "particles"],
)
def test_digits_are_tracked_through_spoiled_detections(
    settings: TrackSettings, mota: float, idf1: float, hota: float
) -> None:
    found = [tracked_scene(settings, number) for number in range(3)]
    mean = {name: np.mean([one[name] for one in found]) for name in ("mota", "idf1", "hota")}
    assert mean["mota"] > mota and mean["idf1"] > idf1 and mean["hota"] > hota, mean
    assert sum(one["identity_switches"] for one in found) <= 6


def tracked_scene(settings: TrackSettings, number: int) -> dict[str, float]:
    truth, random, tracker = known(number).objects, np.random.default_rng(number), Tracker(settings)
    tracked = {frame: Objects.of(tracker.update(spoiled(one, random)).seen) for frame, one in truth.items()}
    return scores(truth, tracked, list(truth))
