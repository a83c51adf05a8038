"""What the input of a training keeps in memory, worked out before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline import augment
from pipeline.data import cache, several_sizes
from pipeline.data.cache import GIB, Kept, Need
from pipeline.data.example import TRAIN, VALIDATION, DataInfo
from pipeline.data.order import READERS
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.augment import Augmentation
    from pipeline.data.input import InputSettings
    from pipeline.tasks.base import Task

READ_BUFFER = 2**18
"""Bytes that TensorFlow holds of every file that it reads."""
ORDER_BYTES = 24
"""Of an example in the order of a pass: number, hash, place."""
FLOAT_AND_BYTE = 5
"""Bytes of a value while its picture is resampled: as decoded, and as float32."""


@dataclass(frozen=True)
class MemoryPlan:
    """An estimate in bytes, without TensorFlow itself, the model and its gradients.

    Args:
        kept: what of the training split stays in memory.
        training: that, and the order of a pass.
        validation: decoded validation pictures.
        shuffle: encoded records in the shuffle buffer, and the files that are open.
        batches: pictures being decoded, batches being augmented, and finished ones that wait.
    """

    kept: Kept
    training: int
    validation: int
    shuffle: int
    batches: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.training + self.validation + self.shuffle + self.batches

    def __str__(self) -> str:
        parts = {
            {"decoded": "decoded pictures", "encoded": "encoded pictures", "none": "nothing kept"}[
                self.kept
            ]: self.training,
            "validation": self.validation,
            "shuffle buffer": self.shuffle,
            "batches": self.batches,
        }
        listed = ", ".join(f"{name} {as_text(size)}" for name, size in parts.items() if size)
        return f"about {as_text(self.total)} of memory for the input: {listed}"

    def require_within(self, limit_gib: float | None) -> None:
        """Raises ConfigError where the plan needs more than the user allows."""
        if limit_gib is None or self.total <= limit_gib * GIB:
            return
        largest = max(CHANGES, key=lambda name: getattr(self, name))
        raise ConfigError(
            f"`input.memory_limit_gib` is {limit_gib:g}, but the training would take {self}. {CHANGES[largest]}",
            ("input", "memory_limit_gib"),
        )


CHANGES = {
    "training": "Keep less: input.cache=encoded or none, or a lower input.cache_limit_gib.",
    "validation": "Keep less: input.cache=encoded or none, or a lower input.cache_limit_gib.",
    "shuffle": "Lower input.shuffle_buffer.",
    "batches": "Lower input.prefetch, input.threads or train.batch_size.",
}
"""Part of a plan -> what makes it smaller."""


def memory_plan(
    info: DataInfo, task: Task, operations: Sequence[Augmentation], settings: InputSettings, batch_size: int
) -> MemoryPlan:
    """What the pictures of a training will take in memory on this host.

    Masks of objects, which few tasks have, are not counted, nor what the workers of a service hold.

    Args:
        info: of the store.
        task: gives the size of the model's pictures.
        operations: a random resized crop at the head needs whole pictures.
        settings: caches, buffers, threads.
        batch_size: of one step, all replicas of this host.

    Raises:
        ConfigError: it is more than `input.memory_limit_gib`, or the cache cannot be as asked for.
    """
    need = Need(info, TRAIN, task.picture, augment.head_crop(operations))
    kept = kept_for(settings, need)
    plan = MemoryPlan(
        kept=kept,
        training=kept_bytes(need, kept),
        validation=validation_bytes(info, task, settings),
        shuffle=shuffle_bytes(need, settings.shuffle_buffer) if kept == "none" and not settings.service else 0,
        batches=batch_bytes(need, kept, settings, batch_size),
    )
    plan.require_within(settings.memory_limit_gib)
    return plan


def kept_for(settings: InputSettings, need: Need) -> Kept:
    """What of the training split stays in memory on this host."""
    if settings.several_sizes:
        return several_sizes.kept(settings, need)
    return "none" if settings.service else cache.choose(settings.cache, settings.cache_limit_gib, need)


def kept_bytes(need: Need, kept: Kept) -> int:
    """What stays in memory of a split."""
    count = need.info.num_examples[need.split]
    sizes = {"decoded": need.decoded_bytes or 0, "encoded": need.info.image_bytes[need.split], "none": 0}
    return sizes[kept] + (0 if kept == "none" else ORDER_BYTES * count)


def validation_bytes(info: DataInfo, task: Task, settings: InputSettings) -> int:
    """Validation pictures stay decoded where training pictures of that number would."""
    if not info.num_examples.get(VALIDATION):
        return 0
    need = Need(info, VALIDATION, task.picture, crop=None)
    kept = cache.choose(settings.cache, settings.cache_limit_gib, need)
    return (need.decoded_bytes or 0) if kept == "decoded" else 0


def shuffle_bytes(need: Need, buffer: int) -> int:
    """Encoded records that are drawn from, and what is read ahead of them."""
    count = need.info.num_examples[need.split]
    return need.info.image_bytes[need.split] * min(buffer, count) // count + READERS * READ_BUFFER


def batch_bytes(need: Need, kept: Kept, settings: InputSettings, batch_size: int) -> int:
    """Pictures and batches on their way: each thread works on one whole picture and on one batch, before and after."""
    height, width = need.info.picture_sizes[need.split][2:]
    picture = height * width * need.format.channels * FLOAT_AND_BYTE
    sizes = settings.sizes(need.format)
    batch = batch_size * sum(rows * columns for rows, columns in sizes) // len(sizes) * need.format.channels
    decoding = 0 if kept == "decoded" and need.crop is None else settings.parallel_calls * picture
    return decoding + (settings.prefetch + 2 * settings.parallel_calls * len(sizes)) * batch


def as_text(size: int) -> str:
    """Bytes for people: `1.5 GiB`, `20 MiB`."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.3g} MiB"
