"""What happens between the steps of `keras.Model.fit`. Kept light: a step must not wait for any of it."""

from __future__ import annotations

import csv
import io
import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import tf_keras as keras

from pipeline.averaging import AveragedWeights
from pipeline.checkpoints import Checkpoints, Position
from pipeline.errors import Interrupted, RunError, TrainingError
from pipeline.files import new_file, write_file
from pipeline.tasks.base import Metric

Logs = dict[str, Any]
Progress = Callable[..., None]
REFRESH_SECONDS = 0.5
VALIDATED = "val_"
"""How Keras begins the names of validation's numbers."""


class Callback(keras.callbacks.Callback):
    """A callback that takes logs as tensors, so that Keras does not copy all of them at each step."""

    _supports_tf_logs = True


class StepCounter(Callback):
    """Counts steps into the position, and stops at once where the loss is not finite."""

    def __init__(self, position: Position):
        super().__init__()
        self.position = position
        self.step = int(position.step)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Raises TrainingError naming the step."""
        self.step += 1
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss} at step {self.step}. Lower train.optimizer.learning_rate, "
                "set train.optimizer.clip_norm=1.0, or add train.schedule.warmup_epochs=1."
            )
        self.position.step.assign(self.step)


class TaskNames(Callback):
    """Names metrics as the task does. Keras puts the output's name before, where a learner adds outputs to a model.

    Args:
        metrics: output name -> the task's metrics.
    """

    def __init__(self, metrics: Mapping[str, Sequence[keras.metrics.Metric]]):
        super().__init__()
        names = [(output, metric.name) for output, found in metrics.items() for metric in found]
        uses = Counter(name for _, name in names)
        self.names = {f"{output}_{name}": name for output, name in names if uses[name] == 1}

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """For what is shown."""
        self.rename(logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """For what is judged and recorded."""
        self.rename(logs or {})

    def rename(self, logs: Logs) -> None:
        """In place, as all callbacks after this one see the same logs."""
        items = [(self.name_of(name), value) for name, value in logs.items()]
        logs.clear()
        logs.update(items)

    def name_of(self, name: str) -> str:
        """The task's name, with `val_` where it was."""
        bare = name.removeprefix(VALIDATED)
        return name.removesuffix(bare) + self.names.get(bare, bare)


class Averaging(Callback):
    """Keeps the averaged weights, and puts them in place while the model is validated."""

    def __init__(self, average: AveragedWeights, position: Position):
        super().__init__()
        self.average = average
        self.position = position

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Moves the average."""
        self.average.update(self.position.step)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """The average is what is validated."""
        self.average.swap()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Training goes on with the weights themselves."""
        self.average.swap()


