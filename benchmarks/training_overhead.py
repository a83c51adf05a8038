"""What Convoy's training costs beside bare Keras: python -m benchmarks.training_overhead [--json FILE]

Pictures per second of `convoy train` (its stage `train`, default settings: deterministic, MirroredStrategy over one
device, checkpoints, history, TensorBoard, progress) against `tf_keras` `fit` on uint8 pictures in memory, with the same
network, batch and optimizer. The bare side never augments.

Each side is a process of its own, so that the determinism of one does not slow the other, and they train in turns: one
epoch each, while the others wait at its end. The clock runs from step LEAD_IN of an epoch to its last one: start-up,
validation and checkpoints are outside, and so are the batches that were prepared while a side waited.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import measure
from pipeline import console

PLAIN_GOAL, AUGMENTED_GOAL = 0.97, 0.92


@dataclass(frozen=True)
class Case:
    """A network and how it is trained.

    Args:
        name: for people.
        backbone: its settings.
        size: height and width of the pictures.
        batch_size: pictures a step.
        crop_padding: of the random crop.
    """

    name: str
    backbone: Mapping[str, Any]
    size: int
    batch_size: int
    crop_padding: int


@dataclass(frozen=True)
class Side:
    """One way to train a case, as its process gets it.

    Args:
        trainer: name of the function in `benchmarks.sides`.
        case: what is trained.
        steps: how many of an epoch are timed.
        folder: for data and results, of this side alone.
        augment: operations as in a configuration.
    """

    trainer: str
    case: Case
    steps: int
    folder: Path
    augment: Sequence[Mapping[str, Any]] = field(default=())


CASES = (
    Case("MobileNetV2 at 128 px, batch 32", {"kind": "mobilenet_v2"}, 128, 32, 16),
    Case("small residual network at 32 px, batch 128", {"kind": "small_resnet"}, 32, 128, 4),
)


def main() -> None:
    parser = measure.arguments(__doc__, rounds=7)
    parser.add_argument("--steps", type=int, default=24, help="timed steps a round (%(default)s)")
    arguments = parser.parse_args()
    machine = measure.host()
    measures = [line for case in CASES for line in overhead(case, arguments.rounds, arguments.steps)]
    measure.publish(measures, machine, arguments.json)


def overhead(case: Case, rounds: int, steps: int) -> list[measure.Measure]:
    """Convoy against bare Keras, without and with augmentation."""
    crop = {"kind": "random_crop", "padding": case.crop_padding}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        sides = {
            "bare": Side("bare", case, steps, Path(name, "bare")),
            "plain": Side("convoy", case, steps, Path(name, "plain")),
            "augmented": Side("convoy", case, steps, Path(name, "augmented"), [{"kind": "horizontal_flip"}, crop]),
        }
        started = {name: stack.enter_context(running(side)) for name, side in sides.items()}
        rates = measure.interleave(
            {name: partial(one_epoch, connection) for name, connection in started.items()}, rounds
        )
    plain = measure.compare(f"convoy train / bare fit, {case.name}", rates["plain"], rates["bare"], "pictures/s")
    augmented = measure.compare(
        f"the same with flip and random crop, {case.name}", rates["augmented"], rates["bare"], "pictures/s"
    )
    return [measure.at_least(plain, PLAIN_GOAL), measure.at_least(augmented, AUGMENTED_GOAL)]


@contextmanager
def running(side: Side) -> Iterator[Connection]:
    """A process that trains one side, ready for its first epoch; ended with the block."""
    side.folder.mkdir()
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=train, args=(side, theirs))
    process.start()
    theirs.close()
    try:
        answer(ours)
        yield ours
    finally:
        process.kill()
        process.join()


def one_epoch(connection: Connection) -> float:
    """Lets a side train an epoch; pictures per second of its timed steps."""
    connection.send(None)
    return answer(connection)


def answer(connection: Connection) -> float:
    """What a side says when it waits."""
    try:
        rate: float = connection.recv()
    except EOFError:
        sys.exit("A side of the benchmark crashed; its message is above.")
    return rate


def train(side: Side, connection: Connection) -> None:
    """The life of a side's process."""
    with console.native_messages_hidden():
        from benchmarks import sides

        sides.TRAINERS[side.trainer](side, connection)


if __name__ == "__main__":
    main()
