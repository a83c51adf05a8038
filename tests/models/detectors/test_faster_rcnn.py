"""Faster R-CNN: what it proposes, what its two stages pay for, what comes of it in int8; by hand where it can be."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from models import boxes
from models.detectors.base import LIMIT, Counting
from models.detectors.faster_rcnn import PROPOSALS, REGION_BOXES, REGION_CLASSES, FasterRCNN
from models.detectors.layout import Layout
from models.detectors.loss import DetectionLoss
from models.stack import keras, tf

NUM_CLASSES = 3
BOX = (8.0, 8.0, 24.0, 24.0)
LAYOUT = Layout(32, 32, (8, 16), answers=1)
SMALL: dict[str, Any] = {
    "anchors": {"kind": "fitted", "pixels": [[16, 16], [8, 8]]},
    "proposals": 4,
    "candidates": 12,
    "region_bins": 2,
    "region_cells": 1.0,
    "head_width": 8,
    "region_channels": 8,
    "region_width": 8,
}
DETECTOR = FasterRCNN.model_validate(SMALL)
NOWHERE = (0.0, 0.0, 0.0, 0.0)
BACKGROUND, CLASS = (LIMIT, -LIMIT, -LIMIT, -LIMIT), (-LIMIT, -LIMIT, LIMIT, -LIMIT)
UNSURE = (0.0, 0.0, 0.0, 0.0)
FAR, OTHER = (0.0, 0.0, 6.0, 6.0), (26.0, 26.0, 32.0, 32.0)


def said(
    proposals: Sequence[Sequence[float]],
    classes: Sequence[Sequence[float]],
    steps: Sequence[Sequence[float]] = (UNSURE,) * 4,
    anchors: tuple[float, Sequence[float]] = (-LIMIT, UNSURE),
) -> dict[str, tf.Tensor]:
    """Raw outputs for one picture: regions in pixels, and one answer for all anchors."""
    outputs = {
        PROPOSALS: np.array([proposals], np.float32) / 32,
        REGION_CLASSES: np.array([classes], np.float32)[:, :, np.newaxis],
        REGION_BOXES: np.array([steps], np.float32)[:, :, np.newaxis],
    }
    for stride in LAYOUT.strides:
        outputs[f"classes_{stride}"] = np.full((1, *LAYOUT.cells(stride), 1), anchors[0], np.float32)
        outputs[f"boxes_{stride}"] = np.tile(np.array(anchors[1], np.float32), (1, *LAYOUT.cells(stride), 1))
    return {name: tf.constant(value) for name, value in outputs.items()}


def targets(asked: int = 1) -> tf.Tensor:
    rows = [(*np.array(BOX) / 32, 1, asked), (0, 0, 0, 0, -1, 0)]
    return tf.constant(np.array([rows], np.float32))


def cost(outputs: dict[str, tf.Tensor], wanted: tf.Tensor | None = None, **settings: Any) -> float:
    detector = FasterRCNN.model_validate({**SMALL, **settings.pop("detector", {})})
    loss = DetectionLoss(detector, LAYOUT, NUM_CLASSES, Counting(**{"objects": 1.0, **settings}))
    values = loss.call(targets() if wanted is None else wanted, detector.told(LAYOUT, outputs))
    assert values.shape == (1,)
    return float(values[0])


# ------------------------------------------------------------------------------------------------- proposals


def maps(scores: dict[int, Any], steps: dict[int, Any]) -> list[tf.Tensor]:
    found = []
    for stride in LAYOUT.strides:
        found.append(tf.reshape(tf.constant(scores[stride], tf.float32), [1, *LAYOUT.cells(stride), 1]))
        found.append(tf.reshape(tf.constant(steps[stride], tf.float32), [1, *LAYOUT.cells(stride), 4]))
    return found


def proposed(inputs: list[tf.Tensor], **settings: Any) -> tf.Tensor:
    from models.detectors.layers import Propose

    return Propose(FasterRCNN.model_validate({**SMALL, **settings}), LAYOUT)(inputs)


def scored() -> dict[int, np.ndarray]:
    """Everywhere next to nothing, but at some cells."""
    return {8: np.full(16, -LIMIT), 16: np.full(4, -LIMIT)}


def test_the_best_boxes_are_proposed_without_those_that_overlap_better_ones() -> None:
    scores, steps = scored(), {8: np.zeros((16, 4)), 16: np.zeros((4, 4))}
    scores[8][[5, 0, 1]] = 3.0, 1.0, 2.0  # cells at (8..16, 8..16), (0..8, 0..8), (8..16, 0..8)
    steps[8][5] = [0.0, 0.0, 0.0, math.log(0.5) / 0.2]  # half as high around its middle
    steps[8][0] = [10.0, 1.0, 0.0, 0.0]  # moved by 8 and by 0.8: on the one beside it
    scores[16][3] = 2.5
    steps[16][3] = [5.0, 0.0, math.log(2.0) / 0.2, 0.0]  # 16..32 moved by 8 and twice as wide: to the picture's edge
    found = proposed(maps(scores, steps)).numpy()[0] * 32
    expected = [[8, 10, 16, 14], [16, 16, 32, 32], [8, 0, 16, 8]]
    np.testing.assert_allclose(found[:3], expected, atol=1e-4)
    assert boxes.area(tf.constant(found)).numpy()[3] == pytest.approx(64.0)  # one of those with next to nothing


def test_where_there_are_no_more_boxes_there_are_zeros() -> None:
    """The four candidates are five times the size of their anchors: all the picture, each of them."""
    scores, steps = scored(), {8: np.zeros((16, 4)), 16: np.tile([0.0, 0.0, LIMIT, LIMIT], (4, 1))}
    scores[16][:] = 4.0, 3.0, 2.0, 1.0
    found = proposed(maps(scores, steps), candidates=4).numpy()[0]
    np.testing.assert_array_equal(found, [(0.0, 0.0, 1.0, 1.0), NOWHERE, NOWHERE, NOWHERE])


def test_nothing_is_learned_through_the_places_of_proposals() -> None:
    inputs = maps(scored(), {8: np.zeros((16, 4)), 16: np.zeros((4, 4))})
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        found = tf.reduce_sum(proposed(inputs))
    assert tape.gradient(found, inputs) == [None] * 4


def test_the_layer_that_proposes_is_written_down() -> None:
    from models.detectors.layers import Propose

    layer = Propose(DETECTOR, LAYOUT)
    again = Propose.from_config(json.loads(json.dumps(layer.get_config())))
    assert (again.detector, again.layout) == (DETECTOR, LAYOUT)


# ------------------------------------------------------------------------------------------------- answers


def test_regions_are_decoded_by_hand() -> None:
    steps = [(1.0, 0.0, 0.0, math.log(2.0) / 0.2), UNSURE, UNSURE, UNSURE]
    outputs = said([BOX, FAR, NOWHERE, NOWHERE], [(0.0, 0.0, math.log(3.0), 0.0), BACKGROUND, CLASS, CLASS], steps)
    found, scores = (value.numpy()[0] for value in DETECTOR.found(LAYOUT, outputs))
    np.testing.assert_allclose(found[0], [9.6, 0.0, 25.6, 32.0], atol=1e-4)  # a tenth of 16 to the right, twice as high
    np.testing.assert_allclose(found[1], FAR, atol=1e-4)
    np.testing.assert_allclose(scores[0], [1 / 6, 1 / 2, 1 / 6], rtol=1e-5)
    assert np.all(scores[1] < 1e-3)
    np.testing.assert_array_equal(scores[2:], 0.0)  # there is nothing


# ------------------------------------------------------------------------------------------------- costs


def test_right_answers_cost_next_to_nothing_beside_wrong_ones() -> None:
    regions = [BOX, FAR, OTHER, NOWHERE]
    right = said(regions, [CLASS, BACKGROUND, BACKGROUND, CLASS])
    missed = said(regions, [BACKGROUND] * 4)
    wrong = said(regions, [(-LIMIT, LIMIT, -LIMIT, -LIMIT), BACKGROUND, BACKGROUND, CLASS])
    seen = said(regions, [CLASS] * 4)
    for other in (missed, wrong):
        assert cost(other) - cost(right) == pytest.approx(2 * LIMIT, rel=1e-3)
    assert cost(seen) - cost(right) == pytest.approx(4 * LIMIT, rel=1e-3)  # two of the three others are there


def test_regions_without_an_object_count_as_so_many_for_each_that_has_one() -> None:
    regions = [BOX, FAR, OTHER, NOWHERE]
    right, unsure = said(regions, [CLASS, *[BACKGROUND] * 3]), said(regions, [UNSURE] * 4)
    for negatives, counted in ((3.0, 3), (1.0, 2), (0.5, 1.5)):  # log 4 each, and one positive
        gained = [cost(one, detector={"negatives": negatives}) for one in (right, unsure)]
        assert gained[1] - gained[0] == pytest.approx(counted * math.log(4.0), rel=1e-3)


def test_the_best_region_answers_for_an_object_if_it_fits_at_all() -> None:
    """Of 16 x 16 pixels, 16 x 6.4 are 0.4, and 16 x 4 a quarter."""
    for height, is_asked in ((6.4, True), (4.0, False)):
        regions = [(8.0, 8.0, 24.0, 8.0 + height), FAR, NOWHERE, NOWHERE]
        as_object, as_nothing = (cost(said(regions, [one, *[BACKGROUND] * 3])) for one in (CLASS, BACKGROUND))
        assert (as_object < as_nothing) is is_asked


def test_boxes_of_regions_cost_by_their_steps() -> None:
    """Smooth L1: a step that is wrong by 2 costs 1.5, by 1 costs 0.5, twice that with a weight of 2."""
    classes = [CLASS, *[BACKGROUND] * 3]
    right = said([BOX, FAR, OTHER, NOWHERE], classes)
    moved = said([BOX, FAR, OTHER, NOWHERE], classes, [(2.0, 0.0, 1.0, 0.0), (8.0,) * 4, (8.0,) * 4, (8.0,) * 4])
    smooth = {"box_loss": "smooth_l1", "box_weight": 2.0}
    assert cost(moved, detector=smooth) - cost(right, detector=smooth) == pytest.approx(4.0, rel=1e-4)
    assert cost(moved) > cost(right) + 0.1


def test_anchors_cost_whether_there_is_anything_and_where() -> None:
    regions = [BOX, FAR, OTHER, NOWHERE], [CLASS, *[BACKGROUND] * 3]
    silent, loud = said(*regions), said(*regions, anchors=(LIMIT, UNSURE))
    moved = said(*regions, anchors=(-LIMIT, (3.0, 0.0, 0.0, 0.0)))
    assert cost(silent) > 2.0 * 0.25 * LIMIT * 0.9  # two anchors at least that should have said something
    assert cost(loud) > 10 * 0.75 * LIMIT * 0.9
    assert cost(moved) > cost(silent) + 0.1


def test_costs_are_divided_by_the_usual_number_of_objects_and_weighted_by_class() -> None:
    unsure = said([BOX, FAR, OTHER, NOWHERE], [UNSURE] * 4)
    once = cost(unsure)
    assert cost(unsure, objects=4.0) == pytest.approx(once / 4, rel=1e-5)
    assert cost(unsure, class_weights=(5.0, 1.0, 5.0)) == pytest.approx(once, rel=1e-5)
    assert once * 1.2 < cost(unsure, class_weights=(1.0, 2.0, 1.0)) < once * 2.0


def test_objects_that_are_not_asked_for_cost_nothing() -> None:
    found = said([BOX, NOWHERE, NOWHERE, NOWHERE], [CLASS] * 4)
    empty = tf.constant([[[0.0, 0.0, 0.0, 0.0, -1.0, 0.0]] * 2])
    assert cost(found, empty) - cost(found, targets(asked=0)) == pytest.approx(2 * LIMIT, rel=0.05)


def test_what_the_loss_is_told_are_the_outputs() -> None:
    outputs = said([BOX, FAR, OTHER, NOWHERE], np.arange(16).reshape(4, 4).tolist(), np.eye(4).tolist())
    told = DETECTOR.told(LAYOUT, outputs)
    heard = DETECTOR.heard(LAYOUT, told, NUM_CLASSES)
    np.testing.assert_allclose(heard.proposals[0], [BOX, FAR, OTHER, NOWHERE], rtol=1e-6)
    np.testing.assert_array_equal(heard.regions.classes[0], np.arange(16).reshape(4, 4))
    np.testing.assert_array_equal(heard.regions.boxes[0], np.eye(4))
    assert heard.anchors.classes.shape == (1, 20, 1) and heard.anchors.boxes.shape == (1, 20, 4)


# ------------------------------------------------------------------------------------------------- from a teacher


def apart(student: dict[str, tf.Tensor], teacher: dict[str, tf.Tensor]) -> float:
    return float(DETECTOR.divergence(LAYOUT, student, teacher, 1.0)[0])


def test_a_student_is_told_of_the_regions_that_its_teacher_looks_at_too() -> None:
    regions, moved = [BOX, FAR, OTHER, NOWHERE], [OTHER, (9.0, 8.0, 25.0, 24.0), (12.0, 0.0, 18.0, 6.0), NOWHERE]
    teacher = said(moved, [BACKGROUND, (0.0, 0.0, 2.0, 0.0), CLASS, CLASS])
    knows = [(0.0, 0.0, 2.0, 0.0), UNSURE, BACKGROUND, UNSURE]  # in the order of its own regions
    steps = [(0.625, 0.0, 0.0, 0.0), UNSURE, UNSURE, UNSURE]  # one pixel of 16, in tenths
    assert apart(said(regions, knows, steps), teacher) == pytest.approx(0.0, abs=1e-5)
    certainty = math.exp(2.0) / (math.exp(2.0) + 3.0)
    assert apart(said(regions, knows), teacher) == pytest.approx(certainty * 0.625**2 / 4, rel=1e-3)
    share = 1.0 / (1.0 + math.exp(-2.0))
    entropy = -share * math.log(share) - (1.0 - share) * math.log(1.0 - share)
    unsure = [UNSURE, CLASS, BACKGROUND, UNSURE]
    assert apart(said(regions, unsure, steps), teacher) == pytest.approx(math.log(2.0) - entropy, rel=1e-3)


# ------------------------------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Both stages on two small maps, weights of a seed: `image` float32 in."""
    keras.utils.set_random_seed(3)
    image = keras.Input((32, 32, 3), name="image")
    fine = keras.layers.Conv2D(8, 8, 8, activation="relu", name="fine")(image)
    coarse = keras.layers.Conv2D(8, 2, 2, activation="relu", name="coarse")(fine)
    return keras.Model(image, DETECTOR.network(LAYOUT, {8: fine, 16: coarse}, NUM_CLASSES))


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def answers(content: bytes, pictures: np.ndarray) -> dict[str, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner()
    found = [runner(image=picture[np.newaxis].astype(np.float32)) for picture in pictures]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def test_in_int8_both_stages_are_integers_and_what_is_between_is_float(
    network: keras.Model, pictures: np.ndarray
) -> None:
    from pipeline.compress import convert
    from pipeline.compress.inspect import inspect_content

    content = convert.runnable(convert.int8_file(network, pictures))
    file = inspect_content(content)
    assert file.float_operators == 0
    assert file.decode_operators > 20
    found = answers(content, pictures)
    assert all_of(content, ("CONV_2D", "BATCH_MATMUL", "ADD")) == {"INT8"}
    assert all_of(content, ("NON_MAX_SUPPRESSION_V5", "TOPK_V2", "EXP")) == {"FLOAT32", "INT32"}
    assert_proposed_as_the_maps_say(found)


def all_of(content: bytes, names: Sequence[str]) -> set[str]:
    """Number types of what these operators give; of sums, of those that are not of the decoding."""
    from pipeline.compress import flatbuffer

    model = flatbuffer.unpack(content)
    graph = model.subgraphs[0]
    types = {value: name for name, value in vars(flatbuffer.schema().TensorType).items() if isinstance(value, int)}
    given = [
        graph.tensors[index]
        for operator in graph.operators
        if flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex]) in names
        for index in operator.outputs
    ]
    return {types[one.type] for one in given if names[0] != "CONV_2D" or not one.name.startswith(b"decode/")}


