"""Dynamic batching with TF Serving's parameters: requests of one kind that arrive together run as one.

A queue holds batches of requests; the last one is open. A thread of the pool takes the first batch of a queue once it
is full, or `batch_timeout_micros` after its first request; queues take turns. While all threads are busy, batches grow.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

from serving.errors import ServingError
from serving.local.metrics import MICROSECONDS, Metrics
from serving.local.rows import check_outputs, merged, num_rows
from serving.local.servable import Arrays, Question, Servable

DEFAULT_POOL = "model_server_batch_threads"
Run = Callable[[Sequence[np.ndarray[Any, Any]]], Arrays]


@dataclass(frozen=True)
class BatchOptions:
    """A text BatchingParameters; what it leaves out has TF Serving's defaults.

    Raises:
        ServingError: the allowed sizes do not fit the largest batch. TF Serving finds that when a version is loaded.
    """

    max_batch_size: int = 1000
    timeout_seconds: float = 0.0
    max_enqueued_batches: int = 10
    allowed_sizes: tuple[int, ...] = ()
    pad: bool = False
    split: bool = False
    max_execution_size: int = 1000

    @classmethod
    def of(cls, parameters: Any) -> BatchOptions:
        """From a BatchingParameters message."""
        largest = _given(parameters, "max_batch_size", cls.max_batch_size)
        split = bool(_given(parameters, "enable_large_batch_splitting", 0))
        options = cls(
            max_batch_size=largest,
            timeout_seconds=_given(parameters, "batch_timeout_micros", 0) / MICROSECONDS,
            max_enqueued_batches=_given(parameters, "max_enqueued_batches", cls.max_enqueued_batches),
            allowed_sizes=tuple(parameters.allowed_batch_sizes),
            pad=parameters.pad_variable_length_inputs,
            split=split,
            max_execution_size=_given(parameters, "max_execution_batch_size", largest) if split else largest,
        )
        options.check()
        return options

    def check(self) -> None:
        """Raises ServingError where the values do not fit each other."""
        if self.max_batch_size < 1 or self.max_enqueued_batches < 1 or self.timeout_seconds < 0:
            raise _invalid(
                f"max_batch_size must be positive; was {self.max_batch_size}, max_enqueued_batches must be positive; "
                f"was {self.max_enqueued_batches}, batch_timeout_micros must be non-negative"
            )
        if not self.allowed_sizes:
            return
        last = self.allowed_sizes[-1]
        if self.split and last != self.max_execution_size:
            raise _invalid(
                "Last entry in allowed_batch_sizes must be equal to max_execution_batch_size; last entry was "
                f"{last}; expected {self.max_execution_size}"
            )
        if last != self.max_execution_size:
            raise _invalid(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{last}; expected {self.max_batch_size}"
            )
        if list(self.allowed_sizes) != sorted(set(self.allowed_sizes)):
            raise _invalid("allowed_batch_sizes entries must be monotonically increasing")

    def padded(self, rows: int) -> int:
        """The smallest allowed size that holds `rows`."""
        return next((size for size in self.allowed_sizes if size >= rows), rows)


@dataclass
class _Task:
    arrays: Sequence[np.ndarray[Any, Any]]
    rows: int
    deadline: float | None
    answer: Future[Arrays] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)


class _Batch:
    def __init__(self) -> None:
        self.tasks: list[_Task] = []
        self.rows = 0

    def add(self, task: _Task) -> None:
        self.tasks.append(task)
        self.rows += task.rows


class BatchThreads:
    """The threads that run batches, shared by the queues of all models.

    Args:
        parameters: a BatchingParameters message.
        metrics: to count batches in.
    """

    def __init__(self, parameters: Any, metrics: Metrics):
        self.metrics = metrics
        self.pool_name = parameters.thread_pool_name.value or DEFAULT_POOL
        count = parameters.num_batch_threads.value or os.cpu_count() or 1
        self._changed = threading.Condition()
        self._queues: deque[_Queue] = deque()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{self.pool_name}_{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, queue: _Queue) -> None:
        """Lets the threads serve another queue."""
        with self._changed:
            self._queues.append(queue)

    def remove(self, queue: _Queue) -> None:
        """Takes a queue away, whose requests have all been answered."""
        with self._changed:
            self._queues.remove(queue)

    def submit(self, queue: _Queue, tasks: Sequence[_Task]) -> None:
        """Enqueues the pieces of one request, all or none.

        Raises:
            ServingError: UNAVAILABLE, the queue is full.
        """
        with self._changed:
            queue.put(tasks)
            self._changed.notify(len(tasks))

    def close(self) -> None:
        """Ends the threads; what is queued is still run."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            queue, batch = taken
            queue.process(batch)

    def _next(self) -> tuple[_Queue, _Batch] | None:
        with self._changed:
            while True:
                now = time.monotonic()
                for _ in range(len(self._queues)):
                    queue = self._queues[0]
                    self._queues.rotate(-1)
                    if (batch := queue.take(now, self._closed)) is not None:
                        return queue, batch
                if self._closed:
                    return None
                dues = [due for queue in self._queues if (due := queue.due()) is not None]
                self._changed.wait(max(min(dues) - now, 0) if dues else None)


