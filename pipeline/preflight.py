"""What can be known of a variant before any training: `convoy compress RUN_OR_CONFIG --check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.stack import keras
from pipeline.compress.quantization_aware import Int8Qat, refusal
from pipeline.config import Config
from pipeline.data.example import TRAIN, DataInfo
from pipeline.data.store import Store
from pipeline.errors import ExportError, TrainingError
from pipeline.run import Run
from pipeline.tasks import Task

if TYPE_CHECKING:
    from pipeline.compress.qat.check import Table

OUTPUTS = 2
"""How many outputs are assumed as long as neither data nor settings say it; their number changes no layer's kind."""


def check(config: Config, run: Run) -> Table:
    """The table of quantization-aware training, of the Run's trained model or of the network that a configuration
    describes. Nothing is trained, downloaded or written.

    Raises:
        ConfigError: `skip` names a layer that the network does not have.
        TrainingError: the network cannot be built as set.
    """
    from models.graphs import with_float_input
    from pipeline.compress.convert import in_float32
    from pipeline.compress.qat.check import table_of

    network = in_float32(with_float_input(model_of(config, run)))
    skip = {name for one in config.compress.variants if isinstance(one, Int8Qat) for name in one.skipped(network)}
    return table_of(network, skip)


def require_quantizable(table: Table) -> None:
    """Raises ExportError, with the way out, where a layer cannot be quantized."""
    refused = [f"{row.layer} ({row.kind})" for row in table.rows if row.status == "refused"]
    if refused:
        raise ExportError(refusal(refused))


def model_of(config: Config, run: Run) -> keras.Model:
    """The trained model where there is one, else the network with random weights."""
    from pipeline.trained import load_model

    if run.model.exists():
        return load_model(run)
    task = resolved_task(config, run)
    backbone = task.backbone.model_copy(update={"weights": None})
    try:
        return task.model_copy(update={"backbone": backbone}).build()
    except ValueError as error:  # `models` knows nothing of our errors
        raise TrainingError(str(error)) from error


def resolved_task(config: Config, run: Run) -> Task:
    """The task with the names of the prepared data, or with placeholders."""
    if run.data.exists():
        return config.task.resolve(Store.open(run.store).info)
    classes = names_of(config.task, "class_names", "thresholds")
    values = names_of(config.task, "value_names", "value_mean", "value_std")
    info = DataInfo(
        fields=(config.task.label_field,),
        class_names=classes,
        value_names=values,
        num_examples={TRAIN: len(classes)},
        class_counts={TRAIN: [1] * len(classes)},
        value_mean=(0.0,) * len(values),
        value_std=(1.0,) * len(values),
        marks_missing=True,
    )
    return config.task.resolve(info)


def names_of(task: Task, setting: str, *one_each: str) -> tuple[str, ...]:
    """The outputs' names as set, or as many placeholders as a setting with a number for each output has numbers."""
    named: tuple[str, ...] = getattr(task, setting, ())
    counts = [len(getattr(task, name, ())) for name in one_each]
    return named or tuple(f"output {number}" for number in range(max([*counts, 0]) or OUTPUTS))
