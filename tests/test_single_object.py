"""The task single_object_tracking: what its settings and augmentations have to be, and what it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.augment import Augmentation
from pipeline.augment.colour import Brightness
from pipeline.augment.geometry import HorizontalFlip, Rotation
from pipeline.augment.policies import AugMix
from pipeline.config import loads
from pipeline.errors import ConfigError
from pipeline.metrics.single_object import SingleObjectEvaluator
from pipeline.tasks import SingleObjectTracking

CONFIG = """\
data: {source: {kind: template_pairs, sources: [{kind: scene_sequences}]}}
task: single_object_tracking
augment:
- horizontal_flip
"""


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"picture": {"height": 120, "width": 120}}, "such as height=240 width=120, got 120 x 120"),
        ({"picture": {"height": 240, "width": 120, "channels": 1}}, "expected pairs in colour"),
        ({"picture": {"height": 256, "width": 128}}, "16 places of stride 8 a row"),
        ({"network": {"template_cells": 17}}, "expected an odd number from 17 on"),
    ],
)
def test_pairs_of_another_form_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SingleObjectTracking.model_validate(settings)


def test_what_would_tear_pairs_apart_is_refused_with_its_line() -> None:
    assert len(loads(f"{CONFIG}- colour_jitter\n- augmix\n").augment) == 3  # augmix leaves its moves out
    with pytest.raises(ConfigError, match=r"configuration:5: `augment.1` \(rotation\) moves or mixes"):
        loads(f"{CONFIG}- rotation\n")


def test_operations_given_from_python_are_refused_too() -> None:
    kept: list[Augmentation] = [HorizontalFlip(), Brightness(), AugMix()]
    SingleObjectTracking().require_suited(kept)
    with pytest.raises(ConfigError, match=r"`augment.3` \(rotation\)"):
        SingleObjectTracking().require_suited([*kept, Rotation()])


def test_an_answer_is_the_surest_place_and_whether_that_is_enough() -> None:
    task = SingleObjectTracking(threshold=0.5)
    boxes = np.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.5, 1.25, 1.0]], np.float32)
    sure = {"scores": np.array([0.25, 0.75], np.float32), "boxes": boxes}
    assert task.answer(sure) == {"found": True, "score": 0.75, "box": [0.25, 0.5, 1.25, 1.0]}
    drawn = task.drawing(sure)
    np.testing.assert_allclose(drawn["boxes"], [[0.25, 0.25, 1.0, 0.5]])  # of the pair, cut off where the crop ends
    unsure = {**sure, "scores": np.array([0.25, 0.125], np.float32)}
    assert task.answer(unsure)["found"] is False
    assert task.drawing(unsure)["boxes"].shape == (0, 4)


class Chosen(SingleObjectEvaluator):
    def best_threshold(self) -> float:
        return 0.8


def test_a_threshold_is_chosen_unless_one_is_set() -> None:
    left_out = SingleObjectTracking()
    assert left_out.found_from == 0.5
    assert left_out.tuned(Chosen(0.5)).found_from == 0.8
    assert SingleObjectTracking(threshold=0.0).tuned(Chosen(0.0)).found_from == 0.0
