"""HTTP itself: what may be sent in which pieces, what is refused with which status, and how the server stops."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from serving.local.core import Core
from serving.local.rest import RestServer
from serving.local.rest.protocol import Patience
from serving.local.settings import ServerOptions
from tests.serving.rest.conftest import MODELS, Front, ask

PREDICT = "/v1/models/id_float32:predict"
BODY = b'{"instances": [1.0, 2.5]}'
HEAD = b"POST /v1/models/id_float32:predict HTTP/1.1\r\nHost: x\r\n"
TYPED = "Content-Type"


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def replies(sock: socket.socket, count: int | None = None) -> list[tuple[int, bytes]]:
    """Statuses and bodies of answers with a Content-Length, `count` of them or all until the end."""
    file, found = sock.makefile("rb"), []
    while count is None or len(found) < count:
        line = file.readline()
        if not line:
            break
        headers = {}
        while (header := file.readline().strip()) != b"":
            name, _, value = header.partition(b": ")
            headers[name.lower()] = value
        if not line.startswith(b"HTTP/1.1 100"):
            found.append((int(line.split()[1]), file.read(int(headers[b"content-length"]))))
    return found


def predictions(reply: tuple[int, bytes]) -> Any:
    assert reply[0] == 200, reply
    return json.loads(reply[1])["predictions"]


def test_an_answer_and_its_headers(port: int) -> None:
    reply = ask(port, "POST", PREDICT, BODY, {TYPED: "text/plain"})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.body == b'{\n    "predictions": [1.0, 2.5\n    ]\n}'
    assert "server" not in reply.headers
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/models/scale", "/favicon.ico", "/monitoring"])
def test_beside_the_api_there_is_only_libevents_page(port: int, path: str) -> None:
    reply = ask(port, "GET", path)
    assert (reply.status, reply.headers["content-type"], reply.headers["connection"]) == (404, "text/html", "close")
    assert reply.body == (
        b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
    )


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_other_methods_are_malformed(port: int, method: str) -> None:
    reply = ask(port, method, PREDICT, BODY)
    assert reply.status == 400
    message = {"error": f"Malformed request: {method} {PREDICT}"}
    assert reply.body == b"" if method == "HEAD" else json.loads(reply.body) == message


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"TRACE / HTTP/1.1", 501),
        (b"CONNECT x:1 HTTP/1.1", 501),
        (b"BREW /v1/models/scale HTTP/1.1", 501),
        (b"GET /v1/models/\xc3\xa9 HTTP/1.1", 400),
        (b"GET /v1/models/a%zz HTTP/1.1", 400),
        (b'GET /v1/models/"a" HTTP/1.1', 400),
        (b"GET HTTP/1.1", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET /v1/models/scale HTTP/9.9", 400),
    ],
)
def test_what_is_no_request_of_http(port: int, line: bytes, status: int) -> None:
    with connected(port) as sock:
        sock.sendall(line + b"\r\nHost: x\r\n\r\n")
        found = replies(sock)
    assert [reply[0] for reply in found] == [status]
    assert found[0][1].startswith(b"<HTML>")


def test_what_tensorflow_says_of_bytes_that_are_no_text(port: int) -> None:
    body = b'{"signature_name": "reg", "inputs": [{"b64": "MdxWAXg="}]}'
    reply = ask(port, "POST", "/v1/models/clsreg:predict", body)
    assert (reply.status, "Could not parse example input" in reply.body.decode()) == (400, True)


NAMES = st.sampled_from(["instances", "inputs", "examples", "context", "signature_name", "x", "b64", "int_tensor"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("AA==")
VALUES = st.recursive(SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(NAMES, one), max_leaves=6)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(MODELS),
    st.sampled_from(["predict", "classify", "regress"]),
    st.dictionaries(NAMES, VALUES).map(lambda document: json.dumps(document).encode()) | st.binary(max_size=30),
)
def test_whatever_is_sent_the_client_is_told_what_is_wrong(port: int, model: str, verb: str, body: bytes) -> None:
    reply = ask(port, "POST", f"/v1/models/{model}:{verb}", body)
    assert reply.status in (200, 400, 501)
    assert reply.status == 200 or json.loads(reply.body.decode(errors="replace"))["error"]


def test_names_are_percent_encoded(port: int) -> None:
    assert ask(port, "GET", "/v1/models/sc%61le").status == 200
    reply = ask(port, "GET", "/v1/models/a%2Fb")
    assert json.loads(reply.body) == {"error": "Could not find any versions of model a/b"}


def test_absolute_addresses(port: int) -> None:
    assert ask(port, "GET", "http://elsewhere/v1/models/scale").status == 200


def test_a_body_in_chunks_and_bytes_that_come_one_by_one(port: int) -> None:
    with connected(port) as sock:
        sock.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for byte in BODY:
            sock.sendall(b"1\r\n%c\r\n" % byte)
        sock.sendall(b"0\r\n\r\n")
        assert predictions(replies(sock, 1)[0]) == [1.0, 2.5]
        for byte in HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY:
            sock.sendall(bytes((byte,)))
        assert predictions(replies(sock, 1)[0]) == [1.0, 2.5]


def test_requests_of_one_connection_are_answered_in_their_order(port: int) -> None:
    with connected(port) as sock:
        for value in range(20):
            body = b'{"instances": [%d]}' % value
            sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        found = [predictions(reply) for reply in replies(sock, 20)]
    assert found == [[float(value)] for value in range(20)]


def test_a_client_may_ask_before_it_sends_its_body(port: int) -> None:
    with connected(port) as sock:
        sock.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert predictions(replies(sock, 1)[0]) == [1.0, 2.5]


def test_one_request_of_http_1_0(port: int) -> None:
    with connected(port) as sock:
        sock.sendall(HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        assert [predictions(reply) for reply in replies(sock)] == [[1.0, 2.5]]


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


def test_a_body_that_is_announced_as_too_long_is_not_awaited(front: Front) -> None:
    port = front(max_body_bytes=1000)
    for head in (b"Content-Length: 2001\r\n\r\n", b"Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n"):
        with connected(port) as sock:
            sock.sendall(HEAD + head)
            assert [reply[0] for reply in replies(sock)] == [413]


def test_headers_have_a_limit(front: Front) -> None:
    port = front(Patience(max_header_bytes=2000))
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
    with connected(front(IMPATIENT)) as sock:
        sock.sendall(begin)
        found = replies(sock)
    assert [reply[0] for reply in found] == [408]


def test_dripping_does_not_help(front: Front) -> None:
    with connected(front(IMPATIENT)) as sock, ThreadPoolExecutor(1) as other:
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
    with connected(front(IMPATIENT)) as sock:
        assert replies(sock) == []


def test_the_connection_of_an_answered_request_stays(front: Front) -> None:
    """Patience with headers begins with a request, not with the end of the one before."""
    patience = Patience(header_seconds=2)
    with connected(front(patience)) as sock:
        sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        assert predictions(replies(sock, 1)[0]) == [1.0, 2.5]
        time.sleep(1.2 * patience.header_seconds)
        sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
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
    port = front(Patience(unread_seconds=0.5))
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


def test_a_request_that_is_too_late_is_answered_so(front: Front) -> None:
    port = front(rest_timeout_ms=1)
    body = json.dumps({"instances": [float(value) for value in range(200_000)]})
    assert ask(port, "POST", PREDICT, body).status == 504


def test_cors(front: Front) -> None:
    port = front(cors=True)
    given = {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "POST, GET",
        "access-control-allow-headers": "Content-Type",
    }
    for reply, status in (
        (ask(port, "POST", PREDICT, BODY), 200),
        (ask(port, "POST", PREDICT, b""), 400),
        (ask(port, "GET", "/v1/models/none"), 404),
        (ask(port, "OPTIONS", PREDICT, None, {"Origin": "https://example.org"}), 200),
        (ask(port, "OPTIONS", PREDICT, None, {"Origin": "null"}), 400),
    ):
        assert reply.status == status
        assert given.items() <= reply.headers.items()


def test_metrics_have_one_path(front: Front, core: Core) -> None:
    port = front()
    path = core.prometheus_path
    assert path is not None
    ask(port, "POST", PREDICT, BODY)
    reply = ask(port, "GET", path)
    assert (reply.status, reply.headers["content-type"]) == (200, "text/plain")
    assert b':tensorflow:serving:request_count{model_name="id_float32",status="OK"}' in reply.body
    assert b'API="Predict",entrypoint="REST",model_name="id_float32"' in reply.body
    assert ask(port, "GET", f"{path}?x=1").body.decode() == f"Unexpected path: {path}?x=1. Should be {path}"


def test_a_port_in_use_is_a_mistake_with_advice(port: int, core: Core) -> None:
    with pytest.raises(ConfigError, match="--rest-port"):
        RestServer(core, ServerOptions(rest_port=port)).start()


LINGERING = Patience(linger_seconds=30)
"""So that nothing depends on how soon this process has its turn."""


def stopping(server: RestServer) -> threading.Thread:
    thread = threading.Thread(target=server.stop, args=(60.0,))
    thread.start()
    return thread


def test_what_has_begun_is_finished_when_the_server_stops(core: Core) -> None:
    server = RestServer(core, ServerOptions(rest_port=0), LINGERING)
    port = server.start()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    with connected(port) as with_headers, connected(port) as with_body:
        with_headers.sendall(request[:30])
        with_body.sendall(request[:-5])
        stopped = stopping(server)
        while is_listening(port):
            time.sleep(0.01)
        with_headers.sendall(request[30:])
        with_body.sendall(request[-5:])
        for sock in (with_headers, with_body):
            assert [predictions(reply) for reply in replies(sock)] == [[1.0, 2.5]]
    stopped.join(60)
    assert not stopped.is_alive()


def test_a_stopping_server_still_reads_idle_connections_for_a_while(core: Core) -> None:
    server = RestServer(core, ServerOptions(rest_port=0), LINGERING)
    port = server.start()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    with connected(port) as sock:
        sock.sendall(request)
        assert predictions(replies(sock, 1)[0]) == [1.0, 2.5]
        stopped = stopping(server)
        while is_listening(port):
            time.sleep(0.01)
        sock.sendall(request)
        assert [predictions(reply) for reply in replies(sock)] == [[1.0, 2.5]]
    stopped.join(60)
    assert not stopped.is_alive()


def test_no_request_is_lost_when_the_server_stops_under_load(core: Core) -> None:
    """Each client asks again and again until it is told that its connection ends."""
    server = RestServer(core, ServerOptions(rest_port=0), LINGERING)
    port = server.start()
    started = threading.Barrier(9)
    with ThreadPoolExecutor(8) as clients:
        found = [clients.submit(ask_until_told, port, started) for _ in range(8)]
        started.wait(60)
        server.stop(60.0)
        assert all(one.result() > 1 for one in found)


def ask_until_told(port: int, started: threading.Barrier) -> int:
    """How many requests were answered until `Connection: close`; fails where one was not."""
    request, answered = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY, 0
    with connected(port) as sock:
        while True:
            sock.sendall(request)
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


def test_unpacking_does_not_hold_more_than_the_limit() -> None:
    """zlib's own limit, so that a bomb never unfolds: the sizes are what this test is about."""
    from serving.local.rest.body import unpacked

    packed = zlib.compress(b"x" * 10_000, 9, 31)
    assert unpacked(packed, 10_000) == b"x" * 10_000
    with pytest.raises(ValueError, match="more than 9999 bytes"):
        unpacked(packed, 9_999)
