"""`convoy tune`: the search, with real servers in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Callable

from pipeline import console
from pipeline.wording import quantity
from serving import configs
from serving.load.run import Requests
from serving.tuning.bench import Bench, Servers, processes
from serving.tuning.candidate import Candidate, Space
from serving.tuning.outcome import Conditions, TuneOutcome
from serving.tuning.place import TuningPlace
from serving.tuning.search import Search


def tune(place: TuningPlace, requests: Callable[[int], Requests], conditions: Conditions) -> TuneOutcome:
    """Tries settings on servers of this machine; writes nothing.

    Args:
        requests: for a number of pictures in each of them.

    Raises:
        ConvoyError: a server does not start.
        ServerError: it refuses the requests.
        DataError: the requests do not fit the model.
    """
    here = len(os.sched_getaffinity(0))
    if conditions.cpus != here:
        console.warn(
            f"servers have {quantity(conditions.cpus, 'processor')}, this machine gives {here}: what is measured "
            "here may not hold there. Tune on a machine like theirs."
        )
    scheme = "grpc" if conditions.over == "grpc" else "http"
    servers = processes(place.base_path, place.version, place.name, scheme)
    return search(servers, requests, conditions, place.picture_ms)


def search(
    servers: Servers, requests: Callable[[int], Requests], conditions: Conditions, picture_ms: float | None
) -> TuneOutcome:
    """The same with any servers.

    Args:
        picture_ms: median for one picture, as `convoy deploy` knows it; measured where it is None.
    """

    def default(space: Space) -> Candidate:
        known = space.costs[1] if picture_ms is None else picture_ms
        parameters, _ = configs.default_batching(conditions.cpus, conditions.latency_ms, known)
        return Candidate.of(parameters)

    def bench(url: str, batch: int) -> Bench:
        return Bench(url, conditions.model, requests, conditions.latency_ms, batch)

    trying = Search(servers, bench, conditions.latency_ms, conditions.cpus, conditions.minutes)
    findings = trying.run(default)
    return TuneOutcome(conditions, default(trying.space), trying.space.costs, findings)
