"""The measurements behind `convoy profile`: every stage alone, the whole input, and training with and without it."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from pipeline import fit
from pipeline.augment import plan, random
from pipeline.augment.base import PictureShape
from pipeline.augment.mixed_pictures import Blend, Paste, Tile
from pipeline.data import cache
from pipeline.data import input as data_input
from pipeline.data.cache import GIB, Kept
from pipeline.data.example import EPOCH, ID, TRAIN, Example
from pipeline.data.known import apart, joined
from pipeline.data.memory import kept_for
from pipeline.data.order import RECORD
from pipeline.data.reading import SOURCES, Reading, decode_batches
from pipeline.profile import Facts, Kind, Profile, Stage
from pipeline.strategy import shared_out
from pipeline.train import TrainingJob, phases

if TYPE_CHECKING:
    from pipeline.console import Progress

BATCHES = 8
"""Different batches of records that are decoded again and again."""
TURNS = 3
"""How often each measurement is made; the median counts."""


@dataclass(frozen=True)
class Work:
    """Something whose speed can be measured.

    Args:
        step: works on `pictures` pictures.
        buffered: steps whose work may have been done before they are asked for.
        settle: waits until all steps are done.
    """

    step: Callable[[], Any]
    pictures: int
    buffered: int = 0
    settle: Callable[[], Any] = lambda: None


@dataclass(frozen=True)
class Part:
    """A Stage that has not been measured."""

    kind: Kind
    name: str
    what: str
    work: Work


def measure(job: TrainingJob, seconds: float, progress: Progress) -> Profile:
    """Measures every stage of a training for a few seconds.

    Args:
        job: the training; nothing is written to where it writes.
        seconds: for all measurements together, besides compiling and filling caches.
        progress: told how many of the measurements are done.
    """
    reading = reading_of(job)
    kept = kept_for(job.input, reading.need)
    with training_of(job) as (synthetic, real):
        parts = [*input_parts(job, reading, kept), Part("compute", "compute", "one compiled training step", synthetic)]
        stream = batches(whole_input(job), job.settings.batch_size, reading.threads + job.input.prefetch)
        works = {**{part.name: part.work for part in parts}, "input": stream, "training, real data": real}
        speeds = median_speeds(works, seconds, progress)
    stages = tuple(Stage(part.kind, part.name, part.what, one) for part, one in zip(parts, speeds, strict=False))
    input_speed, real_speed = speeds[len(parts) :]
    return Profile(stages, input_speed, stages[-1].speed, real_speed, facts_of(job, reading, kept))


def median_speeds(works: Mapping[str, Work], seconds: float, progress: Progress) -> list[float]:
    """Pictures a second of each; measured in turns, so that what else the machine does meets all of them."""
    measured: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(TURNS):
        for number, (name, work) in enumerate(works.items()):
            progress(turn * len(works) + number, TURNS * len(works), now=name)
            measured[name].append(speed(work, seconds / len(works) / TURNS))
    progress(TURNS * len(works), TURNS * len(works))
    return [statistics.median(one) for one in measured.values()]


def speed(work: Work, seconds: float) -> float:
    """Pictures a second, after steps to warm up and to use up what is buffered."""
    for _ in range(1 + work.buffered):
        work.step()
    work.settle()
    begun, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - begun < seconds:
        work.step()
        steps += 1
    work.settle()
    return steps * work.pictures / (time.perf_counter() - begun)


# ----------------------------------------------------------------------------------------------- input


def reading_of(job: TrainingJob) -> Reading:
    """What the training reads."""
    return data_input.reading_of(job.store, job.task, job.operations, job.input, job.settings.batch_size, job.seed)


def input_parts(job: TrainingJob, reading: Reading, kept: Kept) -> list[Part]:
    """The stages of the input, in their order."""
    size, threads = job.settings.batch_size, reading.threads
    drawn = plan.drawn_steps(reading.operations, PictureShape.of(job.task.picture))
    done = plan.done_when_read(reading.operations, drawn, joins_crop=reading.joined_crop is not None)
    alone = replace(reading, operations=reading.operations[: done.operations])
    also = "".join(f", {kind}" for kind in plan.kinds(reading.operations, range(done.operations)))
    if kept == "decoded":
        examples = SOURCES[kept](alone)
        parts = [Part("read", "read", f"decoded pictures in memory{also}", batches(examples, size, threads))]
    else:
        examples = decode_batches(records_of(job, size), alone)
        read = batches(cache.records(job.store, TRAIN).repeat().batch(size), size, threads)
        parts = [
            Part("read", "read", "shard files", read),
            Part("decode", "decode", f"to the model's size{also}", batches(examples, size, threads)),
        ]
    batch = apart(next(iter(examples)), job.task.picture)
    for number, (transform, places) in list(enumerate(drawn))[done.steps :]:
        kind: Kind = "mix" if isinstance(transform, Blend | Paste | Tile) else "augment"
        work, batch = group_work(reading, batch, number, size)
        parts.append(Part(kind, " + ".join(plan.kinds(reading.operations, places)), transform.describe(), work))
    encode = tf.data.Dataset.from_tensors(joined(batch)).repeat().map(job.task.encode, threads)
    return [*parts, Part("encode", "encode", "targets from labels", batches(encode, size, threads))]


def records_of(job: TrainingJob, size: int) -> tf.data.Dataset:
    """Some batches of records in memory, again and again, each time in another epoch."""
    first = cache.records(job.store, TRAIN).repeat().take(BATCHES * size).batch(size).cache()
    epochs = tf.data.Dataset.range(2**31)
    return tf.data.Dataset.zip(first.repeat(), epochs).map(
        lambda records, epoch: {RECORD: records, EPOCH: tf.fill(tf.shape(records), epoch // BATCHES)}
    )


def group_work(reading: Reading, batch: Example, number: int, pictures: int) -> tuple[Work, Example]:
    """The work of one group on a batch that has gone through those before it, and what comes out."""
    shape = PictureShape.of(reading.need.format)

    def group(examples: Example) -> Example:
        keys = random.keys(examples[ID], examples[EPOCH], reading.seed)
        return plan.fuse(plan.transforms(reading.operations, keys, shape))[number](examples, reading.engine)

    repeated = tf.data.Dataset.from_tensors(batch).repeat().map(group, reading.threads, deterministic=True)
    return batches(repeated, pictures, reading.threads), group(batch)


def whole_input(job: TrainingJob) -> tf.data.Dataset:
    """The training stream."""
    size = job.settings.batch_size
    return data_input.training_batches(job.store, job.task, job.operations, job.input, size, job.seed)


def batches(dataset: tf.data.Dataset, pictures: int, buffered: int = 0) -> Work:
    """Taking batches of so many pictures from a dataset."""
    iterator: Iterator[Any] = iter(data_input.with_options(dataset))
    return Work(lambda: next(iterator), pictures, buffered)


# ----------------------------------------------------------------------------------------------- training


@contextmanager
def training_of(job: TrainingJob) -> Iterator[tuple[Work, Work]]:
    """Steps of the training's last phase: on one batch again and again, and on the real input."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = replace(job, checkpoints=Path(folder) / "checkpoints")
        training = fit.start(scratch, resume=False)
        phase = phases(job.settings, job.steps_per_epoch)[-1]
        fit.choose_trainable(training.model, phase)
        fit.compile_phase(training, phase)
        step = training.fitted.make_train_function()
        stream = fit.batches_from(scratch, 0)

        def one_batch(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return tf.data.Dataset.from_tensors(next(iter(stream(context)))).repeat()

        buffered = job.input.parallel_calls + job.input.prefetch
        yield steps_of(training, step, one_batch, 0), steps_of(training, step, stream, buffered)


def steps_of(
    training: fit.Training,
    step: Callable[[Any], Any],
    data: Callable[[tf.distribute.InputContext], tf.data.Dataset],
    buffered: int,
) -> Work:
    """Training steps on the batches of an input function."""
    iterator = iter(shared_out(training.strategy, data))
    last = training.fitted.trainable_variables[-1]
    return Work(lambda: step(iterator), training.job.settings.batch_size, buffered, last.numpy)


def facts_of(job: TrainingJob, reading: Reading, kept: Kept) -> Facts:
    """What the advice depends on."""
    need, picture, elsewhere = reading.need, job.task.picture, job.input.service is not None
    decoded = None if elsewhere or job.input.several_sizes else need.decoded_bytes
    *_, height, width = job.store.info.picture_sizes[TRAIN]
    return Facts(
        cache=kept,
        decoded_gib=None if decoded is None else decoded / GIB,
        encoded_gib=None if elsewhere else job.store.info.image_bytes[TRAIN] / GIB,
        threads=reading.threads,
        processors=os.cpu_count() or 1,
        scaled_decoding=reading.scaled or reading.joined_crop is not None,
        shrinks=max(height, width) / max(picture.height, picture.width),
        engine=type(reading.engine).__name__,
        device="GPU" if tf.config.list_physical_devices("GPU") else "CPU",
        batch_size=job.settings.batch_size,
    )
