"""The task `detection`, beyond what the contracts hold every task to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models import graphs
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.data.example import BOXES, CLASSES, CROWD, DIFFICULT, TRAIN, DataInfo
from pipeline.errors import DataError
from pipeline.tasks import Detection
from pipeline.tasks.base import named_outputs
from pipeline.tasks.pairing import in_order_of
from pipeline.tracking.detector import ModelDetector
from tests.metrics.detections import evaluated

INFO = DataInfo(
    fields=("id", "image", BOXES, CLASSES),
    class_names=("cat", "dog"),
    num_examples={TRAIN: 4},
    class_counts={TRAIN: [9, 1]},
    max_objects=3,
)


def task(**settings: Any) -> Detection:
    return Detection.model_validate(settings).resolve(INFO)


def prediction(*rows: tuple[Any, ...], most: int = 4) -> dict[str, np.ndarray]:
    """Rows of box, class, score, padded."""
    found = {"boxes": np.zeros((most, 4), np.float32), "classes": np.zeros(most, np.float32)}
    found |= {"scores": np.zeros(most, np.float32), "count": np.float32(len(rows))}
    for place, (box, number, score) in enumerate(rows):
        found["boxes"][place], found["classes"][place], found["scores"][place] = box, number, score
    return found


SOME = prediction(((0.1, 0.2, 0.5, 0.6), 1, 0.9), ((0.0, 0.0, 1.0, 1.0), 0, 0.35), ((0.5, 0.5, 0.6, 0.6), 0, 0.1))


def test_a_picture_counts_by_the_mean_number_of_objects() -> None:
    assert task().objects_a_picture == 2.5
    assert task(objects_a_picture=4.0).objects_a_picture == 4.0


def test_data_without_objects_is_refused() -> None:
    nothing = DataInfo(fields=INFO.fields, class_names=("cat",), num_examples={TRAIN: 4}, class_counts={TRAIN: [0]})
    with pytest.raises(DataError, match="no object to learn from"):
        Detection().resolve(nothing)


@pytest.mark.parametrize("strides", [[16, 8], [8, 8], [6, 12], []])
def test_strides_are_growing_powers_of_two(strides: list[int]) -> None:
    with pytest.raises(ValidationError):
        Detection.model_validate({"strides": strides})


def test_objects_that_are_crowds_or_difficult_are_there_but_not_asked_for() -> None:
    examples = {
        "image": tf.zeros((1, 8, 8, 3), tf.uint8),
        BOXES: tf.constant([[[0.0, 0.0, 0.5, 0.5]] * 4]),
        CLASSES: tf.constant([[0, 1, 1, -1]], tf.int64),
        CROWD: tf.constant([[False, True, False, False]]),
        DIFFICULT: tf.constant([[False, False, True, False]]),
    }
    targets = task().encode(examples)[1]["detections"].numpy()[0]
    np.testing.assert_array_equal(targets[:, 4:], [[0, 1, 8, 8], [1, 0, 8, 8], [1, 0, 8, 8], [-1, 0, 8, 8]])


def test_an_answer_holds_what_is_as_sure_as_the_threshold() -> None:
    answer = task(threshold=0.3).answer(SOME)
    assert [(one["label"], one["box"]) for one in answer["objects"]] == [
        ("dog", [0.1, 0.2, 0.5, 0.6]),
        ("cat", [0.0, 0.0, 1.0, 1.0]),
    ]
    assert task(threshold=0.95).answer(SOME) == {"objects": []}
    drawing = task(threshold=0.3).drawing(SOME)
    assert drawing[CLASSES].tolist() == [1, 0] and drawing[BOXES].shape == (2, 4)


def test_a_threshold_that_is_left_out_is_chosen_and_then_holds_everywhere() -> None:
    chosen = task().tuned(evaluated())  # its best F1 is from 0.85 on
    assert chosen.found_from == chosen.threshold == pytest.approx(0.85)
    assert len(chosen.answer(SOME)["objects"]) == 1
    assert chosen.meanings()["scores"].threshold == pytest.approx(0.85)
    again = Detection.model_validate_json(chosen.model_dump_json())
    assert ModelDetector(again, lambda inputs: inputs).threshold == chosen.threshold


@pytest.mark.parametrize("number", [0.0, 0.5])
def test_a_threshold_that_is_set_stays(number: float) -> None:
    assert task(threshold=number).tuned(evaluated()).threshold == number


def test_until_one_is_chosen_a_threshold_stands_in() -> None:
    assert (task().threshold, task().found_from) == (None, 0.3)
    assert [one["score"] for one in task().answer(SOME)["objects"]] == [0.9, 0.35]
    assert task().meanings()["scores"].threshold == 0.3


def test_what_lies_behind_the_count_is_no_object() -> None:
    spoiled = {**SOME, "count": np.float32(1.0)}
    assert [one["label"] for one in task(threshold=0.0).answer(spoiled)["objects"]] == ["dog"]


def test_boxes_are_placed_in_the_picture_that_was_given() -> None:
    """A letterbox around a picture twice as wide as high: half of the model's picture is bars, above and below."""
    window = np.array([-0.5, 0.0, 1.5, 1.0])
    placed = task().placed(prediction(((0.5, 0.25, 1.0, 0.5), 0, 0.9), ((0.0, 0.0, 0.5, 0.5), 0, 0.8)), window)
    np.testing.assert_allclose(placed["boxes"][:2], [[0.5, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 0.5]], atol=1e-6)
    np.testing.assert_array_equal(placed["boxes"][2:], 0.0)


