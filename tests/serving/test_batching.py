"""Batches: how they are put together, shared out, refused, and kept from spoiling each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from serving.errors import ServingError
from serving.local.batching import BatchedServable, BatchOptions, BatchThreads
from serving.local.metrics import Metrics
from serving.local.rows import merged
from serving.local.servable import Question, Servable
from serving.protos.server_configs import BatchingParameters
from tests.serving.running import SECONDS, eventually, floats

FEEDS, FETCHES = ("x:0",), ("y:0",)
IN_ONE_SECOND = "batch_timeout_micros { value: 1000000 }"


class Doubler(Servable):
    """A servable that doubles, remembers its batches, waits where it is told to, and fails at a 13."""

    def __init__(self) -> None:
        inputs, outputs = {"x": TensorInfo(name="x:0")}, {"y": TensorInfo(name="y:0")}
        self.signatures = {"serving_default": SignatureDef(inputs=inputs, outputs=outputs)}
        self.batches: list[list[float]] = []
        self.go = threading.Event()
        self.go.set()

    def run(self, question: Question) -> Any:
        arrays = question.arrays
        self.batches.append(arrays[0].ravel().tolist())
        assert self.go.wait(SECONDS)
        if 13 in arrays[0]:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "13 is bad luck")
        return [arrays[0] * 2]

    def close(self) -> None:
        pass


class Batched:
    """A Doubler behind batching with parameters as text."""

    def __init__(self, text: str):
        parameters = text_format.Parse(text, BatchingParameters())
        self.wrapped, self.metrics = Doubler(), Metrics()
        self.threads = BatchThreads(parameters, self.metrics)
        self.servable = BatchedServable(self.wrapped, BatchOptions.of(parameters), self.threads)
        self.clients = ThreadPoolExecutor(16)

    def ask(self, *values: float, deadline: float | None = None) -> list[float]:
        return self.servable.run(Question(FEEDS, [floats(*values)], FETCHES, deadline))[0].tolist()

    def ask_together(self, *requests: Sequence[float]) -> list[Any]:
        """Answers or errors of requests that are all waiting before a thread is free."""
        self.wrapped.go.clear()
        busy = self.clients.submit(self.ask, 0)
        eventually(lambda: len(self.wrapped.batches) == 1)
        asked: list[Any] = []
        queue = self.servable._queues[FEEDS, FETCHES]
        for request in requests:
            asked.append(self.clients.submit(self.ask, *request))
            eventually(lambda: asked[-1].done() or sum(len(one.tasks) for one in queue._batches) >= len(asked))
        self.wrapped.go.set()
        busy.result(SECONDS)
        return [one.exception(SECONDS) or one.result() for one in asked]

    def close(self) -> None:
        self.servable.close()
        self.threads.close()
        self.clients.shutdown()


@pytest.fixture
def batched(request: pytest.FixtureRequest) -> Iterator[Batched]:
    made = Batched(f"num_batch_threads {{ value: 1 }} {request.param}")
    yield made
    made.close()


@pytest.mark.parametrize("batched", ["max_batch_size { value: 4 }"], indirect=True)
def test_requests_that_wait_together_run_together(batched: Batched) -> None:
    assert batched.ask_together([1], [2, 3], [4, 5]) == [[2], [4, 6], [8, 10]]
    assert batched.wrapped.batches == [[0], [1, 2, 3], [4, 5]]
    text = batched.metrics.text().decode()
    pool = 'thread_pool_name="model_server_batch_threads"'
    assert f":tensorflow:serving:batching_session:queuing_latency_count{{{pool}}} 4.0" in text
    assert ":tensorflow:serving:batching_session:wrapped_run_count 3.0" in text


@pytest.mark.parametrize("batched", [f"max_batch_size {{ value: 2 }} {IN_ONE_SECOND}"], indirect=True)
def test_a_full_batch_does_not_wait(batched: Batched) -> None:
    both = [batched.clients.submit(batched.ask, value) for value in (1, 2)]
    assert [one.result(0.9) for one in both] == [[2], [4]]
    assert len(batched.wrapped.batches) == 1


@pytest.mark.parametrize("batched", ["max_batch_size { value: 8 }"], indirect=True)
def test_a_bad_request_spoils_nobody_elses_answer(batched: Batched) -> None:
    answers = batched.ask_together([1], [13], [2, 3])
    assert answers[0] == [2] and answers[2] == [4, 6]
    assert answers[1].code is grpc.StatusCode.INVALID_ARGUMENT
    assert answers[1].message == "13 is bad luck"


@pytest.mark.parametrize("batched", ["max_batch_size { value: 8 } allowed_batch_sizes: [2, 4, 8]"], indirect=True)
def test_batches_are_padded_up_to_an_allowed_size(batched: Batched) -> None:
    assert batched.ask(7, 8, 9) == [14, 16, 18]
    assert batched.wrapped.batches == [[7, 8, 9, 7]]


@pytest.mark.parametrize(
    "batched",
    ["max_batch_size { value: 10 } enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 }"],
    indirect=True,
)
def test_a_large_request_is_split(batched: Batched) -> None:
    assert batched.ask(*range(10)) == [2 * value for value in range(10)]
    assert [len(one) for one in batched.wrapped.batches] == [4, 4, 2]
    with pytest.raises(ServingError, match="Task size 11 is larger than maximum input batch size 10"):
        batched.ask(*range(11))


def test_the_pieces_of_a_large_request_run_at_once() -> None:
    split = "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 }"
    with closing(Batched(f"num_batch_threads {{ value: 2 }} max_batch_size {{ value: 8 }} {split}")) as batched:
        batched.wrapped.go.clear()
        asked = batched.clients.submit(batched.ask, *range(8))
        try:
            eventually(lambda: len(batched.wrapped.batches) == 2)
        finally:
            batched.wrapped.go.set()
        assert asked.result(SECONDS) == [2 * value for value in range(8)]


@pytest.mark.parametrize("batched", ["max_batch_size { value: 1 } max_enqueued_batches { value: 2 }"], indirect=True)
def test_a_full_queue_is_unavailable(batched: Batched) -> None:
    answers = batched.ask_together([1], [2], [3])
    assert answers[:2] == [[2], [4]]
    assert answers[2].code is grpc.StatusCode.UNAVAILABLE
    assert answers[2].message.endswith("is full; currently 2 batches enqueued and max_enqueued_batches is 2")


@pytest.mark.parametrize("batched", [""], indirect=True)
def test_a_request_whose_time_is_over_is_not_run(batched: Batched) -> None:
    with pytest.raises(ServingError, match="timeout exceeded while waiting in batching queue") as caught:
        batched.ask(1, deadline=0.0)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert batched.wrapped.batches == []


@pytest.mark.parametrize("batched", [""], indirect=True)
def test_other_outputs_than_the_signatures_run_unbatched(batched: Batched) -> None:
    scalar = np.array(4.0, np.float32)
    assert batched.servable.run(Question(FEEDS, [scalar], ("z:0",)))[0] == 8
    with pytest.raises(ServingError, match="must have at least one dimension"):
        batched.servable.run(Question(FEEDS, [scalar], FETCHES))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size { value: 8 } allowed_batch_sizes: [4, 2, 8]", "must be monotonically increasing"),
        ("allowed_batch_sizes: [2]", "last entry was 2; expected 1000"),
        ("max_batch_size { value: 0 }", "must be positive; was 0"),
        (
            "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } allowed_batch_sizes: [2, 8] "
            "max_execution_batch_size { value: 4 }",
            "must be equal to max_execution_batch_size; last entry was 8; expected 4",
        ),
    ],
)
def test_parameters_that_do_not_fit_are_refused(text: str, message: str) -> None:
    with pytest.raises(ServingError, match=message):
        BatchOptions.of(text_format.Parse(text, BatchingParameters()))


def test_parameters_have_tf_servings_defaults() -> None:
    assert BatchOptions.of(BatchingParameters()) == BatchOptions(1000, 0.0, 10, (), False, False, 1000)


def test_shorter_inputs_are_padded_with_their_first_value() -> None:
    one, two = np.array([[1, 2, 3]]), np.array([[4], [5]])
    assert merged([[one], [two]], 0, pad=True)[0].tolist() == [[1, 2, 3], [4, 4, 4], [5, 4, 4]]
    with pytest.raises(ServingError, match="different shapes and padding is turned off"):
        merged([[one], [two]], 0, pad=False)
    with pytest.raises(ServingError, match="different numbers of dimensions"):
        merged([[one], [np.array([1])]], 0, pad=True)


def test_rows_of_strings_are_merged_as_they_are() -> None:
    one, two = np.array([b"a\x00", b""], object), np.array([b"ccc"], object)
    assert merged([[one], [two]], 1, pad=False)[0].tolist() == [b"a\x00", b"", b"ccc", b"ccc"]
