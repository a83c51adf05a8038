"""Carries out a training: builds the model on all replicas, fits it phase by phase, resumes where it was killed.

Where the first weights come from, in this order: the Run's own checkpoint (`--resume`), else the backbone's pretrained
weights, else random ones from the seed.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import tensorflow as tf
import tf_keras as keras

from models import graphs
from pipeline import callbacks
from pipeline.averaging import AveragedWeights
from pipeline.checkpoints import Checkpoints, Position
from pipeline.data import input as data_input
from pipeline.data import several_sizes
from pipeline.data.example import IMAGE, VALIDATION
from pipeline.errors import TrainingError
from pipeline.strategy import Precision, per_replica, policy, shared_out
from pipeline.train import Phase, TrainingJob, TrainingResult, phases

BEST_WEIGHTS = "best.npz"


@dataclass
class Training:
    """A training in progress."""

    job: TrainingJob
    strategy: tf.distribute.Strategy
    model: keras.Model
    fitted: keras.Model
    average: AveragedWeights | None
    checkpoints: Checkpoints

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self.checkpoints.position


def fit(job: TrainingJob, *, resume: bool) -> tuple[keras.Model, TrainingResult]:
    """Trains to the end of the last phase.

    Returns:
        The float32 model with the best validated weights (the last ones where there is no validation split), outside
        any strategy, and what the training came to.

    Raises:
        ConfigError: the batch cannot be shared out between the replicas.
        TrainingError: the network cannot be built (weights that do not fit), or the loss became infinite or NaN.
        RunError: no checkpoint to resume from, or a damaged one.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was saved.
    """
    began = time.perf_counter()
    training = start(job, resume=resume)
    plan = phases(job.settings, job.steps_per_epoch)
    restoring = resume
    for index in range(int(training.position.phase), len(plan)):
        training.position.phase.assign(index)
        fit_phase(training, plan[index], restoring=restoring, last=index == len(plan) - 1)
        restoring = False
    return finished_model(training), result_of(training, time.perf_counter() - began)


def start(job: TrainingJob, *, resume: bool) -> Training:
    """Builds the model on all replicas and finds the position to begin at."""
    strategy = job.team.strategy(job.settings.devices)
    per_replica(job.settings.batch_size, strategy.num_replicas_in_sync)
    checkpoints = Checkpoints(job.checkpoints, Position())
    if resume:
        job.team.restore(checkpoints.read_position, lambda: list(checkpoints.position.tracked().values()))
    keras.utils.set_random_seed(job.seed)
    with Precision(policy(job.settings.devices)), strategy.scope():
        model = build(job)
        fitted = job.learner.training_model(job.task, of_any_size(job, model) if job.input.several_sizes else model)
    if not resume:  # only now, so that a network that cannot be built leaves an earlier training as it was
        checkpoints.clear()
    decay = job.settings.average_decay
    average = AveragedWeights(model, decay) if decay else None
    return Training(job, strategy, model, fitted, average, checkpoints)


def build(job: TrainingJob) -> keras.Model:
    """The task's network, once it is sure that all phases can be trained on it.

    Raises:
        TrainingError: pretrained weights are missing or do not fit, or a phase begins at a layer that does not exist.
    """
    try:
        model = job.task.build()
        graphs.let_statistics_settle(model, job.settings.epochs * job.steps_per_epoch)
        for phase in phases(job.settings, job.steps_per_epoch):
            choose_trainable(model, phase)
    except ValueError as error:  # `models` knows nothing of our errors
        raise TrainingError(str(error)) from error
    return model


def of_any_size(job: TrainingJob, model: keras.Model) -> keras.Model:
    """The network for batches of several sizes.

    Raises:
        ConfigError: the learner trains on pictures of one size.
        TrainingError: a part of the network is made for one.
    """
    several_sizes.check_learner(job.learner, job.input)
    try:
        return graphs.with_any_size(model)
    except ValueError as error:
        raise TrainingError(f"{error} Leave input.{job.input.several_sizes} out, or choose another network.") from error


def fit_phase(training: Training, phase: Phase, *, restoring: bool, last: bool) -> None:
    """Fits one phase from the current position to its last step."""
    choose_trainable(training.model, phase)
    optimizer = compile_phase(training, phase)
    training.checkpoints.bind(training.fitted, optimizer, training.average)
    if restoring:
        with training.strategy.scope():
            optimizer.build(training.fitted.trainable_variables)
        training.job.team.restore(training.checkpoints.restore, training.checkpoints.variables)
    with callbacks.GracefulStop(training.checkpoints, training.job.team.any) as graceful:
        while int(training.position.step) < phase.last_step and not (last and out_of_patience(training)):
            before = int(training.position.step)
            fit_epochs(training, phase, [*phase_callbacks(training, phase, last=last), graceful])
            if int(training.position.step) == before:
                break


def choose_trainable(model: keras.Model, phase: Phase) -> None:
    """Freezes and unfreezes the backbone as the phase says."""
    if phase.frozen:
        graphs.freeze_backbone(model)
    elif phase.unfreeze_from is not None:
        graphs.unfreeze_from(model, phase.unfreeze_from)
    else:
        graphs.unfreeze(model)


def compile_phase(training: Training, phase: Phase) -> keras.optimizers.Optimizer:
    """Compiles the fitted model with the phase's own optimizer and learning rate."""
    job, settings = training.job, training.job.settings
    steps = phase.last_step - phase.first_step
    schedule = settings.schedule.build(phase.learning_rate, steps, job.steps_per_epoch)
    with training.strategy.scope():
        optimizer = settings.optimizer.build(schedule, training.fitted)
        training.fitted.compile(
            optimizer,
            loss=job.learner.losses(job.task),
            weighted_metrics=job.task.metrics(),
            jit_compile=False,
        )
    return training.fitted.optimizer  # wrapped for loss scaling under mixed_float16


