"""Running servers, asked which versions they have loaded and what their labels name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Protocol

from pipeline.errors import ServerError
from serving.client import Client, ClientSettings, ModelNotFound, RequestRefused, connect

AVAILABLE = "AVAILABLE"
END = "END"
SECONDS_BETWEEN_QUESTIONS = 0.2


class Server(Protocol):
    """A running server of one model; its text is its address."""

    def states(self) -> Mapping[int, tuple[str, str]]:
        """Version -> its state as TF Serving calls it, and the error it ended with (empty where there was none).

        Raises:
            ServerError: the server cannot be reached.
        """

    def version_of(self, label: str) -> int | None:
        """The version that answers for a label; None where there is none."""


class LiveServer:
    """A server behind the client.

    Args:
        url: as `serving.client.connect` takes it.
        model: its name.
        stack: closes the connections.
    """

    def __init__(self, url: str, model: str, stack: ExitStack, settings: ClientSettings | None = None):
        self._url, self._model, self._stack, self._settings = url, model, stack, settings
        self._client = self.client()
        self._labelled: dict[str, Client] = {}

    def __str__(self) -> str:
        return str(self._client.address)

    def client(self, label: str | None = None) -> Client:
        """A client of one label's version, or of the latest."""
        return self._stack.enter_context(connect(self._url, self._model, label=label, settings=self._settings))

    def states(self) -> Mapping[int, tuple[str, str]]:
        """See `Server`; empty where the server does not know the model (yet)."""
        try:
            return {one.version: (one.state, one.message) for one in self._client.status()}
        except ModelNotFound:
            return {}

    def version_of(self, label: str) -> int | None:
        """See `Server`."""
        try:
            if label not in self._labelled:
                self._labelled[label] = self.client(label)
            return self._labelled[label].metadata().version
        except (ModelNotFound, RequestRefused):  # TF Serving calls an unknown label an invalid argument
            return None


@contextmanager
def live_servers(urls: Sequence[str], model: str, settings: ClientSettings | None = None) -> Iterator[list[LiveServer]]:
    """The servers behind some URLs, each of which must be one server, not a balancer before several."""
    with ExitStack() as stack:
        yield [LiveServer(url, model, stack, settings) for url in urls]


def await_available(servers: Sequence[Server], version: int, seconds: float, sees: str) -> None:
    """Waits until every server says that it has loaded a version.

    Args:
        seconds: for each of them.
        sees: where they are to find the model, for the error.

    Raises:
        ServerError: one cannot load it, or needs too long.
    """
    for server in servers:
        _wait(
            partial(_is_available, server, version),
            seconds,
            f"{server} has not loaded version {version} after {seconds:g} s. Look at its log, whether it reads this "
            f"models.config again and again, and whether it sees {sees}; raise --wait if it only needs longer.",
        )


def await_label(servers: Sequence[Server], label: str, version: int, seconds: float) -> None:
    """Waits until every server answers with a version where it is asked for a label.

    Raises:
        ServerError: one does not in that time.
    """
    for server in servers:
        _wait(
            partial(_names, server, label, version),
            seconds,
            f"models.config gives {label} to version {version}, but {server} does not after {seconds:g} s. Look at its "
            "log: does it read this models.config again and again?",
        )


def _is_available(server: Server, version: int) -> bool:
    state, error = server.states().get(version, ("", ""))
    if state == END and error:
        raise ServerError(f"{server} cannot load version {version}: {error}", "FAILED_PRECONDITION", error)
    return state == AVAILABLE


def _names(server: Server, label: str, version: int) -> bool:
    return server.version_of(label) == version


def _wait(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise ServerError(otherwise, "DEADLINE_EXCEEDED")
        time.sleep(SECONDS_BETWEEN_QUESTIONS)
