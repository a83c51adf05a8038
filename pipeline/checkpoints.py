"""Checkpoints: all that a killed training needs to go on to the same bits."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.stack import keras, tf
from pipeline.errors import RunError, StorageError
from pipeline.files import storage_errors

if TYPE_CHECKING:
    from pipeline.averaging import AveragedWeights

VARIABLE = "{}/.ATTRIBUTES/VARIABLE_VALUE"


class Position:
    """Where training stands, as variables, so that it is saved with the weights.

    Attributes:
        step: steps done, over all phases, int64 [].
        phase: index of the phase, int64 [].
        best: best value of the monitored metric so far, float32 []; NaN before the first validation.
        best_step: step it was seen at, int64 [].
    """

    def __init__(self) -> None:
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.phase = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best = tf.Variable(float("nan"), dtype=tf.float32, trainable=False)
        self.best_step = tf.Variable(0, dtype=tf.int64, trainable=False)

    def tracked(self) -> dict[str, tf.Variable]:
        """The variables by the name they are saved under."""
        return {"step": self.step, "phase": self.phase, "best": self.best, "best_step": self.best_step}


class Checkpoints:
    """The checkpoints of one training: the last ones to resume from, and the best one to ship.

    Args:
        folder: RUN/checkpoints.
        position: saved with every checkpoint.
    """

    def __init__(self, folder: Path, position: Position):
        self.folder = folder
        self.position = position

    def latest(self) -> str | None:
        """The newest checkpoint's path prefix, or None where there is none or the list of them is damaged."""
        try:
            return tf.train.latest_checkpoint(str(self.folder))
        except ValueError:
            return None

    def read_position(self) -> None:
        """Sets the position to that of the newest checkpoint, before there is a model to restore.

        Raises:
            RunError: there is none, or it is damaged.
        """
        path = self.latest()
        if path is None and self.written():
            raise self.damaged(str(self.folder / "checkpoint"), ValueError("it names no checkpoint that is there"))
        if path is None:
            raise RunError(f"There is no checkpoint in {self.folder} to resume from. Train without --resume.")
        try:
            reader = tf.train.load_checkpoint(path)
            for name, variable in self.position.tracked().items():
                variable.assign(reader.get_tensor(VARIABLE.format(name)))
        except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
            raise self.damaged(path, error) from error

    def bind(self, model: keras.Model, optimizer: keras.optimizers.Optimizer, average: AveragedWeights | None) -> None:
        """Names what is saved from here on."""
        parts: dict[str, Any] = {"model": model, "optimizer": optimizer, **self.position.tracked()}
        parts["random"] = tf.train.Checkpoint(**random_generators(model))
        if average is not None:
            parts["average"] = average
        self.checkpoint = tf.train.Checkpoint(**parts)
        self.manager = tf.train.CheckpointManager(self.checkpoint, str(self.folder), max_to_keep=2)

    def variables(self) -> list[tf.Variable]:
        """All that a checkpoint holds of what was bound, in the same order on every host."""
        _ = self.checkpoint.save_counter  # made when it is asked for, and on no host before another
        parts = tf.train.TrackableView(self.checkpoint).descendants()
        return [part for part in parts if isinstance(part, tf.Variable)]

    def restore(self) -> None:
        """Loads the newest checkpoint into what was bound; RunError where it is damaged or of another model."""
        path = str(self.latest())
        try:
            self.checkpoint.restore(path).assert_existing_objects_matched()
        except (tf.errors.OpError, ValueError, AssertionError, IndexError) as error:
            raise self.damaged(path, error) from error

    def save(self) -> None:
        """Writes a checkpoint under a new name and drops the oldest; StorageError where the disk is full."""
        step = int(self.position.step)
        try:
            with storage_errors(self.folder / f"ckpt-{step}"):
                self.manager.save(checkpoint_number=step)
        except StorageError:
            self.remove_unfinished(step)
            raise

    def remove_unfinished(self, step: int) -> None:
        """Removes what TensorFlow leaves of a checkpoint that it could not write; a whole one of that step stays."""
        shutil.rmtree(self.folder / f"ckpt-{step}_temp", ignore_errors=True)
        if self.latest() != str(self.folder / f"ckpt-{step}"):
            for file in self.folder.glob(f"ckpt-{step}.*"):
                file.unlink(missing_ok=True)

    def damaged(self, path: str, error: Exception) -> RunError:
        """The message about a checkpoint that cannot be read."""
        others = [name for name in self.written() if name != Path(path).name]
        way = f"set `model_checkpoint_path` in {self.folder / 'checkpoint'} to {others[-1]!r}, or " if others else ""
        return RunError(
            f"The checkpoint {path} is damaged or belongs to another configuration ({str(error).splitlines()[0]}). "
            f"To go on, {way}train again without --resume."
        )

    def written(self) -> list[str]:
        """The names of the checkpoints that are there, oldest first."""
        names = [index.stem for index in self.folder.glob("ckpt-*.index")]
        return sorted(names, key=lambda name: int(name.removeprefix("ckpt-")))

    def clear(self) -> None:
        """Removes all checkpoints of an earlier training."""
        shutil.rmtree(self.folder, ignore_errors=True)


def random_generators(model: keras.Model) -> dict[str, tf.random.Generator]:
    """Layer name -> what a random layer such as dropout draws from; Keras leaves it out of checkpoints."""
    holders = {layer.name: getattr(layer, "_random_generator", None) for layer in model.layers}
    generators = {name: getattr(holder, "_generator", None) for name, holder in holders.items()}
    return {name: generator for name, generator in generators.items() if generator is not None}