def assert_proposed_as_the_maps_say(found: dict[str, np.ndarray]) -> None:
    """The proposals of an int8 file are those of its own rounded maps, as exactly as in float."""
    inputs = [tf.constant(found[name]) for name in LAYOUT.outputs()]
    np.testing.assert_allclose(proposed(inputs), found[PROPOSALS], atol=1e-5)


def test_quantization_aware_training_knows_both_stages(network: keras.Model, pictures: np.ndarray) -> None:
    from pipeline.compress import convert, quantization_aware
    from pipeline.compress.inspect import inspect_content
    from pipeline.compress.qat.layout import fake_quantized
    from pipeline.compress.qat.ranges import set_ranges

    simple = quantization_aware.prepared(network)
    quantized = fake_quantized(simple)
    set_ranges(quantized, simple, pictures)
    content = convert.runnable(convert.int8_file(quantization_aware.with_output_names(quantized), pictures))
    assert inspect_content(content).float_operators == 0
    assert_proposed_as_the_maps_say(answers(content, pictures))


def test_in_int16_it_is_converted_in_sections(network: keras.Model, pictures: np.ndarray) -> None:
    from pipeline.compress import convert
    from pipeline.compress.inspect import inspect_content

    content = convert.runnable(convert.int16x8_file(network, pictures))
    assert inspect_content(content).float_operators == 0
    assert all_of(content, ("CONV_2D", "BATCH_MATMUL", "ADD")) == {"INT16"}
    found = answers(content, pictures)
    assert_proposed_as_the_maps_say(found)
    for name, values in network.predict(pictures.astype(np.float32), verbose=0).items():
        assert np.median(np.abs(found[name] - values)) < 0.01, name  # a region may be another where two are alike
