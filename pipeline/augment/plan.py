"""Which operation runs when: the draws, what is fused, and the order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from models.stack import tf
from pipeline.augment import random
from pipeline.augment.base import Augmentation, PictureOperation, PictureShape, Transform
from pipeline.augment.colour import Recolour
from pipeline.augment.crops import RandomResizedCrop
from pipeline.augment.engines import Engine
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.python_calls import as_written
from pipeline.augment.warp import Warp
from pipeline.data.example import EPOCH, ID, IMAGE, Example
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import tensorflow as tf


def check(operations: Sequence[Augmentation]) -> None:
    """Raises ConfigError for a list of operations that cannot run in its order."""
    for place, operation in enumerate(operations):
        if place and isinstance(operation, RandomResizedCrop):
            raise ConfigError(
                f"`augment.{place}` is random_resized_crop, which works on the full-resolution picture and so has to "
                "be the first operation, once. Move it to `augment.0`, or use random_crop or translation."
            )


def head_crop(operations: Sequence[Augmentation]) -> RandomResizedCrop | None:
    """The crop that takes the place of the plain resize when a picture is read, if there is one."""
    check(operations)
    first = next(iter(operations), None)
    return first if isinstance(first, RandomResizedCrop) else None


@as_written
def apply(operations: Sequence[Augmentation], examples: Example, seed: int, engine: Engine | None = None) -> Example:
    """Runs the operations in their order on a batch; a random resized crop is taken as done when the pictures were
    read.

    Args:
        operations: what to do; those that follow each other are fused where they can be.
        examples: `id`, `epoch`, and `image` uint8 [B,H,W,C] with known H, W, C, and any other fields.
        seed: of the whole run; together with id and epoch it decides every draw.
        engine: what pictures are computed with; OpenCV by default.

    Returns:
        The batch with `image` uint8 [B,H,W,C], rounded and clipped, and every other field that has to follow it.
    """
    check(operations)
    keys = random.keys(examples[ID], examples[EPOCH], seed)
    steps = fuse(transforms(operations, keys, PictureShape(*examples[IMAGE].shape[1:])))
    return carry_out(steps, examples, engine or OpenCV())


def carry_out(steps: Sequence[Transform], examples: Example, engine: Engine) -> Example:
    """The batch after all steps, in their order."""
    for step in steps:
        examples = step(examples, engine)
    return examples


def transforms(operations: Sequence[Augmentation], keys: tf.Tensor, shape: PictureShape) -> list[Transform]:
    """The drawn transform of each operation; operation number i draws from stream i."""
    drawing = {place: one for place, one in enumerate(operations) if isinstance(one, PictureOperation)}
    if not drawing:
        return []
    draws = random.uniforms(keys, {stream: operation.num_draws for stream, operation in drawing.items()})
    return [operation.transform(drawn, shape) for operation, drawn in zip(drawing.values(), draws, strict=True)]


def fuse(transforms: Sequence[Transform]) -> list[Transform]:
    """The same transforms in the same order, neighbours made one where they can be."""
    return [transform for transform, _ in fuse_numbered(list(enumerate(transforms)))]


def fuse_numbered(transforms: Sequence[tuple[int, Transform]]) -> list[tuple[Transform, tuple[int, ...]]]:
    """The same, each with the numbers of all that it stands for."""
    fused: list[tuple[Transform, tuple[int, ...]]] = []
    for number, transform in transforms:
        for part in transform.parts():
            before, numbers = fused[-1] if fused else (None, ())
            together = before.then(part) if before else None
            if together:
                fused[-1] = together, numbers if number in numbers else (*numbers, number)
            else:
                fused.append((part, (number,)))
    return fused


@dataclass(frozen=True)
class Step:
    """What is done in one go.

    Args:
        operations: the kinds of the operations that it stands for, in their order; one that needs several steps is in
            all of them.
        what: one line, such as `one resampling of picture and labels`.
    """

    operations: tuple[str, ...]
    what: str

    def __str__(self) -> str:
        return f"{' + '.join(self.operations)}: {self.what}"


def steps(operations: Sequence[Augmentation], shape: PictureShape, *, joins_crop: bool) -> list[Step]:
    """What a list of operations comes to for pictures of a shape, in order, as it is printed.

    Args:
        joins_crop: whether what is behind a crop at the head is done with it while pictures are decoded
            (`Reading.joined_crop`), as far as it can be (`with_crop`).
    """
    drawn = drawn_steps(operations, shape)
    read = done_when_read(operations, drawn, joins_crop=joins_crop)
    decode = [Step(kinds(operations, range(read.operations)), read.what)] if read.operations else []
    return [*decode, *(Step(kinds(operations, numbers), one.describe()) for one, numbers in drawn[read.steps :])]


def drawn_steps(operations: Sequence[Augmentation], shape: PictureShape) -> list[tuple[Transform, tuple[int, ...]]]:
    """The fused transforms of any four examples, each with the places of its operations in the list."""
    keys = random.keys(tf.strings.as_string(tf.range(4)), tf.zeros([4], tf.int64), 0)
    places = [place for place, operation in enumerate(operations) if isinstance(operation, PictureOperation)]
    return fuse_numbered(list(zip(places, transforms(operations, keys, shape), strict=True)))


class Read(NamedTuple):
    """What is done while pictures are read.

    Args:
        operations, steps: how many, from the first on.
        what: one line.
    """

    operations: int
    steps: int
    what: str


def done_when_read(
    operations: Sequence[Augmentation],
    drawn: Sequence[tuple[Transform, tuple[int, ...]]],
    *,
    joins_crop: bool,
) -> Read:
    """A crop at the head, if there is one, and what is joined with it."""
    if head_crop(operations) is None:
        return Read(0, 0, "")
    joined = with_crop([step for step, _ in drawn] if joins_crop else [])
    places = {place for _, numbers in drawn[: joined.steps] for place in numbers}
    return Read(1 + len(places), joined.steps, joined.describe())


@dataclass(frozen=True)
class WithCrop:
    """The steps right behind a crop that are done with it, picture by picture.

    Args:
        warp: one matrix an example, where that is first.
        colours: one colour matrix an example, where that is next.
    """

    warp: Warp | None
    colours: Recolour | None

    @property
    def steps(self) -> int:
        """How many they are."""
        return (self.warp is not None) + (self.colours is not None)

    def describe(self) -> str:
        """One line, with the crop."""
        if self.warp and self.colours:
            return "crop-aware decode, one resampling and one colour matrix"
        also = "one resampling" if self.warp else "one colour matrix" if self.colours else None
        return f"crop-aware decode and {also}" if also else "crop-aware decode"


def with_crop(steps: Sequence[Transform]) -> WithCrop:
    """What of these steps can be done with the crop before them."""
    first, second, *_ = *steps, None, None
    warp = first if isinstance(first, Warp) and first.size is None else None
    next_one = second if warp else first
    return WithCrop(warp, next_one if isinstance(next_one, Recolour) and next_one.changes else None)


def kinds(operations: Sequence[Augmentation], places: Iterable[int]) -> tuple[str, ...]:
    """The kinds of some of the operations."""
    return tuple(operations[place].model_dump()["kind"] for place in places)
