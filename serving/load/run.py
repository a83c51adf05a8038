"""A whole load: a client, its requests, a profile, and the files that are left."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from models.settings import Settings
from pipeline import console
from pipeline.errors import ConfigError
from pipeline.files import new_file, write_file
from serving.async_client import AsyncClient, ClientSettings, connect
from serving.load.arrivals import Arrivals
from serving.load.generator import Generator
from serving.load.profiles import Profile
from serving.load.result import LoadResult
from serving.remote.settings import Tls
from serving.remote.transport import Arrays
from serving.remote.values import Signature

SPARE_FILES = 100
"""Open files besides connections."""
Requests = Callable[[Signature], Sequence[Arrays]]
"""The different requests, as inputs by name, for what a model takes."""


class LoadSettings(Settings):
    """How requests are sent."""

    timeout: float = Field(default=30.0, gt=0)
    """Seconds for a request, from when it is due."""
    most_in_flight: int = Field(default=500, ge=1)
    """Requests that are under way at once; over REST each has a connection."""


def client_of(url: str, model: str | None, signature: str, settings: LoadSettings, tls: Tls) -> AsyncClient:
    """A client for a load; ConfigError where the URL or a certificate cannot be used."""
    own = ClientSettings(timeout=settings.timeout, concurrency=settings.most_in_flight, tls=tls)
    return connect(url, model, signature=signature, settings=own)


def load(
    client: AsyncClient, requests: Requests, profile: Profile, arrivals: Arrivals, settings: LoadSettings
) -> LoadResult:
    """Offers requests to a model, as many and when the profile says.

    Raises:
        ServerError: the model cannot be reached, or refuses the requests that are sent before.
        DataError: the requests do not fit the model.
        ConfigError: the profile holds no request, or the system allows fewer connections.
    """
    due = arrivals.times(profile)
    if not len(due):
        raise ConfigError(f"There is no request in {profile}. Raise the rate or the seconds.")
    if client.address.scheme.startswith("http"):
        require_files(settings.most_in_flight)

    async def offer() -> LoadResult:
        async with client:
            inputs = requests(await client.signature())
            calls = [await client.prepared(one) for one in inputs]
            generator = Generator(client, settings.timeout, settings.most_in_flight)
            await generator.warm_up(calls)
            with console.progress("load", "request") as progress:
                recording = await generator.run(calls, due, progress)
            server = f"{client.address}, {client.target}"
            return LoadResult(server, f"{profile}, {arrivals}", profile.seconds, rows_of(inputs[0]), recording)

    return asyncio.run(offer())


def keep(result: LoadResult, folder: Path) -> list[Path]:
    """Writes `load.json`, `requests.csv` (a line for each request) and, where matplotlib is installed, `load.png`."""
    files = [folder / "load.json", folder / "requests.csv"]
    write_file(files[0], json.dumps(result.as_document(), indent=2) + "\n")
    write_file(files[1], result.as_csv())
    try:
        from serving.load.figure import DOTS_PER_INCH, load_figure

        figure = load_figure(result)
    except ModuleNotFoundError as error:
        console.warn(f"no plot was drawn: {error}. It needs: pip install matplotlib (part of 'convoy[full]')")
        return files
    with new_file(folder / "load.png") as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH)
    return [*files, folder / "load.png"]


def rows_of(inputs: Arrays) -> int:
    """Rows of a request; 1 where its inputs have none."""
    return max((array.shape[0] for array in inputs.values() if array.ndim), default=1)


def require_files(connections: int) -> None:
    """Raises ConfigError where the system does not allow so many open files."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and connections + SPARE_FILES > allowed:
        raise ConfigError(
            f"{connections} requests in flight need as many connections, and the system allows {allowed} open files. "
            f"Lower --max-in-flight, or raise the limit: ulimit -n {connections + SPARE_FILES}."
        )
