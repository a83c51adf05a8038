"""What the train stage says and keeps before it trains."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pipeline import console, ownership, strategy
from pipeline.augment.suiting import changes
from pipeline.config import Config
from pipeline.data import sampling, several_sizes
from pipeline.data.known import held
from pipeline.data.memory import memory_plan
from pipeline.data.service import NOTICE
from pipeline.data.store import Store
from pipeline.run import Run
from pipeline.tasks import Task


def common(config: Config, *, resume: bool) -> dict[str, Any]:
    """Name -> value of all that has to be the same on every host of a training: what decides the model, and when all of
    them have to take part in saving."""
    saving = {f"train.{name}": getattr(config.train, name) for name in ("checkpoint_steps", "tensorboard")}
    precision = {"train.devices.precision": strategy.policy(config.train.devices)}
    return {"--resume": resume, **saving, **ownership.decisive(config), **precision}


def keep_sources(config: Config, run: Run, task: Task, *, resume: bool) -> None:
    """Writes down what is learned from besides the data, such as a teacher; nothing where that is nothing.

    Raises:
        ConfigError: it is missing, or does not fit the task.
        RunError: it has changed since the training that is to go on began.
    """
    config.learner.check(task)
    sources = config.learner.sources()
    if resume:
        ownership.require_same_sources(run, sources)
    if sources:
        run.write_json(run.learned_from, {name: asdict(source) for name, source in sources.items()})
    for name, source in sources.items():
        console.say(f"train: learns from {name} ({source.description})")


def announce(config: Config, store: Store, task: Task) -> None:
    """Says in which order, at which sizes, with how much memory and with what left out the training will read, and what
    will make it slow."""
    if drawn := sampling.described(store, config.input.sampling):
        console.say(f"train: {drawn}")
    if sizes := several_sizes.described(store, task, config.input):
        console.say(f"train: {sizes}")
    plan = memory_plan(store.info, task, config.augment, config.input, config.train.batch_size)
    console.say(f"train: {plan}")
    for change in changes(config.augment, held(store.info, task.picture)):
        console.say(f"train: {change}")
    if config.train.devices.precision == "auto":
        console.say(f"train: computes in {strategy.policy(config.train.devices)}")
    if doubt := strategy.doubts(config.train.devices):
        console.warn(doubt)
    if config.input.service:
        console.say(f"train: {NOTICE.format(address=config.input.service)}")


def keep_samples(config: Config, run: Run, store: Store, task: Task) -> None:
    """Some training pictures as the model sees them in the first epoch, for the report."""
    from pipeline import pictures_kept, preview
    from pipeline.drawing import Names

    if config.evaluate.samples:
        examples = preview.read_examples(config, store, task, config.augment, config.evaluate.samples)
        captions = pictures_kept.keep_samples(run.samples, examples, Names.of(store.info))
        run.write_json(run.captions, captions)
