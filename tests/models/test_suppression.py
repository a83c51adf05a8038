"""Suppression against the method in NumPy, against TensorFlow's own operators, and in a file against the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from models.layers import Suppress
from models.stack import keras, tf
from models.suppression import (
    SUPPRESSIONS,
    AnySuppression,
    ClassAgnostic,
    ClassWise,
    NoSuppression,
    Soft,
    SuppressionSettings,
)
from pipeline.compress import convert
from pipeline.compress.inspect import inspect_content
from pipeline.predictors import TFLitePredictor

PLACES, CLASSES, MOST = 60, 3, 12
KINDS: dict[str, SuppressionSettings] = {
    "class_wise": ClassWise(most=MOST, candidates=40),
    "class_agnostic": ClassAgnostic(most=MOST, candidates=40, iou=0.3),
    "soft": Soft(most=MOST, candidates=40, sigma=0.8),
    "none": NoSuppression(most=MOST),
}
Answers = dict[str, np.ndarray]


def found(settings: SuppressionSettings, boxes: np.ndarray, scores: np.ndarray) -> Answers:
    """`select` of a batch, in NumPy."""
    chosen = settings.select(tf.constant(boxes, tf.float32), tf.constant(scores, tf.float32))
    return {name: tensor.numpy() for name, tensor in chosen.items()}


def random_boxes(batch: int, places: int = PLACES, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres, sizes = generator.uniform(0, 1, (batch, places, 2)), generator.uniform(0.1, 0.5, (batch, places, 2))
    return np.clip(np.concatenate([centres - sizes / 2, centres + sizes / 2], -1), 0, 1).astype(np.float32)


def random_scores(batch: int, places: int = PLACES, classes: int = CLASSES, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (batch, places, classes)).astype(np.float32) ** 2


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union, by the definition."""
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    both = max(width, 0.0) * max(height, 0.0)
    return float(both / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - both))


def greedy(boxes: np.ndarray, scores: np.ndarray, iou: float, *, by_class: bool) -> Iterator[tuple[float, int, int]]:
    """Score, class and place of what remains of one picture, best first: the method as its text says it."""
    pairs = [(scores[place, kind], kind, place) for place, kind in np.ndindex(scores.shape)]
    kept: list[tuple[float, int, int]] = []
    for score, kind, place in sorted(pairs, reverse=True):
        rivals = [other for _, its, other in kept if its == kind or not by_class]
        if score > 0.05 and all(overlap(boxes[place], boxes[other]) <= iou for other in rivals):
            kept.append((score, kind, place))
            yield score, kind, place


def test_the_union_and_the_dict_agree() -> None:
    for kind, settings in SUPPRESSIONS.items():
        chosen: SuppressionSettings = TypeAdapter(AnySuppression).validate_python({"kind": kind})
        assert type(chosen) is settings
        assert (chosen.most, chosen.least_score) == (100, 0.05)
    with pytest.raises(ValidationError, match="less than 1"):
        ClassWise(iou=1.0)


BOXES = np.float32([[[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4], [0.5, 0.5, 1.0, 1.0], [0.0, 0.1, 0.5, 0.6]]])
"""The second overlaps the first by 4/5, the fourth by 2/3 and the second by 1/2; the third none of them."""
SCORES = np.float32([[[0.6, 0.1], [0.8, 0.0], [0.0, 0.5], [0.3, 0.7]]])


def test_class_wise_by_hand() -> None:
    # Of class 0, 0.8 stays, 0.6 goes by 4/5, and 0.3 overlaps by 1/2, which is not more than a half.
    answers = found(ClassWise(most=6), BOXES, SCORES)
    np.testing.assert_allclose(answers["scores"], [[0.8, 0.7, 0.5, 0.3, 0, 0]])
    np.testing.assert_array_equal(answers["classes"], [[0, 1, 1, 0, 0, 0]])
    np.testing.assert_allclose(answers["boxes"][0], [*BOXES[0, [1, 3, 2, 3]], [0] * 4, [0] * 4])
    np.testing.assert_array_equal(answers["count"], [4])
    assert {values.dtype.name for values in answers.values()} == {"float32"}


def test_class_agnostic_by_hand() -> None:
    # One answer a place: 0.7 overlaps 0.8 by a half, its own worse class lies on itself.
    answers = found(ClassAgnostic(most=4), BOXES, SCORES)
    np.testing.assert_allclose(answers["scores"], [[0.8, 0.7, 0.5, 0]])
    np.testing.assert_array_equal(answers["classes"], [[0, 1, 1, 0]])
    lower = found(ClassAgnostic(most=4, iou=0.49), BOXES, SCORES)
    np.testing.assert_allclose(lower["scores"], [[0.8, 0.5, 0, 0]])


