"""`convoy serve` as a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from tests.conftest import ROOT

CONVOY = "from pipeline.cli import main; main()"
PORTS = re.compile(r"gRPC at \S+:(\d+), REST at http://\S+:(\d+)")


@dataclass(frozen=True)
class Serving:
    """A server that runs: its process, and where it listens."""

    process: subprocess.Popen[str]
    grpc_port: int
    rest_port: int


@contextmanager
def convoy_serve(config: Any, folder: Path, *arguments: str) -> Iterator[Serving]:
    """A server, from the moment that it listens; stopped by SIGTERM.

    Args:
        config: the ModelServerConfig; its labels may point at versions that are not loaded yet.
        folder: for the configuration and the log.
        arguments: more of the command line.
    """
    file, log = folder / "models.config", folder / "serve.log"
    file.write_text(text_format.MessageToString(config), encoding="utf-8")
    options = ["--grpc-port", "0", "--rest-port", "0", "--allow-version-labels-for-unavailable-models", *arguments]
    command = [sys.executable, "-c", CONVOY, "serve", str(file), *options]
    with log.open("w", encoding="utf-8") as told:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=told, text=True)
    assert process.stdout is not None
    try:
        ports = next((found for line in process.stdout if (found := PORTS.search(line))), None)
        assert ports is not None, f"the server did not start: {log.read_text(encoding='utf-8')}"
        yield Serving(process, int(ports[1]), int(ports[2]))
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
