"""HTTP itself: what may be sent in which pieces, and what is answered with which status."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from serving.local.core import Core
from serving.local.rest import RestServer
from serving.local.settings import ServerOptions
from tests.serving.rest.conftest import MODELS, Front, ask
from tests.serving.rest.connection import BODY, HEAD, PREDICT, REQUEST, connected, predictions, replies


def test_an_answer_and_its_headers(port: int) -> None:
    reply = ask(port, "POST", PREDICT, BODY, {"Content-Type": "text/plain"})
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
        for byte in REQUEST:
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
