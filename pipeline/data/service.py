"""tf.data service: other processes or machines read, decode and augment for a training.

A dispatcher hands out numbers of shard files to workers, each to one worker, and the training takes finished batches
from whichever worker has one. So every example comes once in each pass, in an order that differs from run to run.
Workers get the graph of the input and read the prepared data themselves: it has to lie at the same path for all.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import numpy as np
from pydantic import BeforeValidator, Field

from models.stack import tf
from pipeline import console
from pipeline.data import order, sampling
from pipeline.data.example import EPOCH, TRAIN
from pipeline.data.order import READERS, RECORD
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline.data.reading import Reading

PREFIX = "grpc://"
LARGEST_PORT = 2**16 - 1
SECONDS_TO_ANSWER = 5.0
WORKER_MISSING_MS = 10_000
"""Silence after which the dispatcher gives a worker up, in milliseconds."""
ADDRESS = r"^grpc://[^/:]+:[0-9]+$"
SHARE_AT_A_TIME = 4
"""A worker reads at most one in so many of a pass's files at a time, so that several workers share every pass."""

NOTICE = (
    "batches come from the tf.data service at {address}: their order differs from run to run, and --resume goes on in "
    "the right epoch, not to the same bits"
)


def shared_records(reading: Reading) -> tf.data.Dataset:
    """Batches of `record` and `epoch` for one worker, from the files that the dispatcher gives it.

    The stream counts (pass, file) pairs up without end; `Dataset.range` is what the service shares out.
    """
    store = reading.store
    files, lengths = store.files(TRAIN), store.shard_lengths(TRAIN)
    firsts = np.cumsum([0, *lengths[:-1]], dtype=np.int64)
    one_pass = sampling.pass_of(store, reading.sampling)
    start = reading.first_step * reading.batch_size * len(files) // one_pass.length

    def read(number: tf.Tensor) -> tf.data.Dataset:
        epoch = number // len(files)
        place = order.permutation(len(files), epoch, reading.seed)[number % len(files)]
        return one_pass.read(tf.gather(files, place), tf.gather(firsts, place), epoch, reading.seed)

    records = order.endless_epochs(start).interleave(
        read, cycle_length=min(READERS, max(len(files) // SHARE_AT_A_TIME, 1)), num_parallel_calls=None
    )
    buffer = min(reading.shuffle_buffer, max(one_pass.length // SHARE_AT_A_TIME, 1))
    shuffled = order.shuffled(records, buffer, order.pass_root(tf.constant(start, tf.int64), reading.seed))
    named = shuffled.map(lambda record, epoch: {RECORD: record, EPOCH: epoch})
    return named.batch(reading.element_size, drop_remainder=True)


def distributed(batches: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """The same batches, computed by the workers of the service at `grpc://HOST:PORT`."""
    policy = tf.data.experimental.service.ShardingPolicy.DYNAMIC
    return batches.apply(tf.data.experimental.service.distribute(policy, address))


def require_usable(address: str, cache: str, context: tf.distribute.InputContext | None) -> None:
    """Raises ConfigError where the service does not answer, or is asked for what it cannot do."""
    if cache in ("decoded", "encoded"):
        raise ConfigError(
            f"`input.cache` is {cache}, but with `input.service` the workers read the files in every pass. "
            "Leave input.cache out, or set it to none.",
            ("input", "cache"),
        )
    if context and context.num_input_pipelines > 1:
        raise ConfigError(
            f"`input.service` serves the training of one host, not of {context.num_input_pipelines}. Leave it out.",
            ("input", "service"),
        )
    host, port = host_and_port(address)
    try:
        socket.create_connection((host, port), SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise ConfigError(
            f"No dispatcher answers at `input.service` {address} ({error}). Start one with "
            f"`convoy data-service dispatcher --port {port}`, and workers with "
            f"`convoy data-service worker --dispatcher {host}:{port}`.",
            ("input", "service"),
        ) from error


def _require_address(given: Any) -> Any:
    """Says what an address looks like, which a pattern does not."""
    if isinstance(given, str) and not re.match(ADDRESS, given):
        raise ValueError(f"got {given!r}, expected grpc://HOST:PORT, such as grpc://localhost:5050")
    return given


Dispatcher = Annotated[str, Field(pattern=ADDRESS), BeforeValidator(_require_address)]
"""The address of a dispatcher, as a setting."""


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of HOST:PORT or grpc://HOST:PORT; ConfigError where it is neither."""
    host, _, port = address.removeprefix(PREFIX).rpartition(":")
    if not host or "/" in host or not (port.isascii() and port.isdecimal() and int(port) <= LARGEST_PORT):
        raise ConfigError(
            f"Got {address!r} as the address of a dispatcher, expected HOST:PORT, such as localhost:5050; "
            "`convoy data-service dispatcher` prints its own."
        )
    return host, int(port)


def serve_dispatcher(port: int) -> NoReturn:
    """Runs a dispatcher until Ctrl-C or SIGTERM; port 0 is any that is free."""
    service = tf.data.experimental.service
    config = service.DispatcherConfig(port=port, worker_timeout_ms=WORKER_MISSING_MS)
    _require_free(port)
    server = service.DispatchServer(config)
    _wait(f"dispatcher: {server.target}", server)


def serve_worker(port: int, dispatcher: str, host: str) -> NoReturn:
    """Runs a worker until Ctrl-C or SIGTERM.

    Args:
        port: 0 is any that is free.
        dispatcher: HOST:PORT, with `grpc://` before it or not.
        host: under which the training reaches this machine.

    Raises:
        ConfigError: the dispatcher's address is none, or nothing answers there; the port is taken.
    """
    dispatcher = dispatcher.removeprefix(PREFIX)
    require_usable(f"{PREFIX}{dispatcher}", "none", None)
    service = tf.data.experimental.service
    config = service.WorkerConfig(dispatcher, worker_address=f"{host}:{port or '%port%'}", port=port)
    _require_free(port)
    server = service.WorkerServer(config)
    _wait(f"worker of {PREFIX}{dispatcher}: ready", server)


def _require_free(port: int) -> None:
    """Raises ConfigError where something answers on a port already; gRPC would share it with that silently."""
    try:
        with socket.socket() as probe:
            probe.bind(("", port))
    except OSError as error:
        raise ConfigError(
            f"Port {port} cannot be used ({error}). Choose another with --port, or leave it out."
        ) from error


def _wait(ready: str, server: object) -> NoReturn:
    """Holds a server, which serves only so long, until Ctrl-C or SIGTERM, and ends the process.

    At once: a server that is stopped waits without end for others that are gone, and there is nothing to be saved.
    """
    console.say(ready)
    with suppress(KeyboardInterrupt):  # which SIGTERM raises as well
        threading.Event().wait()
    console.say("stopped")
    console.terminal.finish()
    sys.stdout.flush()
    os._exit(0)
