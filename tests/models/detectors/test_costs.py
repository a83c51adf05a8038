"""What detectors of one stage pay for wrong answers: right ones cost next to nothing, each part counts as it says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from models import boxes
from models.detectors import DETECTORS, OneStage, matching, truth
from models.detectors.base import LIMIT, Counting, Raw, focal
from models.detectors.distillation import divergence
from models.detectors.layout import Layout
from models.detectors.loss import DetectionLoss
from models.stack import tf

ONE_STAGE = {kind: detector for kind, detector in DETECTORS.items() if issubclass(detector, OneStage)}
CLASSES = 3
BOX = (8.0, 8.0, 24.0, 24.0)
SETTINGS: dict[str, dict[str, Any]] = {
    kind: {"anchors": {"kind": "fitted", "pixels": [[16, 16], [30, 30]]}} for kind in ("retinanet", "ssd")
}


def made(kind: str) -> tuple[OneStage, Layout]:
    detector = ONE_STAGE[kind].model_validate(SETTINGS.get(kind, {}))
    return detector, Layout(32, 32, (8, 16), detector.answers(2))


def targets(*rows: tuple[float, ...]) -> tf.Tensor:
    """Rows of box, class and whether it is asked for, in a picture of 32 by 32."""
    objects = np.reshape(rows, (1, -1, 6)).astype(np.float32)
    return tf.constant(np.concatenate([objects, np.full((1, objects.shape[1], 2), 32.0, np.float32)], axis=-1))


def silent(detector: OneStage, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Raw numbers that say everywhere that nothing is there."""
    places = len(layout.middles())
    classes = np.full((places, detector.class_numbers(CLASSES)), -LIMIT, np.float32)
    if classes.shape[1] > CLASSES:
        classes[:, 0] = LIMIT
    return classes, np.zeros((places, detector.box_numbers()), np.float32)