class _Queue:
    """The requests of one version and one set of inputs and outputs."""

    def __init__(self, options: BatchOptions, run: Run, metrics: Metrics, pool_name: str):
        self.options, self._run, self._metrics, self._pool_name = options, run, metrics, pool_name
        self._batches: deque[_Batch] = deque()

    def put(self, tasks: Sequence[_Task]) -> None:
        """Adds to the open batch, or opens new ones."""
        limit = self.options.max_execution_size
        opened = 0
        rows = self._batches[-1].rows if self._batches else limit
        for task in tasks:
            fits = rows + task.rows <= limit and (self._batches or opened)
            opened, rows = (opened, rows + task.rows) if fits else (opened + 1, task.rows)
        if opened and len(self._batches) + opened > self.options.max_enqueued_batches:
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{len(self._batches)} batches enqueued and max_enqueued_batches is "
                f"{self.options.max_enqueued_batches}",
            )
        for task in tasks:
            if not self._batches or self._batches[-1].rows + task.rows > limit:
                self._batches.append(_Batch())
            self._batches[-1].add(task)

    def take(self, now: float, at_once: bool) -> _Batch | None:
        """The first batch, if it may run now."""
        due = self.due()
        return None if due is None or (due > now and not at_once) else self._batches.popleft()

    def due(self) -> float | None:
        """When the first batch may run, by the monotonic clock; None where there is none."""
        if not self._batches:
            return None
        first = self._batches[0]
        full = len(self._batches) > 1 or first.rows >= self.options.max_execution_size
        return first.tasks[0].arrived if full else first.tasks[0].arrived + self.options.timeout_seconds

    def process(self, batch: _Batch) -> None:
        """Runs a batch and answers its requests."""
        now = time.monotonic()
        latency = self._metrics.queuing_latency.labels(self._pool_name)
        for task in batch.tasks:
            latency.observe((now - task.arrived) * MICROSECONDS)
        if tasks := [task for task in batch.tasks if not _expired(task, now)]:
            self._answer(tasks)

    def _answer(self, tasks: Sequence[_Task]) -> None:
        try:
            answers = self._run_together(tasks)
        except BaseException as error:  # whatever it is: each request has to be answered, and the thread to live on
            if len(tasks) == 1:
                tasks[0].answer.set_exception(error)
                return
            # One bad request must not spoil the answers of those that it happened to be merged with.
            for task in tasks:
                self._answer([task])
        else:
            for task, answer in zip(tasks, answers, strict=True):
                task.answer.set_result(answer)

    def _run_together(self, tasks: Sequence[_Task]) -> list[Arrays]:
        rows = [task.rows for task in tasks]
        total = self.options.padded(sum(rows))
        inputs = merged([task.arrays for task in tasks], total - sum(rows), pad=self.options.pad)
        self._metrics.batch_sizes.labels(self._pool_name).observe(total)
        self._metrics.batch_runs.inc()
        outputs = self._run(inputs)
        check_outputs(outputs, len(inputs[0]))
        ends = np.cumsum(rows).tolist()
        return [[array[end - size : end] for array in outputs] for size, end in zip(rows, ends, strict=True)]


class BatchedServable(Servable):
    """A Servable whose signatures are batched; anything else (an output filter) runs as it comes, as in TF Serving."""

    def __init__(self, wrapped: Servable, options: BatchOptions, threads: BatchThreads):
        self.signatures = wrapped.signatures
        self._wrapped, self._options, self._threads = wrapped, options, threads
        self._queues = {kind: self._queue(*kind) for kind in map(_kind, wrapped.signatures.values())}
        for queue in self._queues.values():
            threads.add(queue)

    def run(self, question: Question) -> Arrays:
        queue = self._queues.get((question.feeds, question.fetches))
        if queue is None:
            return self._wrapped.run(question)
        rows = num_rows(question.arrays)
        if rows > self._options.max_batch_size:
            raise _invalid(f"Task size {rows} is larger than maximum input batch size {self._options.max_batch_size}")
        tasks = self._pieces(question.arrays, rows, question.deadline)
        self._threads.submit(queue, tasks)
        answers = [task.answer.result() for task in tasks]
        if len(answers) == 1:
            return answers[0]
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]

    def close(self) -> None:
        for queue in self._queues.values():
            self._threads.remove(queue)
        self._wrapped.close()

    def _pieces(self, arrays: Sequence[np.ndarray[Any, Any]], rows: int, deadline: float | None) -> list[_Task]:
        size = self._options.max_execution_size
        if rows <= size:
            return [_Task(arrays, rows, deadline)]
        return [
            _Task([array[begin : begin + size] for array in arrays], min(size, rows - begin), deadline)
            for begin in range(0, rows, size)
        ]

    def _queue(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> _Queue:
        def run(arrays: Sequence[np.ndarray[Any, Any]]) -> Arrays:
            return self._wrapped.run(Question(feeds, arrays, fetches))

        return _Queue(self._options, run, self._threads.metrics, self._threads.pool_name)


def _given(parameters: Any, name: str, default: int) -> int:
    """Of a field that is wrapped in a message, to tell 0 from nothing."""
    return int(getattr(parameters, name).value) if parameters.HasField(name) else default


def _kind(signature: SignatureDef) -> tuple[tuple[str, ...], tuple[str, ...]]:
    feeds = {tensor.name for tensor in signature.inputs.values()}
    return tuple(sorted(feeds)), tuple(sorted({tensor.name for tensor in signature.outputs.values()}))


def _expired(task: _Task, now: float) -> bool:
    """Answers a request whose client has given up while it waited."""
    if task.deadline is None or task.deadline > now:
        return False
    task.answer.set_exception(
        ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
    )
    return True


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
