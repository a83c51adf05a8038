"""The processes of the serving benchmarks: `convoy serve`, and helpers that answer each line of JSON with one.

A helper has its interpreter to itself: clients and in-process computing would otherwise share one lock with each other.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import measure

SECONDS = 60.0
"""For a server to end."""


@dataclass(frozen=True)
class Server:
    """The server under test."""

    process: subprocess.Popen[str]
    grpc_port: int
    rest_port: int

    @property
    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024

    @property
    def ports(self) -> dict[str, int]:
        """By the name that `benchmarks.serving_clients` has for them."""
        return {"grpc": self.grpc_port, "rest": self.rest_port}


@contextmanager
def served(model: Path, *options: str) -> Iterator[Server]:
    """`convoy serve` on free ports until the end of the block, which may have ended it already."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve", str(model)]
    command += ["--rest-port", "0", "--grpc-port", "0", *options]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=measure.ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            line = process.stdout.readline() if process.stdout else ""
            ports = re.findall(r":(\d+)", line)
            if len(ports) != 2:
                log.seek(0)
                sys.exit(f"convoy serve did not start: {log.read()}")
            yield Server(process, int(ports[0]), int(ports[1]))
        finally:
            process.terminate()
            try:
                process.wait(SECONDS)
            finally:
                process.kill()
                process.communicate()


class Helper:
    """A process that answers each line of JSON on its stdin with one on its stdout."""

    def __init__(self, process: subprocess.Popen[str]):
        self._process = process

    def ask(self, **question: Any) -> Any:
        """The answer; waits for it."""
        self.tell(**question)
        return self.answer()

    def tell(self, **question: Any) -> None:
        """Sends a question whose `answer` is fetched later."""
        if self._process.stdin is None:
            raise RuntimeError("The helper was started without pipes.")
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """The next line."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("The helper has ended; its message stands above.")
        return json.loads(line)


@contextmanager
def helper(module: str, *arguments: str) -> Iterator[Helper]:
    """`python -m benchmarks.MODULE ARGUMENTS`, until the end of the block."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    with subprocess.Popen(
        command, cwd=measure.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Helper(process)
        finally:
            process.kill()


def answer_lines(answer: Callable[..., Any]) -> None:
    """What a helper does until its stdin ends: calls `answer` with the names and values of each line."""
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)
