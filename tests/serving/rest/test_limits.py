"""What is too long, too large or too slow: refused, and no burden on others."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.local.rest.body import unpacked
from serving.local.settings import Patience
from tests.serving.rest.conftest import Front, ask
from tests.serving.rest.connection import BODY, HEAD, PREDICT, REQUEST, connected, predictions, replies


def test_gzip(port: int) -> None:
    packed = gzip.compress(BODY)
    for encoding in ("gzip", "x-gzip, identity"):
        assert ask(port, "POST", PREDICT, packed, {"Content-Encoding": encoding}).status == 200
    assert "Invalid value" in ask(port, "POST", PREDICT, packed).body.decode()
    assert ask(port, "POST", PREDICT, BODY, {"Content-Encoding": "deflate"}).status == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", ""),
        (BODY, "no intact gzip"),
        (gzip.compress(BODY)[:-5], "cut off"),
        (gzip.compress(BODY) + b"x", "something after its gzip"),
        (gzip.compress(BODY)[:-8] + b"\0" * 8, "no intact gzip"),
        (gzip.compress(b"[" * (100 * 2**20 + 1), 1), f"more than {100 * 2**20} bytes"),
    ],
    ids=["empty", "no gzip", "cut short", "something behind", "wrong checksum", "too large unpacked"],
)
def test_a_gzip_that_cannot_be_used_is_an_empty_document(port: int, body: bytes, reason: str) -> None:
    reply = ask(port, "POST", PREDICT, body, {"Content-Encoding": "gzip"})
    error = json.loads(reply.body)["error"]
    assert reply.status == 400
    assert error.startswith("JSON Parse error: The document is empty")
    assert reason in error


def test_bombs_of_brackets_are_refused(front: Front) -> None:
    port = front()
    body = gzip.compress(b'{"instances":' + b"[" * (20 * 2**20))
    reply = ask(port, "POST", PREDICT, body, {"Content-Encoding": "gzip"})
    assert (reply.status, "Nested deeper than" in reply.body.decode()) == (400, True)
    assert ask(port, "POST", PREDICT, BODY).status == 200


def test_bodies_have_a_limit(front: Front) -> None:
    port = front(max_body_bytes=1000)
    fits = BODY + b" " * (1000 - len(BODY))
    assert ask(port, "POST", PREDICT, fits).status == 200
    for body in (fits + b" ", b" " * 2000, iter([b" " * 500] * 3)):
        reply = ask(port, "POST", PREDICT, body)
        assert (reply.status, reply.headers["connection"]) == (413, "close")
        assert "longer than 1000 bytes" in json.loads(reply.body)["error"]


def test_unpacking_does_not_hold_more_than_the_limit() -> None:
    """zlib's own limit, so that a bomb never unfolds: the sizes are what this test is about."""
    packed = zlib.compress(b"x" * 10_000, 9, 31)
    assert unpacked(packed, 10_000) == b"x" * 10_000
    with pytest.raises(ValueError, match="more than 9999 bytes"):
        unpacked(packed, 9_999)


def test_a_body_that_is_announced_as_too_long_is_not_awaited(front: Front) -> None:
    port = front(max_body_bytes=1000)
    for head in (b"Content-Length: 2001\r\n\r\n", b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n"):
        with connected(port) as sock:
            sock.sendall(HEAD + head)
            assert [reply[0] for reply in replies(sock)] == [413]


def test_headers_have_a_limit(front: Front) -> None:
    port = front(patience=Patience(max_header_bytes=2000))
    with connected(port) as sock:
        sock.sendall(HEAD + b"X: " + b"x" * 3000)
        assert [reply[0] for reply in replies(sock)] == [431]


IMPATIENT = Patience(header_seconds=0.3, body_seconds=0.3, min_body_rate=1e6)


@pytest.mark.parametrize(
    "begin",
    [
        HEAD,
        HEAD + b"Content-Length: 10\r\n\r\n12",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12",
    ],
)
def test_slow_clients_are_not_waited_for(front: Front, begin: bytes) -> None:
    with connected(front(patience=IMPATIENT)) as sock:
        sock.sendall(begin)
        found = replies(sock)
    assert [reply[0] for reply in found] == [408]


def test_dripping_does_not_help(front: Front) -> None:
    with connected(front(patience=IMPATIENT)) as sock, ThreadPoolExecutor(1) as other:
        reading = other.submit(replies, sock)
        sock.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
        while not reading.done():
            try:
                sock.sendall(b"x")
            except OSError:
                break
            time.sleep(0.02)
        assert [reply[0] for reply in reading.result()] in ([408], [])


def test_a_connection_without_a_request_ends(front: Front) -> None:
    with connected(front(patience=IMPATIENT)) as sock:
        assert replies(sock) == []


def test_the_connection_of_an_answered_request_stays(front: Front) -> None:
    """Patience with headers begins with a request, not with the end of the one before."""
    patience = Patience(header_seconds=2)
    with connected(front(patience=patience)) as sock:
        sock.sendall(REQUEST)
        assert predictions(replies(sock, 1)[0]) == [1.0, 2.5]
        time.sleep(1.2 * patience.header_seconds)
        sock.sendall(REQUEST)
        assert predictions(replies(sock, 1)[0]) == [1.0, 2.5]


def test_many_slow_connections_do_not_hinder_others(front: Front) -> None:
    port = front(rest_threads=2)
    slow = [connected(port) for _ in range(100)]
    try:
        for sock in slow:
            sock.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
        assert ask(port, "POST", PREDICT, BODY).status == 200
    finally:
        for sock in slow:
            sock.close()
    assert ask(port, "POST", PREDICT, BODY).status == 200


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the system has no such limit")
def test_answers_are_not_kept_for_a_client_that_does_not_read(front: Front) -> None:
    port = front(patience=Patience(unread_seconds=0.5))
    body = json.dumps({"instances": [[0.123456789] * 1000] * 1000}).encode()
    with connected(port) as sock:
        sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        sock.recv(1)
        while established(port):  # until the system has lost its patience
            time.sleep(0.05)
        with pytest.raises(ConnectionResetError):
            while sock.recv(2**20):
                pass


def established(port: int) -> int:
    """How many connections the server side of a port has."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)