def fit_epochs(training: Training, phase: Phase, hooks: list[keras.callbacks.Callback]) -> None:
    """Fits to the end of the phase, or only to the end of the epoch where the position is in the middle of one."""
    job, step = training.job, int(training.position.step)
    epoch, inside = divmod(step, job.steps_per_epoch)
    epochs = epoch + 1 if inside else phase.last_step // job.steps_per_epoch
    training.fitted.fit(
        shared_out(training.strategy, batches_from(job, step)),
        initial_epoch=epoch,
        epochs=epochs,
        steps_per_epoch=job.steps_per_epoch - inside,
        **validation(training),
        validation_freq=[number for number in range(1, epochs + 1) if validate_after(job, number, epochs)],
        callbacks=hooks,
        verbose=0,
    )


def validate_after(job: TrainingJob, number: int, epochs: int) -> bool:
    """Whether there is a validation after the epoch of that number; always after the last."""
    return number % job.settings.validate_every == 0 or number == epochs


def batches_from(job: TrainingJob, step: int) -> Callable[[tf.distribute.InputContext], tf.data.Dataset]:
    """The input function of a strategy: the stream of (inputs, targets) from a step on."""

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        stream = data_input.training_batches(
            job.store,
            job.task,
            job.operations,
            job.input,
            job.settings.batch_size,
            job.seed,
            first_step=step,
            input_context=context,
        )
        return job.learner.batches(job.task, stream)

    return batches


