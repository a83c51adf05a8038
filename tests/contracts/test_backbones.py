"""What holds for every backbone under every task, with random weights and small pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models import saved
from models.backbones import BACKBONES
from models.graphs import feature_levels
from models.stack import keras, tf
from pipeline.data.example import IMAGE
from pipeline.tasks import TASKS
from tests.contracts.subjects import Subject, gradients, store_for, subject, tiny_task

SIZE = 64
"""At 32 pixels the coarsest level of most networks is a single one, which BatchNormalization makes all alike."""
BATCH = 4
LEARNER = "supervised"
PAIRS = list(itertools.product(BACKBONES, TASKS))


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def one(request: pytest.FixtureRequest, table: Path) -> Iterator[Subject]:
    backbone, kind = request.param
    store = store_for(TASKS[kind], table)
    yield subject(tiny_task(kind, store, backbone, SIZE), LEARNER, store, BATCH)
    keras.backend.clear_session()


def test_the_graph_is_flat_and_takes_uint8_pictures(one: Subject) -> None:
    assert not any(isinstance(layer, keras.Model) for layer in one.model.layers)
    image = one.model.inputs[0]
    assert (image.name, image.dtype, tuple(image.shape)) == (IMAGE, tf.uint8, (None, SIZE, SIZE, 3))
    assert all(output.dtype == tf.float32 for output in one.model.outputs)


def test_two_feature_levels_or_more_are_named_by_their_stride(one: Subject) -> None:
    levels = feature_levels(one.model)
    assert len(levels) >= 2
    for level, layer in levels.items():
        side = SIZE // int(level.removeprefix("stride_"))
        assert one.model.get_layer(layer).output.shape[1:3] == (side, side)


def test_gradients_reach_every_trainable_weight(one: Subject) -> None:
    unreached = [name for name, gradient in gradients(one).items() if gradient is None or not np.any(gradient)]
    assert unreached == []


def test_no_convolution_has_the_gradient_that_crashes(one: Subject) -> None:
    """oneDNN's, of a 1x1 convolution with a stride and fewer than 16 input channels (oneDNN issue 6035)."""
    convolutions = [layer for layer in one.model.layers if isinstance(layer, keras.layers.Conv2D)]
    strided = [layer for layer in convolutions if layer.kernel_size == (1, 1) and max(layer.strides) > 1]
    assert [layer.name for layer in strided if layer.input.shape[-1] < 16] == []


def test_a_saved_model_answers_the_same(one: Subject, tmp_path: Path) -> None:
    one.model.save(tmp_path / "model.keras")
    again = saved.load(tmp_path / "model.keras")
    expected, found = one.model(one.inputs[IMAGE]), again(one.inputs[IMAGE])
    for name in one.model.output_names:
        np.testing.assert_array_equal(found[name], expected[name])