def test_boxes_of_a_mirrored_view_are_placed_the_right_way_round() -> None:
    window = np.array([0.0, 0.75, 1.0, 0.25])  # the right half of the view is the left half of the picture's middle
    placed = task().placed(prediction(((0.0, 0.1, 0.2, 0.5), 0, 0.9)), window)
    np.testing.assert_allclose(placed["boxes"][0], [0.65, 0.1, 0.75, 0.5], atol=1e-6)


WHOLE = np.array([0.0, 0.0, 1.0, 1.0])
LEFT, RIGHT = (0.1, 0.2, 0.5, 0.6), (0.6, 0.2, 0.9, 0.6)


@pytest.mark.parametrize(
    ("suppression", "expected"),
    [
        ({"kind": "class_wise"}, [(0, 0.9), (1, 0.8), (0, 0.7)]),
        ({"kind": "class_agnostic"}, [(0, 0.9), (0, 0.7)]),
        ({"kind": "soft"}, [(0, 0.9), (1, 0.8), (0, 0.7)]),
        ({"kind": "none"}, [(0, 0.9), (1, 0.8), (0, 0.7)]),
    ],
)
def test_what_two_views_found_is_there_once_as_sure_as_it_was(suppression: Any, expected: list[Any]) -> None:
    """LEFT a cat by one view and a dog by the other, RIGHT a cat by both."""
    near = (0.6, 0.2, 0.9, 0.5)  # its IoU with RIGHT is 0.75
    parts = [prediction((LEFT, 0, 0.9), (near, 0, 0.6)), prediction((LEFT, 1, 0.8), (RIGHT, 0, 0.7))]
    found = task(suppression=suppression).merged([(part, WHOLE) for part in parts])
    there = int(found["count"])
    assert list(zip(found["classes"][:there].tolist(), found["scores"][:there].round(6).tolist(), strict=True)) == [
        (number, pytest.approx(score)) for number, score in expected
    ]


@pytest.mark.parametrize("kind", ["class_wise", "class_agnostic", "soft", "none"])
def test_several_views_give_more_boxes_than_one_may(kind: str) -> None:
    few = {"kind": kind, "most": 2} | ({} if kind == "none" else {"candidates": 2})
    parts = [
        prediction(*(((0.1 * (x + 3 * y), 0.3 * y, 0.1 * (x + 3 * y) + 0.05, 0.3 * y + 0.2), 0, 0.5) for x in range(3)))
        for y in range(3)
    ]
    assert task(suppression=few).merged([(part, WHOLE) for part in parts])["count"] == 9