def validation_data(job: TrainingJob, context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
    """(inputs, targets, weights) of the validation split; with a context, of each replica of a host in turn."""
    size = job.settings.batch_size
    batches = data_input.validation_batches(job.store, job.task, VALIDATION, size, job.input, context)
    return job.learner.batches(job.task, batches)


def validation(training: Training) -> dict[str, Any]:
    """The arguments of Keras's `fit` for the validation; none where its split is empty."""
    job = training.job
    examples = job.store.info.num_examples.get(VALIDATION)
    if not examples:
        return {}
    return {
        "validation_data": shared_out(training.strategy, partial(validation_data, job)),
        "validation_steps": math.ceil(examples / job.settings.batch_size),
    }


def phase_callbacks(training: Training, phase: Phase, *, last: bool) -> list[keras.callbacks.Callback]:
    """The callbacks in the order in which they must act: count, average, correct, judge, record, save."""
    job, position, settings = training.job, training.position, training.job.settings
    best = job.checkpoints / BEST_WEIGHTS
    patience = settings.early_stopping if last else None
    hooks: list[keras.callbacks.Callback] = [
        callbacks.StepCounter(position),
        callbacks.TaskNames(job.task.metrics()),
    ]
    if training.average is not None:
        hooks.append(callbacks.Averaging(training.average, position))
    hooks += [
        callbacks.ExactValidationLoss(job.store.info.num_examples.get(VALIDATION, 0), settings.batch_size),
        *job.team.callbacks(),
        callbacks.BestWeights(
            training.model, best, job.task.monitor, position, training.average, patience, job.steps_per_epoch
        ),
        callbacks.History(job.history, phase.name, position, settings.batch_size),
        callbacks.ProgressBar(job.progress, position, last_step(job), settings.batch_size),
    ]
    if settings.tensorboard:
        hooks.append(keras.callbacks.TensorBoard(job.tensorboard, write_graph=False, profile_batch=0))
    return [*hooks, callbacks.Saving(training.checkpoints, settings.checkpoint_steps)]


def last_step(job: TrainingJob) -> int:
    """Steps of the whole training."""
    return phases(job.settings, job.steps_per_epoch)[-1].last_step


def out_of_patience(training: Training) -> bool:
    """Whether the validation metric has not improved for as long as the settings allow."""
    patience, position = training.job.settings.early_stopping, training.position
    if patience is None or math.isnan(float(position.best)):
        return False
    return int(position.step - position.best_step) >= patience * training.job.steps_per_epoch


def finished_model(training: Training) -> keras.Model:
    """The model that ships: best weights, float32, built outside the strategy."""
    best = training.job.checkpoints / BEST_WEIGHTS
    if training.average is not None:
        training.average.swap()
    last = training.model.get_weights()  # all hosts take part in this, whatever files they have
    model = training.job.task.build()
    if not math.isnan(float(training.position.best)) and best.exists():
        callbacks.read_weights(model, best)
    else:
        model.set_weights(last)
    return model


def result_of(training: Training, seconds: float) -> TrainingResult:
    """Steps, speed, and the step whose weights were kept."""
    rows = callbacks.read_history(training.job.history)
    rates = [float(row["images_per_second"]) for row in rows if row["images_per_second"]]
    position, steps = training.position, int(training.position.step)
    return TrainingResult(
        seconds=round(seconds, 2),
        images_per_second=round(statistics.median(rates), 2) if rates else None,
        steps=steps,
        replicas=training.strategy.num_replicas_in_sync,
        best_step=steps if math.isnan(float(position.best)) else int(position.best_step),
        precision=policy(training.job.settings.devices),
    )


def fine_tune(
    job: TrainingJob,
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    epochs: int,
    learning_rate: float,
    more_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains a variant of the model in place, on the training data, with Adam and a cosine to zero.

    Args:
        job: the training that the model comes from; its learner, augmentation and batch size are used again.
        strategy: in whose scope the model was made.
        model: named raw outputs as the task's model has them; `image` float32 [B,H,W,C] 0..255.
        epochs: passes over the training split.
        learning_rate: peak.
        more_callbacks: what has to happen between the steps besides.

    Raises:
        ConfigError: the batch cannot be shared out between the replicas.
        TrainingError: the loss became infinite or NaN.
    """
    from pipeline.optimizers import Adam, Cosine

    per_replica(job.settings.batch_size, strategy.num_replicas_in_sync)
    steps = epochs * job.steps_per_epoch
    with strategy.scope():
        fitted = job.learner.training_model(job.task, model)
        schedule = Cosine().schedule(learning_rate, steps)
        optimizer = Adam(learning_rate=learning_rate, clip_norm=1.0).build(schedule, fitted)
        fitted.compile(
            optimizer,
            loss=job.learner.losses(job.task),
            weighted_metrics=job.task.metrics(),
            jit_compile=False,
        )
    position = Position()
    hooks = [
        callbacks.StepCounter(position),
        callbacks.TaskNames(job.task.metrics()),
        *more_callbacks,
        callbacks.ProgressBar(job.progress, position, steps, job.settings.batch_size),
    ]
    stream = shared_out(strategy, float_batches(job))
    fitted.fit(stream, epochs=epochs, steps_per_epoch=job.steps_per_epoch, callbacks=hooks, verbose=0)


def float_batches(job: TrainingJob) -> Callable[[tf.distribute.InputContext], tf.data.Dataset]:
    """The training stream from its beginning for a model that takes pictures as float32, as tfmot's models do."""
    # Variants ship at one size, so their ranges and masks are found on that.
    from_start = batches_from(replace(job, input=job.input.at_one_size), 0)

    def as_float(inputs: dict[str, Any], targets: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        return {**inputs, IMAGE: tf.cast(inputs[IMAGE], tf.float32)}, targets

    return lambda context: from_start(context).map(as_float)
