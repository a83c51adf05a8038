"""Settings of tasks that have to fit the data, beyond what the contracts hold every task to."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.data.example import LABELS, VALUE, DataInfo
from pipeline.errors import DataError
from pipeline.tasks import TASKS
from pipeline.wording import quantity

DATA = {
    "multi_label": DataInfo(fields=(LABELS,), class_names=("cat", "dog", "hat")),
    "regression": DataInfo(fields=(VALUE,), value_names=("x", "y"), value_mean=(0.0, 0.0), value_std=(1.0, 1.0)),
}


@pytest.mark.parametrize(
    ("kind", "setting", "values"),
    [
        ("multi_label", "thresholds", [0.5, 0.5]),
        ("regression", "value_names", ["height"]),
        ("regression", "value_mean", [1.0, 2.0, 3.0]),
        ("regression", "value_std", [1.0]),
    ],
)
def test_one_entry_for_each_name_of_the_data(kind: str, setting: str, values: list[Any]) -> None:
    task = TASKS[kind].model_validate({setting: values})
    with pytest.raises(
        DataError, match=rf"task\.{setting} has {quantity(len(values), 'entry', 'entries')}, but the data holds [23]: "
    ):
        task.resolve(DATA[kind])


def test_targets_may_be_given_other_names() -> None:
    task = TASKS["regression"].model_validate({"value_names": ["width", "height"]}).resolve(DATA["regression"])
    assert task.output_names == ("width", "height")
