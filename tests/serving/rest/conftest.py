"""A core with a few small models, and REST fronts before it."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from serving.local.core import Core
from serving.local.rest.server import RestServer
from serving.local.settings import ServerOptions
from tests.serving.running import config_of

MODELS = ("scale", "id_string", "id_bytes", "id_float32", "id_uint8", "multi2", "clsreg")

Front = Callable[..., int]


@pytest.fixture(scope="session")
def core(serving_models: Path) -> Iterator[Core]:
    """The models of MODELS."""
    core = Core(ServerOptions())
    core.configure(config_of({name: serving_models / name for name in MODELS}))
    yield core
    core.close()


@pytest.fixture
def front(core: Core) -> Iterator[Front]:
    """Starts a REST front with some options, and gives its port."""
    with ExitStack() as stack:

        def start(**options: Any) -> int:
            server = RestServer(core, ServerOptions(rest_port=0, **options))
            stack.callback(server.stop, 5.0)
            return server.start()

        yield start


@pytest.fixture(scope="session")
def port(core: Core) -> Iterator[int]:
    """The port of a front with the default options."""
    server = RestServer(core, ServerOptions(rest_port=0))
    yield server.start()
    server.stop(5.0)


class Reply:
    """An answer: status, headers by lower-case name, body."""

    def __init__(self, reply: http.client.HTTPResponse):
        self.status = reply.status
        self.headers = {name.lower(): value for name, value in reply.getheaders()}
        self.body = reply.read()


def ask(port: int, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        return Reply(connection.getresponse())
    finally:
        connection.close()
