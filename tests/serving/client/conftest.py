"""A scripted server behind each transport, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from serving.client import Client, ClientSettings, connect
from tests.serving.client.servers import SERVERS, Script

QUICK = ClientSettings(timeout=60.0, first_wait=0.001, longest_wait=0.002)


@dataclass
class Letters:
    """One running server."""

    url: str
    script: Script

    def connect(self, *, signature: str = "serving_default", contract: Any = None, **settings: Any) -> Client:
        """A client of `letters`."""
        chosen = replace(QUICK, **settings)
        return connect(self.url, "letters", signature=signature, contract=contract, settings=chosen)


@pytest.fixture(scope="module", params=sorted(SERVERS))
def running(request: pytest.FixtureRequest) -> Iterator[Letters]:
    script = Script()
    with SERVERS[request.param](script) as url:
        yield Letters(url, script)


@pytest.fixture
def letters(running: Letters) -> Letters:
    """The server, as if nobody had asked it anything."""
    running.script.failures.clear()
    running.script.batches.clear()
    running.script.came.clear()
    running.script.seconds, running.script.together, running.script.most_at_once = 0.0, 1, 0
    return running
