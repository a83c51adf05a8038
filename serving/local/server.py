"""The whole server: loads, listens, and stops so that no accepted request is lost."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from pipeline import console
from pipeline.errors import ConfigError, ConvoyError, Interrupted
from serving.errors import ServingError
from serving.local.core import Core
from serving.local.grpc_front import GrpcServer
from serving.local.memory import returned_memory
from serving.local.model_config import read_config
from serving.local.rest.server import RestServer
from serving.local.settings import ServerOptions
from serving.request_log.recorder import Log

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Ports:
    """Where the server listens; `rest` is None where there is no REST front."""

    grpc: int
    rest: int | None


class Server:
    """A server in this process, for tests and for `serve`.

    Args:
        config: the models.
        options: everything else.
        log: of requests; it is closed after the last one.

    Example:
        server = Server(one_model("/models/flowers"), ServerOptions(grpc_port=0, rest_port=0))
        ports = server.start()
        server.stop()
    """

    def __init__(self, config: ModelServerConfig, options: ServerOptions, log: Log | None = None):
        self._config, self._options = config, options
        self._stopping = threading.Event()
        self._core = Core(options, log)
        self._grpc = GrpcServer(self._core, options)
        self._rest = None if options.rest_port is None else RestServer(self._core, options)
        self._poll: threading.Thread | None = None

    def start(self, config_file: Path | None = None) -> Ports | None:
        """Loads the models, then opens the ports: none is open before each model has a version that serves.

        Args:
            config_file: read again every `config_poll_seconds`.

        Returns:
            The ports, or None where it was asked to stop while it waited.

        Raises:
            ConfigError: the configuration is wrong, or a port is taken.
            ConvoyError: a model cannot be loaded.
        """
        try:
            self._core.configure(self._config)
        except ServingError as error:
            raise _start_error(error) from error
        if self._stopping.is_set():
            return None
        ports = Ports(self._grpc.start(), None if self._rest is None else self._rest.start())
        if config_file is not None and self._options.config_poll_seconds:
            self._poll = threading.Thread(target=self._poll_config, args=(config_file,), daemon=True)
            self._poll.start()
        return ports

    def interrupt(self) -> None:
        """Ends a `start` that waits for models."""
        self._stopping.set()
        self._core.stop_waiting()

    def stop(self) -> None:
        """Takes no more requests, answers those that it took, gives everything back."""
        self.interrupt()
        grace = self._options.drain_seconds
        with ThreadPoolExecutor() as both:
            both.submit(self._grpc.stop, grace)
            if self._rest is not None:
                both.submit(self._rest.stop, grace)
        self._core.close()

    def _poll_config(self, file: Path) -> None:
        while not self._stopping.wait(self._options.config_poll_seconds):
            try:
                self._core.configure(read_config(file))
            except ConfigError as error:
                console.warn(f"Failed to read ModelServerConfig file: {error}")
            except ServingError as error:
                console.warn(f"PollFilesystemAndReloadConfig failed to ReloadConfig: {error}")


def serve(
    config: ModelServerConfig,
    options: ServerOptions,
    config_file: Path | None,
    ready: Callable[[Ports], None],
    log: Log | None = None,
) -> None:
    """Runs a server until SIGTERM or Ctrl-C; a second one ends it at once.

    Args:
        config: the models.
        options: everything else.
        config_file: where `config` came from, to be read again.
        ready: called once the ports are open.
        log: of requests; None keeps none.

    Raises:
        ConfigError: the configuration is wrong, or a port is taken.
        ConvoyError: a model cannot be loaded.
        Interrupted: it was stopped before it was ready.
    """
    _warn_of_the_world(options)
    # Libraries are never garbage: to look through them at each unload would stop all requests for 0.4 s (else 0.05 s).
    gc.collect()
    gc.freeze()
    server = Server(config, options, log)
    with _stop_signal(server.interrupt) as stop, returned_memory():
        try:
            ports = server.start(config_file)
            if ports is None:
                raise Interrupted("stopped before the models were loaded")
            ready(ports)
            stop.wait()
            console.say("stopping: requests that were accepted are answered first; a second signal ends it at once")
        finally:
            server.stop()


@contextmanager
def _stop_signal(interrupt: Callable[[], None]) -> Iterator[threading.Event]:
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            # Nothing else: the first one may have been caught in the middle of writing to stderr.
            os._exit(128 + number)
        stop.set()
        # Not in the handler: it may interrupt the very code that holds the locks.
        threading.Thread(target=interrupt, daemon=True).start()

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_error(error: ServingError) -> ConvoyError:
    """What is wrong with the configuration, or with a model."""
    kind = ConfigError if error.code.name in ("INVALID_ARGUMENT", "FAILED_PRECONDITION") else ConvoyError
    return kind(f"Failed to start server. Error: {error}")


def _warn_of_the_world(options: ServerOptions) -> None:
    if _is_loopback(options.host):
        return
    console.warn(
        f"{options.host} can be reached from other machines, and nobody is asked who they are: anyone can use the "
        "models, and replace them by a reload. It is a server for development."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