def test_the_same_detections_in_another_order_are_comparable() -> None:
    expected = {name: values[np.newaxis] for name, values in SOME.items()}
    order = [2, 0, 1, 3]
    found = {name: values if name == "count" else values[:, order] for name, values in expected.items()}
    again = in_order_of(expected, found)
    for name, values in expected.items():
        np.testing.assert_array_equal(again[name], values)


def test_fewer_detections_are_as_far_apart_as_their_scores() -> None:
    expected = {name: values[np.newaxis] for name, values in SOME.items()}
    found = {name: values[np.newaxis] for name, values in prediction(((0.5, 0.5, 0.6, 0.6), 0, 0.1)).items()}
    again = in_order_of(expected, found)
    np.testing.assert_allclose(np.abs(again["scores"] - expected["scores"])[0], [0.9, 0.35, 0.0, 0.0], rtol=1e-6)


@pytest.mark.parametrize("detector", ["yolo", "retinanet", "ssd"])
def test_a_network_is_trained_at_every_size_as_one_of_that_size(detector: str) -> None:
    sizes = {"picture": {"height": 16, "width": 32}, "strides": [4, 8]}
    small = {"backbone": {"kind": "small_resnet", "depth": 6, "widths": [4, 4]}, "neck": {"kind": "pan", "channels": 8}}
    one = task(**sizes, **small, detector={"kind": detector, "head_depth": 1, "head_width": 8})
    model = one.build()
    free = one.training_model(graphs.with_any_size(model))
    loss = one.losses()["detections"]

    @tf.function(input_signature=[tf.TensorSpec([2, None, None, 3], tf.uint8), tf.TensorSpec([2, 2, 8])])
    def costs(pictures: Any, targets: Any) -> Any:
        return loss.call(targets, free(pictures)["detections"])

    for height, width in ((16, 32), (32, 48)):
        pictures = np.random.default_rng(height).integers(0, 256, (2, height, width, 3), np.uint8)
        boxes = tf.constant([[[0.1, 0.1, 0.6, 0.9], [0.5, 0.2, 0.8, 0.7]], [[0.0] * 4] * 2])
        examples = {"image": pictures, BOXES: boxes, CLASSES: tf.constant([[0, 1], [-1, -1]], tf.int64)}
        targets = one.encode(examples)[1]["detections"]
        fixed = one.model_copy(update={"picture": PictureFormat(height=height, width=width)})
        same = fixed.build()
        same.set_weights(model.get_weights())
        expected = fixed.losses()["detections"].call(targets, fixed.training_model(same)(pictures)["detections"])
        np.testing.assert_allclose(costs(pictures, targets), expected, rtol=1e-5)


def test_two_stages_are_made_for_one_size() -> None:
    sizes = {"picture": {"height": 16, "width": 32}, "strides": [4, 8], "detector": {"kind": "faster_rcnn"}}
    one = task(**sizes, backbone={"kind": "small_resnet", "depth": 6, "widths": [4, 4]}, neck=None)
    with pytest.raises(ValueError, match="cannot take pictures of several sizes"):
        graphs.with_any_size(one.build())


@pytest.mark.parametrize("detector", ["yolo", "retinanet", "ssd", "faster_rcnn"])
def test_every_backbone_s_levels_and_more_can_be_answered_on(detector: str) -> None:
    small = {"kind": "small_resnet", "depth": 12, "widths": [4] * 5, "stem_stride": 2}
    size = {"height": 128, "width": 64}
    one = task(backbone=small, picture=size, strides=[16, 32, 64], detector={"kind": detector, "head_width": 8})
    model = one.build()
    assert set(model.output_names) >= set(one.layout.outputs())
    shapes = {name: tuple(tensor.shape) for name, tensor in named_outputs(model).items()}
    assert [shapes[f"boxes_{stride}"][1:3] for stride in (16, 32, 64)] == [(8, 4), (4, 2), (2, 1)]
