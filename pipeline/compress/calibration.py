"""The pictures that ranges of activations are taken from, and how they are taken.

A quantized tensor needs the least and the greatest value that it can stand for. The exact extremes of the calibration
pictures waste the 256 steps where a few values lie far out; percentiles cut those off (Wu et al. 2020, "Integer
quantization for deep learning inference: principles and empirical evaluation", section 3.3).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from models.settings import Settings
from pipeline import console
from pipeline.compress import flatbuffer
from pipeline.data.choosing import Balance, choose_examples, pictures_of
from pipeline.wording import quantity

if TYPE_CHECKING:
    from pipeline.data.store import Store
    from pipeline.tasks.base import Task

BINS = 2048
"""Of the histogram that percentiles are read from; the range of a tensor is off by one of them at most."""


class Ranges(Settings):
    """How the range of an activation follows from the values that it took."""

    @abstractmethod
    def apply(self, calibrated: bytes, inputs: Mapping[str, np.ndarray]) -> bytes:
        """Sets the ranges of a file.

        Args:
            calibrated: a float `.tflite` whose activations hold the extremes seen on `inputs`.
            inputs: what it was calibrated on, [n, ...] by name.
        """


class MinMax(Ranges):
    """The extremes of all values: nothing is cut off."""

    kind: Literal["min_max"] = "min_max"
    """From the least to the greatest value."""

    def apply(self, calibrated: bytes, inputs: Mapping[str, np.ndarray]) -> bytes:
        """The file as it is."""
        return calibrated


class Percentile(Ranges):
    """Without the outermost values, which cost the others precision."""

    kind: Literal["percentile"] = "percentile"
    """Cuts off a share of the values at each end."""
    percentile: float = Field(default=99.99, gt=50, le=100)
    """Share of the values, in per cent, that lie below the upper end, and above the lower end: 99.99 cuts off one value
    in ten thousand at each."""

    def apply(self, calibrated: bytes, inputs: Mapping[str, np.ndarray]) -> bytes:
        """The file with narrower ranges inside; its inputs and outputs keep their extremes."""
        return flatbuffer.with_ranges(calibrated, percentiles(calibrated, inputs, self.percentile))


AnyRanges = Annotated[MinMax | Percentile, Field(discriminator="kind")]


class Calibration(Settings):
    """Which pictures the ranges of activations are taken from, and how."""

    count: int = Field(default=200, ge=1)
    """How many pictures; 100 to 500 are usual."""
    seed: int = 0
    """Decides which pictures those are."""
    split: Literal["train", "validation"] = "train"
    """Where they come from; they pass through the evaluation path, without augmentation."""
    balance: Balance = "classes"
    """`classes` takes the classes in turns, so that rare ones are there; `natural` leaves them as frequent as they
    are."""
    range: AnyRanges = MinMax()
    """How the ranges of `int8` files follow from the values seen."""


def calibration_pictures(settings: Calibration, store: Store, task: Task) -> np.ndarray:
    """The chosen pictures, uint8 [n, H, W, C], n >= 1, as the model sees them.

    Warns where they are fewer than asked for, or all of one class.

    Raises:
        DataError: the split is empty.
    """
    numbers, classes = choose_examples(store, settings.split, settings.count, settings.seed, settings.balance)
    if len(numbers) < settings.count:
        console.warn(
            f"compress.calibration.count asks for {quantity(settings.count, 'picture')}, but the split "
            f"{settings.split!r} holds {len(numbers):,}: all of these set the ranges of quantized files."
        )
    warn_of_one_class(classes, store.info.class_names)
    return pictures_of(store, task, settings.split, numbers)


def warn_of_one_class(classes: np.ndarray, names: tuple[str, ...]) -> None:
    """Says so where all calibration pictures are of the same class: the others may then leave the ranges."""
    if len(names) > 1 and len(set(classes.tolist())) == 1:
        name = names[classes[0]] if classes[0] >= 0 else "without any class"
        console.warn(
            f"All {len(classes):,} calibration pictures are {name!r}, one of {len(names)} classes: pictures of the "
            "others may exceed the ranges. Raise compress.calibration.count, or set compress.calibration.balance "
            "to classes."
        )


def percentiles(
    calibrated: bytes, inputs: Mapping[str, np.ndarray], percentile: float
) -> dict[int, tuple[float, float]]:
    """Activation -> its range without the outermost values, measured by running the float graph.

    Memory is that of one picture's activations and a histogram of each.

    Args:
        calibrated: a float `.tflite` whose activations hold the extremes seen on `inputs`.
        inputs: [n, ...] by name.

    Returns:
        Index of each tensor that is neither input nor output -> (low, high).
    """
    extremes = flatbuffer.ranges(calibrated)
    counts = {index: np.zeros(BINS, np.int64) for index in extremes}
    interpreter = _interpreter(calibrated)
    taken = flatbuffer.signature_inputs(calibrated)
    for row in range(len(next(iter(inputs.values())))):
        for name, index in taken.items():
            interpreter.set_tensor(index, inputs[name][row : row + 1].astype(np.float32))
        interpreter.invoke()
        for index, ends in extremes.items():
            counts[index] += np.histogram(interpreter.get_tensor(index), bins=BINS, range=ends)[0]
    return {index: cut(counts[index], *ends, percentile) for index, ends in extremes.items()}


def cut(counts: np.ndarray, low: float, high: float, percentile: float) -> tuple[float, float]:
    """The range that leaves out a share of the values at each end.

    Args:
        counts: values in each of the equal bins between `low` and `high`.
    """
    edges = np.linspace(low, high, len(counts) + 1)
    below = np.cumsum(counts)
    share = (1 - percentile / 100) * below[-1]
    # The value numbered `share` from an end lies in this bin, which stays whole.
    first = np.searchsorted(below, share, side="right")
    last = len(counts) - 1 - np.searchsorted(np.cumsum(counts[::-1]), share, side="right")
    return float(edges[first]), float(edges[last + 1])


def _interpreter(content: bytes) -> Any:
    """LiteRT with all tensors readable; its own kernels, since XNNPACK keeps no tensors."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    return interpreter