def test_soft_by_hand() -> None:
    # Class 0: 0.8 is first. 0.6 falls by exp(-0.64 / 0.5) to 0.1668, 0.3 by exp(-0.25 / 0.5) to 0.18196; that is next,
    # and lowers 0.1668 by exp(-(4/9) / 0.5) to 0.0686. Class 1: 0.7, 0.5 apart from it, 0.1 by exp(-(4/9) / 0.5).
    answers = found(Soft(most=6), BOXES, SCORES)
    np.testing.assert_allclose(answers["scores"], [[0.8, 0.7, 0.5, 0.18196, 0.06858, 0]], atol=2e-5)
    np.testing.assert_array_equal(answers["classes"], [[0, 1, 1, 0, 0, 0]])
    np.testing.assert_array_equal(answers["count"], [5])
    # The same box once more is left out however soft the suppression is.
    twice = found(Soft(most=3, sigma=100.0), np.repeat(BOXES[:, :1], 2, axis=1), np.float32([[[0.9], [0.8]]]))
    np.testing.assert_allclose(twice["scores"], [[0.9, 0, 0]])


def test_no_suppression_by_hand() -> None:
    answers = found(NoSuppression(most=10, least_score=0.1), BOXES, SCORES)
    np.testing.assert_allclose(answers["scores"], [[0.8, 0.7, 0.6, 0.5, 0.3, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(answers["classes"][0, :5], [0, 1, 0, 1, 0])
    np.testing.assert_allclose(answers["boxes"][0, 5:], 0)
    np.testing.assert_array_equal(answers["count"], [5])
    np.testing.assert_allclose(found(NoSuppression(most=2), BOXES, SCORES)["scores"], [[0.8, 0.7]])


@pytest.mark.parametrize("by_class", [True, False])
def test_greedy_is_the_method_in_numpy(by_class: bool) -> None:
    boxes, scores = random_boxes(4), random_scores(4)
    settings = (ClassWise if by_class else ClassAgnostic)(iou=0.4, most=200, candidates=PLACES * CLASSES)
    answers = found(settings, boxes, scores)
    for picture in range(4):
        expected = list(greedy(boxes[picture], scores[picture], 0.4, by_class=by_class))
        count = int(answers["count"][picture])
        assert count == len(expected)
        assert answers["classes"][picture, :count].tolist() == [kind for _, kind, _ in expected]
        np.testing.assert_array_equal(answers["scores"][picture, :count], [score for score, _, _ in expected])
        np.testing.assert_array_equal(answers["boxes"][picture, :count], boxes[picture][[e[2] for e in expected]])


def test_class_wise_is_tensorflows_combined_suppression() -> None:
    boxes, scores = random_boxes(3, 200), random_scores(3, 200, 20)
    answers = found(ClassWise(most=50, candidates=4000, iou=0.6, least_score=0.2), boxes, scores)
    theirs = tf.image.combined_non_max_suppression(boxes[:, :, np.newaxis], scores, 50, 50, 0.6, 0.2)
    np.testing.assert_array_equal(answers["scores"], theirs.nmsed_scores)
    np.testing.assert_array_equal(answers["classes"], theirs.nmsed_classes)
    np.testing.assert_array_equal(answers["boxes"], theirs.nmsed_boxes)
    np.testing.assert_array_equal(answers["count"], theirs.valid_detections)


def test_few_candidates_are_the_best_pairs() -> None:
    boxes, scores = random_boxes(2), random_scores(2)
    few = found(NoSuppression(most=7, least_score=0.0), boxes, scores)["scores"]
    np.testing.assert_array_equal(few, np.sort(scores.reshape(2, -1))[:, ::-1][:, :7])
    # With one candidate nothing is compared, and no other takes its place.
    np.testing.assert_array_equal(found(ClassWise(candidates=1, most=3), boxes, scores)["count"], [1, 1])


def test_classes_do_not_meet_among_a_thousand() -> None:
    """The same small box for each class of many: all of them stay, and each leaves out its own double."""
    box = np.float32([0.70, 0.70, 0.72, 0.73])
    boxes = np.stack([box, box + np.float32([0.001, 0, 0.001, 0])])[np.newaxis]
    scores = np.linspace(0.5, 1, 1000, dtype=np.float32) * np.float32([[1.0], [0.9]])
    answers = found(ClassWise(candidates=2000, most=2000, iou=0.85), boxes, scores[np.newaxis])
    assert answers["count"] == 1000
    assert sorted(answers["classes"][0, :1000]) == list(range(1000))


# ------------------------------------------------------------------------------------------------- in a file


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """All kinds, on the same boxes and scores."""
    boxes, scores = keras.Input((PLACES, 4), name="boxes"), keras.Input((PLACES, CLASSES), name="scores")
    outputs = {
        f"{kind}_{name}": tensor
        for kind, settings in KINDS.items()
        for name, tensor in settings.select(boxes, scores).items()
    }
    return keras.Model({"boxes": boxes, "scores": scores}, outputs)


@pytest.fixture(scope="module")
def file(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suppression") / "model.tflite"
    path.write_bytes(convert.tflite_file(model))
    return path


def on_a_grid() -> tuple[np.ndarray, np.ndarray]:
    """Boxes that overlap by the limit itself, and scores of few levels, as int8 gives them."""
    return np.round(random_boxes(2) * 8) / 8, np.round(random_scores(2) * 16) / 16


def crowd() -> tuple[np.ndarray, np.ndarray]:
    return np.tile(np.float32([0.2, 0.2, 0.6, 0.7]), (2, PLACES, 1)), random_scores(2)


def without_area() -> tuple[np.ndarray, np.ndarray]:
    """Points, lines, and boxes whose sides are exchanged."""
    boxes = random_boxes(2)
    boxes[:, ::3, 2] = boxes[:, ::3, 0]
    boxes[:, 1::3] = boxes[:, 1::3][..., [2, 3, 0, 1]]
    return boxes, random_scores(2)


CASES = {
    "random": (random_boxes(2), random_scores(2)),
    "ties": on_a_grid(),
    "all_alike": (crowd()[0], np.full((2, PLACES, CLASSES), 0.5, np.float32)),
    "crowd": crowd(),
    "without_area": without_area(),
    "pairs": (np.repeat(random_boxes(2, PLACES // 2), 2, axis=1), 1 - random_scores(2) / 4),
    "few": (random_boxes(2), random_scores(2) * (np.arange(PLACES) < 2)[:, np.newaxis]),
    "nothing": (random_boxes(2), np.zeros((2, PLACES, CLASSES), np.float32)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_file_answers_as_the_model(case: str, model: keras.Model, file: Path) -> None:
    given = {name: np.float32(values) for name, values in zip(("boxes", "scores"), CASES[case], strict=True)}
    answers, expected = TFLitePredictor(file)(given), model(given)
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, rtol=0, atol=1e-6, err_msg=name)


def test_what_the_cases_are_about(model: keras.Model) -> None:
    counts = {
        case: {kind: model(dict(zip(("boxes", "scores"), map(np.float32, given), strict=True)))[f"{kind}_count"].numpy()
               for kind in KINDS}
        for case, given in CASES.items()
    }  # fmt: skip
    for kind in KINDS:
        np.testing.assert_array_equal(counts["nothing"][kind], [0, 0])
        np.testing.assert_array_equal(counts["random"][kind], [MOST, MOST])
    for case in ("crowd", "all_alike"):
        np.testing.assert_array_equal(counts[case]["class_wise"], [CLASSES, CLASSES])
        np.testing.assert_array_equal(counts[case]["class_agnostic"], [1, 1])
        np.testing.assert_array_equal(counts[case]["none"], [MOST, MOST])
    assert all((count > 0).all() and (count <= 2 * CLASSES).all() for count in counts["few"].values())


@pytest.mark.parametrize("kind", ["class_wise", "class_agnostic", "soft"])
def test_boxes_without_area_are_never_given(kind: str, model: keras.Model) -> None:
    boxes, scores = without_area()
    answers = model({"boxes": boxes, "scores": scores})
    kept = answers[f"{kind}_boxes"].numpy()[answers[f"{kind}_scores"].numpy() > 0]
    assert len(kept)
    assert (kept[:, 2:] > kept[:, :2]).all()


def test_the_file_has_builtin_operators_and_one_graph(file: Path) -> None:
    operators = inspect_content(file.read_bytes()).operators
    assert {"NON_MAX_SUPPRESSION_V5", "TOPK_V2", "GATHER"} <= operators.keys()
    assert not [name for name in operators if "Flex" in name or name in {"CUSTOM", "WHILE"}]


def test_a_saved_model_takes_batches_of_any_size(model: keras.Model, tmp_path: Path) -> None:
    specs = [tf.TensorSpec([None, PLACES, 4]), tf.TensorSpec([None, PLACES, CLASSES])]
    module = tf.Module()
    module.serve = tf.function(lambda boxes, scores: model({"boxes": boxes, "scores": scores}), input_signature=specs)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for batch in (1, 3):
        boxes, scores = random_boxes(batch), random_scores(batch)
        answers = loaded.serve(boxes, scores)
        for name, values in model({"boxes": boxes, "scores": scores}).items():
            np.testing.assert_array_equal(answers[name], values, err_msg=name)


def test_the_layer_comes_back_from_its_config() -> None:
    layer = Suppress(Soft(sigma=0.3, most=7), name="suppression")
    again = Suppress.from_config(layer.get_config())
    assert (again.settings, again.name) == (layer.settings, "suppression")


@pytest.mark.parametrize("shapes", [((2, 5, 4), (2, 6, 3)), ((2, 5, 3), (2, 5, 3)), ((2, 5, 4), (2, 5))])
def test_shapes_that_do_not_belong_together(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="do not belong together"):
        ClassWise().select(*map(tf.zeros, shapes))
