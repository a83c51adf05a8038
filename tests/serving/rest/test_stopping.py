"""How the REST server stops: no request that has begun is lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from serving.local.core import Core
from serving.local.rest import RestServer
from serving.local.settings import Patience, ServerOptions
from tests.serving.rest.connection import REQUEST, connected, predictions, replies

LINGERING = ServerOptions(rest_port=0, patience=Patience(linger_seconds=30))
"""So that nothing depends on how soon this process has its turn."""


def stopping(server: RestServer) -> threading.Thread:
    thread = threading.Thread(target=server.stop, args=(60.0,))
    thread.start()
    return thread


def test_what_has_begun_is_finished_when_the_server_stops(core: Core) -> None:
    server = RestServer(core, LINGERING)
    port = server.start()
    with connected(port) as with_headers, connected(port) as with_body:
        with_headers.sendall(REQUEST[:30])
        with_body.sendall(REQUEST[:-5])
        stopped = stopping(server)
        while is_listening(port):
            time.sleep(0.01)
        with_headers.sendall(REQUEST[30:])
        with_body.sendall(REQUEST[-5:])
        for sock in (with_headers, with_body):
            assert [predictions(reply) for reply in replies(sock)] == [[1.0, 2.5]]
    stopped.join(60)
    assert not stopped.is_alive()


def test_a_stopping_server_still_reads_idle_connections_for_a_while(core: Core) -> None:
    server = RestServer(core, LINGERING)
    port = server.start()
    with connected(port) as sock:
        sock.sendall(REQUEST)
        assert predictions(replies(sock, 1)[0]) == [1.0, 2.5]
        stopped = stopping(server)
        while is_listening(port):
            time.sleep(0.01)
        sock.sendall(REQUEST)
        assert [predictions(reply) for reply in replies(sock)] == [[1.0, 2.5]]
    stopped.join(60)
    assert not stopped.is_alive()


def test_no_request_is_lost_when_the_server_stops_under_load(core: Core) -> None:
    """Each client asks again and again until it is told that its connection ends."""
    server = RestServer(core, LINGERING)
    port = server.start()
    started = threading.Barrier(9)
    with ThreadPoolExecutor(8) as clients:
        found = [clients.submit(ask_until_told, port, started) for _ in range(8)]
        started.wait(60)
        server.stop(60.0)
        assert all(one.result() > 1 for one in found)


def ask_until_told(port: int, started: threading.Barrier) -> int:
    """How many requests were answered until `Connection: close`; fails where one was not."""
    answered = 0
    with connected(port) as sock:
        while True:
            sock.sendall(REQUEST)
            head = b""
            while b"]\n}" not in head:
                part = sock.recv(4096)
                assert part, "a request was lost"
                head += part
            answered += 1
            if b"connection: close" in head:
                return answered
            if answered == 1:
                started.wait(60)


def is_listening(port: int) -> bool:
    try:
        connected(port).close()
    except OSError:
        return False
    return True
