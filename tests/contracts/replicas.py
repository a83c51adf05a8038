"""Takes one training step of every task, and with every learner, on one replica and on two, in a process of its own.

python -m tests.contracts.replicas TABLE FOLDER

Both see the same global batch. Its two halves are alike, so that BatchNormalization, which counts over the pictures of
a replica, has the same statistics in both. The weights go to FOLDER/TASK-LEARNER-DATA-REPLICAS.npz.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from models.stack import keras, tf
from pipeline import fit
from pipeline.data.input import InputSettings, training_batches
from pipeline.data.store import Store
from pipeline.learners import LEARNERS
from pipeline.strategy import Devices, configure
from pipeline.tasks import Task
from pipeline.train import TrainingJob, TrainSettings, phases
from tests.collector import collect_less_often
from tests.contracts.subjects import (
    BATCH,
    PLAINEST,
    VARIETIES,
    store_for,
    store_with_holes,
    task_class,
    tiny_learner,
    tiny_task,
    weighted,
)
from tests.contracts.tables import WITH_HOLES

REPLICAS = (1, 2)
CLEAR = 1e-5
"""How far every unit is from the kink of its ReLU: of nearer ones rounding, which is another for another size of batch,
may decide on which side they are, and with that whether they have a gradient."""
SETTINGS = {
    "batch_size": BATCH,
    "tensorboard": False,
    "optimizer": {"kind": "sgd", "learning_rate": 0.1, "weight_decay": 0.01, "clip_norm": 1.0},
}


@dataclass(frozen=True)
class Step:
    """What a step is taken of.

    Args:
        kind: the variety of a task.
        learner: the way of training.
        data: `whole`; `holes`, labels of which some are not known, and losses weighted by class; `penalised`, whole
            with penalties of the weights so large that they lead.
    """

    kind: str
    learner: str = "supervised"
    data: str = "whole"

    @property
    def name(self) -> str:
        """The beginning of its files' names."""
        return f"{self.kind}-{self.learner}-{self.data}"


STEPS = [
    *(Step(kind, data="holes" if task_class(kind).label_field in WITH_HOLES else "whole") for kind in VARIETIES),
    *(Step(PLAINEST, learner) for learner in LEARNERS),
    Step(PLAINEST, data="penalised"),
]
"""Labels that are missing where they can be: losses that count those that are known are the harder to share out. A
learner's losses are those of each example with every task, as `test_tasks` holds; Keras shares all out the same way."""


def given(step: Step, table: Path) -> tuple[Task, Store]:
    """The task and the data of a step."""
    kind = task_class(step.kind)
    if step.data == "holes":
        store = store_with_holes(kind, table)
        return weighted(tiny_task(step.kind, store), store), store
    store = store_for(kind, table)
    task = tiny_task(step.kind, store)
    return (penalised(task) if step.data == "penalised" else task), store


def job(task: Task, learner: str, store: Store, replicas: int, folder: Path, seed: int = 1) -> TrainingJob:
    devices = Devices(replicas=replicas)
    return TrainingJob(
        task=task,
        learner=tiny_learner(learner, task, store),
        store=store,
        operations=(),
        input=InputSettings(),
        settings=TrainSettings.model_validate({**SETTINGS, "devices": devices}),
        seed=seed,
        checkpoints=folder / "checkpoints",
        history=folder / "history.csv",
        tensorboard=folder / "tensorboard",
        progress=lambda *_, **__: None,
    )


def penalised(task: Task) -> Task:
    """The task with a penalty of its weights so large that it leads."""
    settings = task.model_dump()
    settings["backbone"]["regularisation"]["l2"] = settings["head"]["l2"] = 1.0
    return type(task).model_validate(settings)


def equal_halves(job: TrainingJob, replicas: int) -> tf.data.Dataset:
    """One global batch, as many elements as there are replicas."""
    half = training_batches(job.store, job.task, (), job.input, BATCH // 2, job.seed).take(1)
    return half.repeat(2).unbatch().batch(BATCH // replicas, drop_remainder=True)


def clear_seed(job: TrainingJob) -> int:
    """The first seed whose weights keep all units clear of their kinks on the step's batch."""
    return next(seed for seed in count(1) if nearest_to_kink(replace(job, seed=seed)) > CLEAR)


def nearest_to_kink(job: TrainingJob) -> float:
    """The least distance of any unit from the kink of its ReLU."""
    model = fit.start(job, resume=False).model
    before = [layer.input for layer in model.layers if isinstance(layer, keras.layers.ReLU)]
    examples, *_ = next(iter(equal_halves(job, replicas=1)))
    units = keras.Model(model.inputs, before)(examples, training=True)
    return min(float(tf.reduce_min(tf.abs(one))) for one in units)


def after_one_step(job: TrainingJob, replicas: int) -> dict[str, np.ndarray]:
    """The trainable weights before and after the step, and the rest after it, by name."""
    training = fit.start(job, resume=False)
    phase = phases(job.settings, steps_per_epoch=10)[0]
    fit.choose_trainable(training.model, phase)
    fit.compile_phase(training, phase)
    before = {f"before/{weight.name}": weight.numpy() for weight in training.fitted.trainable_weights}
    batches = training.strategy.distribute_datasets_from_function(
        lambda _: job.learner.batches(job.task, equal_halves(job, replicas))
    )
    training.fitted.run_eagerly = replicas == 1  # a single step is not worth tracing where it is only compared with
    training.fitted.fit(batches, steps_per_epoch=1, verbose=0)
    after = {f"after/{weight.name}": weight.numpy() for weight in training.fitted.trainable_weights}
    rest = {f"rest/{weight.name}": weight.numpy() for weight in training.fitted.non_trainable_weights}
    return {**before, **after, **rest}


def main(table: Path, folder: Path) -> None:
    collect_less_often()
    configure(Devices(replicas=max(REPLICAS)), seed=1)
    for step in STEPS:
        task, store = given(step, table)
        seed = clear_seed(job(task, "supervised", store, 1, folder))
        for replicas in REPLICAS:
            weights = after_one_step(job(task, step.learner, store, replicas, folder, seed), replicas)
            np.savez(folder / f"{step.name}-{replicas}.npz", **weights)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
