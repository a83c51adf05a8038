"""The verbs that put load on a server: load, tune."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import cli_load_options as given
from pipeline import cli_options as common
from pipeline.command import verb
from pipeline.console import terminal
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from serving.load.run import Requests
    from serving.remote.transport import Arrays
    from serving.remote.values import Signature


@verb
def load(
    url: given.LoadedUrl,
    model: given.LoadedModel = None,
    signature: given.SignatureName = "serving_default",
    pictures: given.LoadPictures = None,
    request: given.RequestFile = None,
    count: given.PictureCount = 100,
    batch_size: given.BatchSize = None,
    profile: given.ProfileName = "steady",
    rate: given.Rate = 10.0,
    seconds: given.Seconds = 30.0,
    peak: given.Peak = None,
    spike_seconds: given.SpikeSeconds = None,
    arrivals: given.ArrivalsName = "poisson",
    seed: given.Seed = 0,
    timeout: given.RequestTimeout = 30.0,
    most_in_flight: given.MostInFlight = 500,
    max_p99_ms: given.MaxP99 = None,
    max_error_share: given.MaxErrorShare = None,
    output: given.LoadFolder = Path("load"),
    authority: common.Authority = None,
    certificate: common.Certificate = None,
    key: common.Key = None,
) -> None:
    """Offer requests to a server, whether or not earlier ones were answered: throughput, latency, errors, a plot."""
    from pipeline.files import require_writable
    from serving.load import profiles, result, run
    from serving.load.arrivals import arrivals_of
    from serving.remote.settings import Tls

    times = {"rate": rate, "seconds": seconds, "peak": peak, "spike_seconds": spike_seconds}
    chosen = profiles.profile_of(profile, times)
    settings = run.LoadSettings(timeout=timeout, most_in_flight=most_in_flight)
    client = run.client_of(url, model, signature, settings, Tls(authority, certificate, key))
    requests = _requests(pictures, request, count, signature)(batch_size)
    require_writable(output)
    found = run.load(client, requests, chosen, arrivals_of(arrivals, seed), settings)
    files = [str(file) for file in run.keep(found, output)]
    terminal.answer({**found.as_document(), "files": files}, f"{found.as_text()}\nwritten: {', '.join(files)}")
    found.require(result.LoadLimits(max_p99_ms=max_p99_ms, max_error_share=max_error_share))


@verb
def tune(
    folder: given.Tuned,
    latency_ms: given.LatencyTarget = None,
    minutes: given.Minutes = 10.0,
    pictures: given.LoadPictures = None,
    request: given.RequestFile = None,
    count: given.PictureCount = 64,
    over: given.Over = "grpc",
    cpus: given.Cpus = None,
) -> None:
    """Try batching settings on a server here, under load, and write the best to batching.config, with the evidence."""
    from pipeline.files import require_writable
    from pipeline.latency import host
    from serving.tuning.outcome import Conditions
    from serving.tuning.place import place_of
    from serving.tuning.tune import tune as tuned

    place = place_of(folder)
    wanted = latency_ms or place.latency_ms
    if wanted is None:
        raise ConfigError("Say what 99 of 100 requests have to stay below: --latency-ms MS. A Run does not know it.")
    requests = _requests([folder] if pictures is None and request is None else pictures, request, count)
    require_writable(place.output)
    chosen = cpus or place.cpus or len(os.sched_getaffinity(0))
    outcome = tuned(place, requests, Conditions(place.name, wanted, chosen, over, host(), minutes))
    with place.writing() as output:
        files = [str(file) for file in outcome.write(output)]
    view = "\n".join([*outcome.table(), outcome.verdict(), f"written: {', '.join(files)}"])
    terminal.answer({**outcome.as_document(), "files": files}, view)


def _requests(
    places: Sequence[Path] | None, request: Path | None, count: int, asked: str = "serving_default"
) -> Callable[[int | None], Requests]:
    """What is sent, for a number of pictures (rows) a request: by default one, or as many as were written down."""
    from serving.load.requests import picture_requests, rows_from, warn_of_signature, written_request

    if (places is None) == (request is None):
        raise ConfigError(
            "Say what is to be sent: --pictures PLACE, or, for a model that takes something else, --request FILE with "
            "a request in TF Serving's JSON; not both. A production folder is a PLACE, too."
        )
    if request is not None:
        warn_of_signature(request, asked)

        def written(signature: Signature, size: int | None) -> list[Arrays]:
            inputs = written_request(request, signature)
            return [inputs if size is None else rows_from(inputs, 0, size)]

        return lambda size: lambda signature: written(signature, size)
    from pipeline.pictures_to_send import pictures_in

    pictures = pictures_in(places or (), count)
    return lambda size: lambda signature: picture_requests(pictures, signature, size or 1)
