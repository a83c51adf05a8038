"""Python inside tf.data, for what no TensorFlow operation does as fast.

tf.data works ahead on threads of its own. When Python ends while such a thread waits for its lock, the thread never
comes back, and the iterator that is being taken down waits for it for ever. So before Python ends, we wait until the
calls have stopped, which they do by themselves as soon as what was worked ahead fills its buffers.
"""

from __future__ import annotations

import atexit
import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from models.stack import tf

if TYPE_CHECKING:
    import tensorflow as tf

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

QUIET = 0.2
"""Seconds without a call after which none is expected."""
LONGEST_WAIT = 30.0


class _Calls:
    """Counts the calls that run now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._last = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1
            self._last = time.monotonic()

    def wait_until_they_stop(self) -> None:
        """Returns at once where there never was a call."""
        end = time.monotonic() + LONGEST_WAIT
        while (self._running or time.monotonic() - self._last < QUIET) and time.monotonic() < end:
            time.sleep(QUIET / 10)


_calls = _Calls()
atexit.register(_calls.wait_until_they_stop)


def as_written(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Keeps AutoGraph out of a function and of all that it defines and calls.

    AutoGraph rewrites what tf.data maps, down to the functions of arrays that are made on the way; these then run in
    its form at every call, a loop over a batch in nearly twice the time.
    """

    @functools.wraps(function)
    def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        return tf.autograph.experimental.do_not_convert(function)(*arguments, **options)

    return call


def in_python(function: Callable[..., np.ndarray], inputs: Sequence[tf.Tensor], dtype: tf.DType) -> tf.Tensor:
    """A call of a function of arrays inside tf.data; its shape has to be set by the caller."""

    def call(*arrays: np.ndarray) -> np.ndarray:
        with _calls:
            return function(*arrays)

    return tf.numpy_function(tf.autograph.experimental.do_not_convert(call), inputs, dtype, stateful=False)
