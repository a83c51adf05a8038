"""What batches of several sizes need, whatever decides on the size: `input.buckets` or `input.multi_scale`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.data import buckets, multi_scale
from pipeline.data.cache import GIB, Kept, Need
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.data.input import InputSettings
    from pipeline.data.store import Store
    from pipeline.learners.base import Learner
    from pipeline.tasks.base import Task


def check(task: Task, settings: InputSettings) -> None:
    """Raises ConfigError where batches of several sizes are asked for, but the task has one, or other ones."""
    name = settings.several_sizes
    if name is None:
        return
    if not task.any_size:
        raise ConfigError(
            f"`input.{name}` asks for pictures of several sizes, but the network of the task {task.name!r} as it is "
            f"set takes those of one. Leave input.{name} out.",
            ("input", name),
        )
    sizes, multiple = settings.sizes(task.picture), task.size_multiple
    listed = ", ".join(f"{height} x {width}" for height, width in sizes)
    if len(sizes) < 2:
        raise ConfigError(
            f"`input.{name}` leaves {listed or 'no size'} for a picture of {task.picture.height} x "
            f"{task.picture.width}; expected two sizes or more. Widen its scale, or lower its multiple_of.",
            ("input", name),
        )
    if any(side % multiple for size in (*sizes, (task.picture.height, task.picture.width)) for side in size):
        raise ConfigError(
            f"`input.{name}` asks for pictures of {listed}, `task.picture` for {task.picture.height} x "
            f"{task.picture.width}, but the task {task.name!r} takes multiples of {multiple}, its coarsest stride, "
            f"where it is trained at several sizes. Choose such sizes, or leave input.{name} out.",
            ("input", name),
        )


def check_learner(learner: Learner, settings: InputSettings) -> None:
    """Raises ConfigError where batches of several sizes are asked for, but the learner trains on those of one."""
    name = settings.several_sizes
    if name is None or learner.any_size:
        return
    raise ConfigError(
        f"`input.{name}` asks for pictures of several sizes, but the learner takes those of one. Leave input.{name} "
        "out.",
        ("input", name),
    )


def kept(settings: InputSettings, need: Need) -> Kept:
    """What stays in memory: encoded pictures, from which every size takes its own.

    Raises:
        ConfigError: something else is asked for, or they do not fit.
    """
    name = str(settings.several_sizes)
    if settings.service:
        raise ConfigError(
            f"`input.{name}` chooses among pictures in memory, which workers of `input.service` do not have. Leave one "
            "of the two out.",
            ("input", name),
        )
    if settings.cache not in ("auto", "encoded"):
        raise ConfigError(
            f"`input.cache` is {settings.cache}, but `input.{name}` chooses among encoded pictures in memory. Choose "
            f"auto or encoded, or leave input.{name} out.",
            ("input", "cache"),
        )
    size = need.info.image_bytes[need.split]
    if settings.cache == "auto" and size > settings.cache_limit_gib * GIB:
        raise ConfigError(
            f"`input.{name}` chooses among encoded pictures in memory, which would take {size / GIB:.1f} GiB, but "
            f"`input.cache_limit_gib` is {settings.cache_limit_gib:g}. Raise it, or leave input.{name} out.",
            ("input", name),
        )
    return "encoded"


def described(store: Store, task: Task, settings: InputSettings) -> str:
    """What training will see; empty where all batches are of one size."""
    if settings.buckets:
        return buckets.described(store, settings.buckets)
    return multi_scale.described(settings.sizes(task.picture)) if settings.multi_scale else ""
