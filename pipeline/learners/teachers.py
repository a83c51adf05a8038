"""Teachers: trained networks that are asked about the pictures that a student sees.

A teacher answers in inference mode and is never changed: its weights are in no optimizer, no checkpoint and no model
that ships. It has a picture size and a backbone of its own; the student's picture, augmented as the student sees it,
is brought to that size, so that both see the same (Beyer et al. 2022, "Knowledge distillation: a good teacher is
patient and consistent").
"""

from __future__ import annotations

import hashlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from models.stack import keras, tf
from pipeline.data.example import IMAGE
from pipeline.errors import ConfigError, RunError
from pipeline.learners.base import Source
from pipeline.locations import is_remote, location
from pipeline.predictors import SavedModelPredictor, TFLitePredictor
from pipeline.run import Run
from pipeline.tasks.base import Task, named_outputs
from pipeline.trained import contract_of, load_model, model_files, task_of

PLACE = ("learner", "teacher")
"""The setting that most mistakes are in."""

Answers = Mapping[str, Mapping[str, Any]]
"""What a network says of a batch: `outputs`, raw outputs by name, and `levels`, features [B,h,w,F] by level."""


class Teacher(ABC):
    """A trained network.

    Args:
        name: how messages call it.
        task: resolved, as it was trained on.
    """

    has_levels: bool
    """Whether its feature levels can be seen, or only what it answers."""

    def __init__(self, name: str, task: Task):
        self.name, self.task = name, task

    @abstractmethod
    def open(self, student: Task) -> Callable[[tf.Tensor], Answers]:
        """Loads it, in the scope of the current strategy.

        Args:
            student: whose pictures it will see, and as whose raw outputs it answers.

        Returns:
            A function from pictures of the student's size, [B,H,W,C] 0..255, to answers.
        """

    def require_task_of(self, student: Task) -> None:
        """Raises ConfigError where it was trained on another task than the student's, or on other names."""
        if type(self.task) is not type(student):
            raise ConfigError(
                f"The teacher {self.name} was trained on the task {self.task.name!r}, the student learns "
                f"{student.name!r}. Choose a teacher of the same task.",
                PLACE,
            )
        if self.task.output_names != student.output_names:
            raise ConfigError(
                f"The teacher {self.name} answers in another order or with other names than the student: "
                f"{difference(self.task.output_names, student.output_names)}. Choose a teacher that was trained on the "
                "same names in the same order, or prepare the data as the teacher's was.",
                PLACE,
            )


class Network(Teacher):
    """A Keras model, such as that of a Run.

    Args:
        load: gives the model, made in the scope in which it is called; `image` uint8 in, raw outputs by name out.
    """

    has_levels = True

    def __init__(self, name: str, task: Task, load: Callable[[], keras.Model]):
        super().__init__(name, task)
        self._load = load

    def open(self, student: Task) -> Callable[[tf.Tensor], Answers]:
        """Raw outputs as the network gives them, and all its feature levels."""
        from models.distillation import pictures_for
        from models.graphs import level_tensors

        model = self._load()
        seen = keras.Model(model.inputs, {"outputs": named_outputs(model), "levels": level_tensors(model)})

        def answer(pictures: tf.Tensor) -> Answers:
            found = seen(pictures_for(self.task.picture, student.picture, pictures), training=False)
            return {"outputs": student.outputs_of(self.task, found["outputs"]), "levels": found["levels"]}

        return answer


class Export(Teacher):
    """An exported SavedModel or `.tflite`, of which only the decoded answers can be seen.

    Args:
        file: what is loaded.
    """

    has_levels = False

    def __init__(self, name: str, task: Task, file: Path):
        super().__init__(name, task)
        self._file = file

    def open(self, student: Task) -> Callable[[tf.Tensor], Answers]:
        """Raw outputs, as far as they can be got back from what was decoded."""
        from models.distillation import pictures_for

        predict = tflite_function(self._file) if self._file.suffix == ".tflite" else saved_function(self._file)

        def answer(pictures: tf.Tensor) -> Answers:
            predictions = predict(pictures_for(self.task.picture, student.picture, pictures))
            return {"outputs": student.raw_outputs(predictions), "levels": {}}

        answer(tf.zeros((1, *student.picture.shape), tf.uint8))  # says now what cannot be got back
        return answer


