"""What is told of a load: golden values by hand."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from pipeline.errors import VerificationError
from serving.load.figure import load_figure
from serving.load.generator import NOT_SENT, OK, Recording
from serving.load.result import LoadLimits, LoadResult, percentile, percentiles

NAN = float("nan")


def result(
    due: list[float], sent: list[float], done: list[float], status: list[str], held: list[bool] | None = None
) -> LoadResult:
    count = len(due)
    recording = Recording(
        np.array(due),
        np.array(sent),
        np.array(done),
        np.array(status, object),
        np.array(held or [False] * count),
        np.arange(count) % 2,
    )
    return LoadResult("grpc://host:8500, letters", "steady 1/s for 4 s", 4.0, 2, recording)


FOUR = result(
    [0.0, 1.0, 2.0, 3.0],
    [0.0, 1.0, 2.5, NAN],
    [0.1, 1.3, 2.7, NAN],
    [OK, "UNAVAILABLE", OK, NOT_SENT],
    [False, False, False, True],
)


def test_percentiles_are_the_nearest_ranks() -> None:
    thousand = np.arange(1.0, 1001.0)
    assert [percentile(thousand, percent) for percent in (50, 90, 99, 99.9)] == [500, 900, 990, 999]
    five = np.array([1.0, 2.0, 3.0, 4.0, 50.0])
    assert [percentile(five, percent) for percent in (20, 50, 80, 81, 99)] == [1, 3, 4, 50, 50]
    for percent in (1, 50, 90, 99, 99.9, 100):
        for count in (1, 7, 100, 1234):
            values = np.sort(np.random.default_rng(count).exponential(size=count))
            assert percentile(values, percent) == np.percentile(values, percent, method="inverted_cdf")
    assert percentiles(np.zeros(0)) == dict.fromkeys(("p50", "p90", "p99", "p99.9", "max", "mean"))


def test_latency_counts_from_when_a_request_was_due() -> None:
    document = FOUR.as_document()
    assert document["latency_ms"] == pytest.approx(
        {"p50": 100.0, "p90": 700.0, "p99": 700.0, "p99.9": 700.0, "max": 700.0, "mean": 400.0}
    )
    assert document["from_sending_ms"]["max"] == pytest.approx(200.0)
    assert (document["requests"], document["answered"], document["error_share"]) == (4, 2, 0.5)
    assert document["errors"] == {"UNAVAILABLE": 1, NOT_SENT: 1}
    assert (document["offered_per_second"], document["answered_per_second"]) == (1.0, 0.5)
    json.dumps(document, allow_nan=False)


def test_the_generator_answers_for_its_own_lateness() -> None:
    document = FOUR.as_document()
    assert (document["sent_late"], document["held_back"], document["kept_up"]) == (1, 1, False)
    assert document["latest_ms"] == pytest.approx(500.0)
    text = FOUR.as_text()
    assert "sent more than 10 ms late by the generator: 1, the latest 500 ms" in text
    assert "the generator could not keep up" in text
    assert "never sent, since their time was over before their turn came: 1" in text
    assert "had to wait because too many were under way (--max-in-flight): 1" in text
    assert "errors: 1 UNAVAILABLE, 1 NOT_SENT (50.00%)" in text
    assert "p50 100.0  p90 700.0*  p99 700.0*  p99.9 700.0*  max 700.0  (2 answered)" in text
    assert "(1.0 pictures/s)" in text


def test_a_request_that_waits_for_the_server_is_not_the_generators_fault() -> None:
    waited = result([0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [OK, OK], [False, True])
    assert waited.kept_up and len(waited.late) == 0


def test_a_request_that_was_never_sent_is_the_generators_fault_unless_it_had_to_wait() -> None:
    def with_unsent(held: bool) -> LoadResult:
        return result([0.0, 1.0], [0.0, NAN], [0.1, NAN], [OK, NOT_SENT], [False, held])

    assert with_unsent(held=True).kept_up and not with_unsent(held=False).kept_up


def test_the_duration_ends_with_the_last_answer_not_with_an_error() -> None:
    """Two answers, the last after 5 s; an error after 30 s must not make it look slower."""
    failed = result([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.5, 5.0, 32.0], [OK, OK, "DEADLINE_EXCEEDED"])
    assert (failed.duration, failed.throughput) == (5.0, 0.4)
    assert result([0.0], [0.0], [9.0], ["INTERNAL"]).duration == 4.0, "the profile's"


def test_a_percentile_of_too_few_requests_is_marked() -> None:
    def shown(count: int) -> str:
        due = [0.0] * count
        return result(due, due, [0.01] * count, [OK] * count).as_text()

    assert "p99 10.0  p99.9 10.0*  max" in shown(999) and "too few requests" in shown(999)
    assert "p99 10.0  p99.9 10.0  max" in shown(1000) and "*" not in shown(1000)


def test_failed_requests_miss_the_limit_of_the_latency() -> None:
    """Of 200 requests 198 take 10 ms: p99 is 10 ms if one other fails, and never reached if three do."""
    due = list(np.arange(200.0))

    def with_failed(failed: int) -> LoadResult:
        status = [OK] * (200 - failed) + ["INTERNAL"] * failed
        return result(due, due, [at + 0.01 for at in due], status)

    limits = LoadLimits(max_p99_ms=50.0)
    assert with_failed(2).missed(limits) == []
    assert with_failed(3).missed(limits) == ["p99 is never reached, since more than 1 % fail (limit 50 ms)"]
    assert with_failed(0).missed(LoadLimits(max_p99_ms=5.0)) == ["p99 is 10.0 ms (limit 5 ms)"]
    assert with_failed(3).missed(LoadLimits(max_error_share=0.01)) == ["1.50% of the requests fail (limit 1.00%)"]
    assert with_failed(3).missed(LoadLimits(max_error_share=0.015)) == []
    with pytest.raises(VerificationError, match=r"letters misses its limits under steady .*: p99 is never") as caught:
        with_failed(3).require(limits)
    assert caught.value.exit_code == 6


def test_windows_tell_requests_apart_by_when_they_were_due() -> None:
    windows = FOUR.windows()
    assert [(one["begin_s"], one["offered_per_second"], one["answered"], one["failed"]) for one in windows] == [
        (0.0, 1.0, 1, 0),
        (1.0, 1.0, 0, 1),
        (2.0, 1.0, 1, 0),
        (3.0, 1.0, 0, 1),
    ]
    assert [one["p99"] for one in windows] == [pytest.approx(100.0), None, pytest.approx(700.0), None]


def test_every_request_has_a_line() -> None:
    lines = list(csv.DictReader(io.StringIO(FOUR.as_csv())))
    assert lines[2] == {
        "due_s": "2",
        "sent_s": "2.5",
        "latency_ms": "700",
        "from_sending_ms": "200",
        "status": "OK",
        "request": "0",
    }
    assert (lines[3]["sent_s"], lines[3]["latency_ms"], lines[3]["status"]) == ("", "", NOT_SENT)
    (late,) = csv.DictReader(io.StringIO(result([12345.678912], [12345.679], [12345.68], [OK]).as_csv()))
    assert (late["due_s"], late["sent_s"]) == ("12345.678912", "12345.679"), "to the microsecond, after hours as well"
    assert float(late["from_sending_ms"]) == pytest.approx(1.0, abs=1e-5)


def test_the_plot_holds_every_request_and_all_percentiles() -> None:
    requests, rates, shares = load_figure(FOUR).axes
    answered, failed, _ = requests.lines
    assert answered.get_ydata().tolist() == pytest.approx([100.0, 700.0])
    assert failed.get_xdata().tolist() == [1.0, 3.0]
    assert list(rates.lines[0].get_ydata()) == [1.0] * 4
    assert shares.lines[0].get_ydata().tolist() == pytest.approx([100.0, 700.0])


def test_nothing_answered_can_be_told_as_well() -> None:
    none = result([0.0], [NAN], [NAN], [NOT_SENT])
    assert "none was answered" in none.as_text()
    assert none.as_document()["latency_ms"]["p50"] is None
    assert len(load_figure(none).axes) == 3
    assert none.missed(LoadLimits(max_p99_ms=1.0)) != []