class ExactValidationLoss(Callback):
    """Corrects `val_loss`, and each output's own, for the padding of the last batch, which Keras counts as examples
    with a loss of 0."""

    def __init__(self, num_examples: int, batch_size: int):
        super().__init__()
        padded = math.ceil(num_examples / batch_size) * batch_size
        self.factor = padded / max(num_examples, 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Scales the sums back to means over the real examples; penalties of weights are in the whole loss once."""
        outputs = {f"{VALIDATED}{name}_loss": 0.0 for name in self.model.output_names}
        for name, penalty in {**outputs, f"{VALIDATED}loss": float(sum(self.model.losses))}.items():
            if logs and name in logs:
                logs[name] = (logs[name] - penalty) * self.factor + penalty


class SameNumbers(Callback):
    """Gives all hosts of a training the chief's numbers, so that they judge alike: if one stopped before the others, or
    kept other weights, these would wait for it forever.

    Args:
        of_chief: float64 [n] of this host -> those of the chief.
    """

    def __init__(self, of_chief: Callable[[np.ndarray], Any]):
        super().__init__()
        self.of_chief = of_chief

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """In place, as all callbacks after this one see the same logs."""
        if logs:
            own = np.array([float(value) for value in logs.values()], np.float64)
            logs.update(zip(logs, (float(value) for value in self.of_chief(own)), strict=True))


class BestWeights(Callback):
    """Keeps the weights with the best validation metric, and stops where it has not improved for long enough.

    Args:
        shipped: the model whose weights are kept; a learner may fit another one that shares them.
        file: where the best weights go, `.npz`.
        monitor: name without `val_`, and direction.
        patience: epochs without improvement after which training stops; None never stops.
        steps_per_epoch: to count patience in.
    """

    def __init__(
        self,
        shipped: keras.Model,
        file: Path,
        monitor: Metric,
        position: Position,
        average: AveragedWeights | None,
        patience: float | None,
        steps_per_epoch: int,
    ):
        super().__init__()
        self.shipped, self.file = shipped, file
        self.monitor, self.position, self.average = monitor, position, average
        self.patience_steps = math.inf if patience is None else patience * steps_per_epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compares, saves, stops."""
        value = (logs or {}).get(f"val_{self.monitor.name}")
        if value is None:
            return
        best = float(self.position.best)
        if math.isnan(best) or self.monitor.drop(best, float(value)) < 0:
            self.position.best.assign(float(value))
            self.position.best_step.assign(self.position.step)
            self.save()
        elif int(self.position.step) - int(self.position.best_step) >= self.patience_steps:
            self.model.stop_training = True

    def save(self) -> None:
        """Writes the weights that were validated, whole or not at all."""
        if self.average is not None:
            self.average.swap()
        save_weights(self.shipped, self.file)
        if self.average is not None:
            self.average.swap()


def save_weights(model: keras.Model, file: Path) -> None:
    """Writes a model's weights to `file`, `.npz`, whole or not at all.

    Not as HDF5, whose library ends the process by a segmentation fault where the disk is full.
    """
    with new_file(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, *model.get_weights())


def read_weights(model: keras.Model, file: Path) -> None:
    """Puts the weights that `save_weights` wrote into the model; RunError where the file is damaged."""
    try:
        with np.load(file) as arrays:
            model.set_weights(list(arrays.values()))
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise RunError(
            f"{file} is damaged ({error}). Remove it to go on with the last weights, or train again without --resume."
        ) from error


class Saving(Callback):
    """Saves a checkpoint at the end of each epoch and, if asked for, every so many steps."""

    def __init__(self, checkpoints: Checkpoints, every_steps: int | None):
        super().__init__()
        self.checkpoints = checkpoints
        self.every_steps = every_steps

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Saves in the middle of an epoch."""
        if self.every_steps and int(self.checkpoints.position.step) % self.every_steps == 0:
            self.checkpoints.save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Saves after the validation, whose result is in the position."""
        self.checkpoints.save()


class GracefulStop(Callback):
    """Turns Ctrl-C and SIGTERM into: finish the step, save a checkpoint, say how to resume.

    Args:
        anywhere: whether what is true or false here is true on any host of the training; they stop together.
    """

    def __init__(self, checkpoints: Checkpoints, anywhere: Callable[[bool], bool] = bool):
        super().__init__()
        self.checkpoints = checkpoints
        self.anywhere = anywhere
        self.received: int | None = None
        self.before: dict[int, Any] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self.note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if kind is None:
            self.stop_if_asked()

    def note(self, number: int, frame: object) -> None:
        """Signal handler; a second signal ends the process at once."""
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Stops after the step."""
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Raises Interrupted once a signal came; the last one may come in the last validation, after all steps."""
        if not self.anywhere(self.received is not None):
            return
        self.checkpoints.save()
        name = "another host" if self.received is None else signal.Signals(self.received).name
        raise Interrupted(f"Stopped by {name} after step {int(self.checkpoints.position.step)}; go on with --resume.")


class History(Callback):
    """Writes RUN/history.csv, one row an epoch, and measures the speed of training without start-up and validation."""

    def __init__(self, file: Path, phase: str, position: Position, batch_size: int):
        super().__init__()
        self.file, self.phase, self.position, self.batch_size = file, phase, position, batch_size
        self.rows = [row for row in read_history(file) if int(row["step"]) <= int(position.step)]
        self.warm = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Starts the clock."""
        self.began = self.last = time.perf_counter()
        self.pictures = 0

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """The first step traces the graph, so the clock starts after it."""
        self.last = time.perf_counter()
        if not self.warm:
            self.warm, self.began = True, self.last
        else:
            self.pictures += self.batch_size

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Adds the epoch's row."""
        seconds = self.last - self.began
        row: dict[str, Any] = {
            "step": int(self.position.step),
            "epoch": epoch + 1,
            "phase": self.phase,
            "learning_rate": float(keras.backend.get_value(self.model.optimizer.learning_rate)),
            "seconds": round(seconds, 3),
            "images_per_second": round(self.pictures / seconds, 2) if self.pictures else "",
            **{name: float(value) for name, value in (logs or {}).items()},
        }
        self.rows.append({name: str(value) for name, value in row.items()})
        write_history(self.file, self.rows)


def read_history(file: Path) -> list[dict[str, str]]:
    """The rows of a history file; none where there is no file."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_history(file: Path, rows: list[dict[str, str]]) -> None:
    """Writes all rows, whole or not at all; a column that a row lacks stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    write_file(file, text.getvalue())


class ProgressBar(Callback):
    """Tells a progress display the step, loss, metric and speed, at most twice a second."""

    def __init__(self, progress: Progress, position: Position, total_steps: int, batch_size: int):
        super().__init__()
        self.progress, self.position, self.total_steps, self.batch_size = progress, position, total_steps, batch_size
        self.shown_at = self.shown_step = 0.0
        self.fields: dict[str, str] = {}

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Refreshes when due."""
        now = time.perf_counter()
        if now - self.shown_at < REFRESH_SECONDS:
            return
        step = int(self.position.step)
        if self.shown_at:
            self.fields["pictures/s"] = f"{(step - self.shown_step) * self.batch_size / (now - self.shown_at):,.0f}"
        self.shown_at, self.shown_step = now, step
        self.show(step, logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Shows the validation metrics."""
        self.show(int(self.position.step), logs)

    def show(self, step: int, logs: Logs | None) -> None:
        """Passes the numbers on as short text."""
        self.fields |= {name: f"{float(value):.4f}" for name, value in (logs or {}).items()}
        self.progress(step, self.total_steps, **self.fields)
