"""Takes one training step of every task with every learner on one replica and on two, in a process of its own.

python -m tests.contracts.replicas TABLE FOLDER

Both see the same global batch. Its two halves are alike, so that BatchNormalization, which counts over the pictures of
a replica, has the same statistics in both. The weights go to FOLDER/TASK-LEARNER-DATA-REPLICAS.npz, where DATA is
`whole`, or `holes`: labels of which some are not known, and losses weighted by class.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

from models.stack import tf
from pipeline import fit
from pipeline.data.input import InputSettings, training_batches
from pipeline.data.store import Store
from pipeline.strategy import Devices, configure
from pipeline.tasks import TASKS, Task
from pipeline.train import TrainingJob, TrainSettings, phases
from tests.contracts.subjects import (
    BATCH,
    PAIRS,
    store_for,
    store_with_holes,
    task_class,
    tiny_learner,
    tiny_task,
    weighted,
)
from tests.contracts.tables import WITH_HOLES

REPLICAS = (1, 2)
HOLES = [kind for kind, task in TASKS.items() if task.label_field in WITH_HOLES]
"""The tasks whose labels may be missing."""
PENALISED = "classification"
"""The task whose step is taken with penalties of the weights too."""
SETTINGS = {
    "batch_size": BATCH,
    "tensorboard": False,
    "optimizer": {"kind": "sgd", "learning_rate": 0.1, "weight_decay": 0.01, "clip_norm": 1.0},
}


def job(task: Task, learner: str, store: Store, replicas: int, folder: Path) -> TrainingJob:
    devices = Devices(replicas=replicas)
    return TrainingJob(
        task=task,
        learner=tiny_learner(learner, task, store),
        store=store,
        operations=(),
        input=InputSettings(),
        settings=TrainSettings.model_validate({**SETTINGS, "devices": devices}),
        seed=1,
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
    training.fitted.fit(batches, steps_per_epoch=1, verbose=0)
    after = {f"after/{weight.name}": weight.numpy() for weight in training.fitted.trainable_weights}
    rest = {f"rest/{weight.name}": weight.numpy() for weight in training.fitted.non_trainable_weights}
    return {**before, **after, **rest}


def write(folder: Path, name: str, job: TrainingJob, replicas: int) -> None:
    np.savez(folder / f"{name}-{replicas}.npz", **after_one_step(job, replicas))


def main(table: Path, folder: Path) -> None:
    configure(Devices(replicas=max(REPLICAS)), seed=1)
    for (kind, learner), replicas in itertools.product(PAIRS, REPLICAS):
        store = store_for(task_class(kind), table)
        write(
            folder, f"{kind}-{learner}-whole", job(tiny_task(kind, store), learner, store, replicas, folder), replicas
        )
    for kind, replicas in itertools.product(HOLES, REPLICAS):
        store = store_with_holes(TASKS[kind], table)
        task = weighted(tiny_task(kind, store), store)
        write(folder, f"{kind}-supervised-holes", job(task, "supervised", store, replicas, folder), replicas)
    for replicas in REPLICAS:
        store = store_for(TASKS[PENALISED], table)
        task = penalised(tiny_task(PENALISED, store))
        write(folder, f"{PENALISED}-supervised-penalised", job(task, "supervised", store, replicas, folder), replicas)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
