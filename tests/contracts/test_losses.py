"""What holds for every task holds with every loss that it offers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.data.store import Store
from pipeline.tasks import TASKS, Task
from tests.contracts.subjects import Subject, gradients, store_for, store_with_holes, subject, tiny_task, weighted
from tests.contracts.tables import WITH_HOLES
from tests.contracts.test_settings import members
from tests.contracts.test_tasks import (
    test_gradients_reach_every_trainable_weight,
    test_losses_give_one_value_for_each_example,
    test_settings_survive_json,
    test_the_loss_falls_on_one_batch,
)

LEARNER = "supervised"
CHOICES = [
    (task, loss.model_fields["kind"].default)
    for task, settings in TASKS.items()
    if "loss" in settings.model_fields
    for loss in members(settings.model_fields["loss"].annotation)
]


@pytest.fixture(scope="module", params=CHOICES, ids="-".join)
def one(request: pytest.FixtureRequest, table: Path) -> Subject:
    """A task with a loss, freshly built; the test that trains it comes last."""
    kind, loss = request.param
    store = store_for(TASKS[kind], table)
    return subject(with_loss(kind, loss, store), LEARNER, store)


def with_loss(kind: str, loss: str, store: Store) -> Task:
    task = tiny_task(kind, store)
    return type(task).model_validate({**task.model_dump(), "loss": {"kind": loss}})


@pytest.mark.parametrize(("kind", "loss"), CHOICES)
def test_gradients_stay_finite_where_labels_are_missing_and_classes_weighted(kind: str, loss: str, table: Path) -> None:
    if TASKS[kind].label_field not in WITH_HOLES:
        pytest.skip(f"labels of {kind} are known all or not at all")
    store = store_with_holes(TASKS[kind], table)
    found = gradients(subject(weighted(with_loss(kind, loss, store), store), LEARNER, store))
    assert [name for name, gradient in found.items() if gradient is None or not np.all(np.isfinite(gradient))] == []


__all__ = [
    "test_gradients_reach_every_trainable_weight",
    "test_losses_give_one_value_for_each_example",
    "test_settings_survive_json",
    "test_the_loss_falls_on_one_batch",
]