def open_teacher(place: str) -> Teacher:
    """The teacher that a setting names: a Run, an export folder, a SavedModel (or the folder of its versions), or a
    `.tflite`. Nothing is loaded yet.

    Raises:
        ConfigError: there is no such thing, or nothing says what its answers mean.
    """
    path = location(place)
    if is_remote(path):
        raise ConfigError(f"The teacher {place} is not on this machine. Copy it here and name the copy.", PLACE)
    try:
        task, file = task_of(path), model_files(path)
    except RunError as error:
        raise ConfigError(f"learner.teacher: {error}", PLACE) from error
    run = Run(path)
    return Network(place, task, lambda: load_model(run)) if run.model.is_file() else Export(place, task, file)


def copied(model: keras.Model) -> keras.Model:
    """The same network with weights of its own, made in the current scope."""
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


def saved_function(folder: Path) -> Callable[[tf.Tensor], Mapping[str, Any]]:
    """A SavedModel as a part of a graph: pictures uint8 [B,H,W,C] -> predictions by name.

    Loaded in a thread, which is outside the strategy's scope: the functions of a SavedModel that is loaded inside
    cannot be called on a replica. As its weights are constants, each replica has them at hand all the same.
    """
    with ThreadPoolExecutor(1) as outside:
        return outside.submit(lambda: SavedModelPredictor(folder).frozen()).result()


def tflite_function(file: Path) -> Callable[[tf.Tensor], Mapping[str, Any]]:
    """A `.tflite` as a part of a graph; LiteRT runs it on the host's processors, picture by picture.

    Raises:
        RunError: LiteRT cannot run it.
    """
    predictor, one_at_a_time = TFLitePredictor(file, workers=os.cpu_count() or 1), threading.Lock()
    shapes: dict[str, tuple[int, ...]] = {}

    def predict(pictures: np.ndarray) -> list[np.ndarray]:
        with one_at_a_time:  # replicas share the interpreters
            answers = predictor({IMAGE: pictures})
        return [answers[name].astype(np.float32) for name in sorted(answers)]

    def tensors(pictures: tf.Tensor) -> Mapping[str, Any]:
        if not shapes:
            sample = predictor({IMAGE: np.zeros((1, *pictures.shape[1:]), np.uint8)})
            shapes.update({name: sample[name].shape[1:] for name in sorted(sample)})
        values = tf.numpy_function(predict, [pictures], [tf.float32] * len(shapes), stateful=False)
        listed = values if isinstance(values, list | tuple) else [values]  # as TensorFlow gives a single one when eager
        pairs = zip(shapes.items(), listed, strict=True)
        return {name: tf.ensure_shape(value, (None, *shape)) for (name, shape), value in pairs}

    return tensors


def described(place: str) -> Source:
    """What a teacher is, for the report and for a training that goes on.

    Raises:
        ConfigError: as `open_teacher`.
    """
    teacher, path = open_teacher(place), location(place)
    run = Run(path)
    files = [run.task, run.model] if run.model.is_file() else [contract_of(path), *_files(model_files(path))]
    size = sum(file.stat().st_size for file in files)
    facts = [teacher.task.backbone.kind, *_score(run, teacher.task), f"{size / 1000:,.0f} KB"]
    return Source(", ".join(facts), _checksum(files))


def difference(teacher: Sequence[str], student: Sequence[str]) -> str:
    """The first place at which two lists of names differ, and their lengths."""
    pairs = enumerate(zip_longest(teacher, student))
    place, (theirs, ours) = next((place, pair) for place, pair in pairs if pair[0] != pair[1])
    return (
        f"entry {place} is {_named(theirs)} with the teacher and {_named(ours)} with the student "
        f"({len(teacher)} and {len(student)} names)"
    )


def _named(name: str | None) -> str:
    return "missing" if name is None else repr(name)


def _score(run: Run, task: Task) -> list[str]:
    """The metric that a Run's model reached, where it has been evaluated."""
    if not run.evaluation.is_file():
        return []
    value = run.read_json(run.evaluation, "evaluate").get(task.metric.name)
    return [] if value is None else [f"{task.metric.name} {value:.4f}"]


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def _checksum(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