def by_edges(detector: OneStage, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Right answers of distances: the places inside BOX say its class, 1, and its edges."""
    classes, boxes = silent(detector, layout)
    middles, steps = layout.middles(), layout.steps()[:, 0]
    own = np.all((middles > BOX[:2]) & (middles < BOX[2:]), axis=1)
    for place in np.flatnonzero(own):
        edges = np.array([*(middles[place] - BOX[:2]), *(BOX[2:] - middles[place])]) / steps[place]
        boxes[place] = np.log(spread(edges, detector.bins)).ravel()
    classes[own, 1] = LIMIT
    return classes, boxes


def spread(edges: np.ndarray, bins: int) -> np.ndarray:
    """[4, bins]: each distance as shares of the two bins around it."""
    return np.maximum(1.0 - np.abs(np.arange(bins) - edges[:, np.newaxis]), 1e-9)


def cost(kind: str, raw: tuple[np.ndarray, np.ndarray], wanted: tf.Tensor, **counting: Any) -> float:
    detector, layout = made(kind)
    loss = DetectionLoss(detector, layout, CLASSES, Counting(**{"objects": 1.0, **counting}))
    values = loss.call(wanted, tf.constant(np.concatenate(raw, axis=-1)[np.newaxis]))
    assert values.shape == (1,)
    return float(values[0])


WANTED = targets((*np.array(BOX) / 32, 1, 1), (0, 0, 0, 0, -1, 0))


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_right_answers_cost_next_to_nothing(kind: str) -> None:
    detector, layout = made(kind)
    right, nothing = answered(kind), silent(detector, layout)
    assert cost(kind, right, WANTED) < 0.1 * cost(kind, nothing, WANTED)


def by_anchors(detector: OneStage, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Right answers of anchors: those that are matched say its class, 1, and their steps to BOX."""
    anchors = tf.constant(detector.anchors.boxes(layout))
    own = matching.by_overlap(truth.read(WANTED, layout.scale()), anchors, 0.5, 0.4).positive.numpy()[0]
    classes, _ = silent(detector, layout)
    classes[own] = -LIMIT
    classes[own, 1 + detector.class_numbers(CLASSES) - CLASSES] = LIMIT
    steps = boxes.to_steps(anchors, tf.constant([BOX] * len(own)), detector.scales)
    return classes, np.where(own[:, np.newaxis], steps.numpy(), 0.0)


RIGHT = {"retinanet": by_anchors, "ssd": by_anchors, "yolo": by_edges}


def answered(kind: str) -> tuple[np.ndarray, np.ndarray]:
    return RIGHT[kind](*made(kind))


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_decoding_gives_back_what_right_answers_say(kind: str) -> None:
    detector, layout = made(kind)
    raw = Raw(*(tf.constant(numbers[np.newaxis]) for numbers in answered(kind)))
    scores, found = detector.scores(raw).numpy()[0], detector.boxes(layout, raw).numpy()[0]
    own = scores[:, 1] > 0.5
    assert own.any()
    assert np.all(scores[:, [0, 2]] < 0.01)
    np.testing.assert_allclose(found[own], np.tile(BOX, (own.sum(), 1)), atol=0.01)


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_a_wrong_class_and_a_wrong_box_cost_more(kind: str) -> None:
    classes, numbers = answered(kind)
    right = cost(kind, (classes, numbers), WANTED)
    other = classes.copy()
    other[:, [-1, -2]] = classes[:, [-2, -1]]
    assert cost(kind, (other, numbers), WANTED) > right + 1.0
    moved = np.roll(numbers, 1, axis=-1) + 1.0  # other distances, or other steps
    assert cost(kind, (classes, moved), WANTED) > right + 0.1


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_costs_are_divided_by_the_usual_number_of_objects_and_weighted_by_class(kind: str) -> None:
    raw = silent(*made(kind))
    once = cost(kind, raw, WANTED)
    assert cost(kind, raw, WANTED, objects=4.0) == pytest.approx(once / 4, rel=1e-5)
    doubled = cost(kind, raw, WANTED, class_weights=(1.0, 2.0, 1.0))
    assert once * 1.5 < doubled < once * 2.01  # places without an object count as before
    assert cost(kind, raw, WANTED, class_weights=(5.0, 1.0, 5.0)) == pytest.approx(once, rel=1e-5)


@pytest.mark.parametrize("kind", ONE_STAGE)
def test_objects_that_are_not_asked_for_cost_nothing(kind: str) -> None:
    """A picture whose one object is not asked for costs no more than an empty one, whatever is said inside it."""
    not_asked = targets((*np.array(BOX) / 32, 1, 0), (0, 0, 0, 0, -1, 0))
    empty = targets((0, 0, 0, 0, -1, 0), (0, 0, 0, 0, -1, 0))
    raw = answered(kind)
    assert cost(kind, raw, not_asked) < 0.5 * cost(kind, raw, empty)


def test_what_a_place_is_told_does_not_learn_from_what_it_says() -> None:
    """Task-aligned targets come from the answers themselves; a gradient through them would lower the targets."""
    detector, layout = made("yolo")
    classes, numbers = (tf.Variable(values[np.newaxis] * 0.5) for values in answered("yolo"))
    with tf.GradientTape() as tape:
        raw = Raw(classes, numbers)
        wanted = truth.read(WANTED, layout.scale())
        matches = detector._assigned(layout, wanted, detector.boxes(layout, raw), detector.scores(raw))
    assert float(tf.reduce_sum(matches.quality)) > 0.0
    assert tape.gradient(matches.quality, [classes, numbers]) == [None, None]


def test_focal_loss_by_hand() -> None:
    # p = 0.9 for what is there, alpha 0.25, gamma 2: 0.25 * 0.1^2 * -log 0.9
    logit = math.log(9.0)
    assert float(focal(1.0, tf.constant(logit), 2.0, 0.25)) == pytest.approx(0.25 * 0.01 * -math.log(0.9), rel=1e-4)
    assert float(focal(0.0, tf.constant(logit), 2.0, 0.25)) == pytest.approx(0.75 * 0.81 * -math.log(0.1), rel=1e-4)
    assert float(focal(0.0, tf.constant(logit), 0.0, 0.5)) == pytest.approx(0.5 * -math.log(0.1), rel=1e-4)


def test_hard_negatives_are_three_for_each_object() -> None:
    """Five places are quite unsure, of which each costs log 2; only as many count as the objects allow."""
    classes, numbers = answered("ssd")
    mistaken = classes.copy()
    wrong = [place for place in range(len(classes)) if classes[place, 0] == LIMIT][:5]
    mistaken[np.ix_(wrong, [0, 1])] = 0.0
    positives = int((classes[:, 2] == LIMIT).sum())
    gained = cost("ssd", (mistaken, numbers), WANTED) - cost("ssd", (classes, numbers), WANTED)
    assert gained == pytest.approx(min(5, 3 * positives) * math.log(2.0), rel=0.05)


def test_a_student_is_told_the_teacher_s_classes_everywhere_and_boxes_where_it_is_sure() -> None:
    teacher = Raw(tf.constant([[[2.0], [-3.0]]]), tf.constant([[[1.0, 0.0], [1.0, 0.0]]]))
    student = Raw(tf.constant([[[0.0], [-3.0]]]), tf.constant([[[0.0, 0.0], [0.0, 4.0]]]))
    share = 1.0 / (1.0 + math.exp(-2.0 / 2.0))  # of the first place, softened by two
    entropy = -share * math.log(share) - (1.0 - share) * math.log(1.0 - share)
    classes = 4.0 * (math.log(2.0) - entropy)
    boxes = 0.9 * 0.5 + 0.1 * 8.5  # means of (1, 0) and of (1, 16)
    found = divergence(student, teacher, tf.constant([[0.9, 0.1]]), 2.0)
    np.testing.assert_allclose(found, [classes + boxes], rtol=1e-5)
    np.testing.assert_allclose(divergence(teacher, teacher, tf.constant([[0.9, 0.1]]), 2.0), [0.0], atol=1e-6)
