"""The REST front: an HTTP server in a thread of its own."""

from __future__ import annotations

import math
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from pipeline.errors import ConfigError
from serving.local.core import Core
from serving.local.rest.application import Application
from serving.local.rest.protocol import PatientProtocol
from serving.local.settings import Patience, ServerOptions

SECONDS_BETWEEN_LOOKS = 0.005
SECONDS_BEYOND_GRACE = 5.0
"""That the event loop gets to end once the grace of its requests is over."""


class RestServer:
    """Answers HTTP as TF Serving does.

    Args:
        core: does the work.
        options: address, limits, timeout, threads, patience with slow clients.
    """

    def __init__(self, core: Core, options: ServerOptions):
        self._options = options
        self._threads = ThreadPoolExecutor(options.rest_threads, thread_name_prefix="rest")
        self._server = uvicorn.Server(_config(Application(core, options, self._threads), options.patience))
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listens, and gives the port once requests are answered.

        Raises:
            ConfigError: the address is not to be had.
        """
        listener = _listener(self._options)
        port: int = listener.getsockname()[1]
        arguments = {"sockets": [listener]}
        self._thread = threading.Thread(target=self._server.run, kwargs=arguments, name="rest", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if not self._server.started:
            raise ConfigError(f"The REST server on {self._options.host}:{port} did not start; see the messages above.")
        return port

    def stop(self, grace: float) -> None:
        """Takes no more connections, and returns when every request that has begun is answered.

        Args:
            grace: seconds for them; what is not answered by then is dropped.
        """
        if self._thread is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, math.ceil(grace))
        self._server.should_exit = True
        self._thread.join(grace + SECONDS_BEYOND_GRACE)
        self._server.force_exit = True
        self._threads.shutdown(wait=False, cancel_futures=True)


def _config(application: Application, patience: Patience) -> uvicorn.Config:
    protocol = type("Protocol", (PatientProtocol,), {"patience": patience})
    return uvicorn.Config(
        application,
        http=protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        timeout_keep_alive=patience.idle_seconds,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )


def _listener(options: ServerOptions) -> socket.socket:
    address = (options.host, options.rest_port or 0)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=2048, dualstack_ipv6=options.host == "::")
    except OSError as error:
        raise ConfigError(
            f"Cannot listen for REST on {options.host}:{options.rest_port}: {error.strerror or error}. "
            "Give another port with --rest-port, or 0 for any that is free."
        ) from error
