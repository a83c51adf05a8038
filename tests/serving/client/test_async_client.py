"""The client for asyncio: the same questions, answers and errors as the blocking one, over gRPC and REST."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest
import trustme

from pipeline.errors import ConfigError, ConvoyError, DataError, ServerError
from serving import client as blocking
from serving.async_client import AsyncClient, connect
from serving.client import ClientSettings, DeadlineExceeded, RequestRefused, Tls, Unavailable
from serving.remote.settings import ClientSettings as Settings
from tests.serving.client.conftest import QUICK, Letters
from tests.serving.client.servers import BAD, GENEROUS, SERVERS, Script, grpc_letters, rest_letters, scores
from tests.serving.client.test_client import PICTURES

Found = TypeVar("Found")


def asked(
    url: str, question: Callable[[AsyncClient], Awaitable[Found]], *, signature: str = "serving_default", **more: Any
) -> Found:
    """What a client of `letters` answers to a question, in an event loop of its own."""

    async def ask() -> Found:
        async with connect(url, "letters", signature=signature, settings=replace(QUICK, **more)) as client:
            return await question(client)

    return asyncio.run(ask())


def test_predictions_are_arrays_by_name_in_the_order_of_the_pictures(letters: Letters) -> None:
    found = asked(letters.url, lambda client: client.predict(PICTURES), batch_size=4, concurrency=2)
    assert sorted(letters.script.batches) == [2, 4, 4]
    np.testing.assert_array_equal(found["scores"], np.array([scores(one) for one in PICTURES], np.float32))
    assert found["length"].tolist() == [len(one) for one in PICTURES]


def test_both_clients_say_the_same(letters: Letters) -> None:
    examples = [{"image": b"\xff\xfe", "age": 3, "weight": [1.5, 2.0]}]

    async def everything(client: AsyncClient) -> list[Any]:
        return [
            await client.status(),
            await client.metadata(),
            await client.signature(),
            await client.classify(examples),
            await client.regress([{"x": 1.5}]),
            (await client({"image_bytes": np.array(PICTURES, object)}))["length"].tolist(),
        ]

    with letters.connect() as client:
        same = [client.status(), client.metadata(), client.signature, client.classify(examples)]
        same += [client.regress([{"x": 1.5}]), client.predict(PICTURES)["length"].tolist()]
    assert asked(letters.url, everything) == same


def test_several_requests_are_under_way_at_once_and_no_more(letters: Letters) -> None:
    async def ask(client: AsyncClient) -> None:
        await client.signature()
        letters.script.together = 3
        await client.predict(PICTURES[:6])

    asked(letters.url, ask, batch_size=1, concurrency=3)
    assert letters.script.most_at_once == 3


def test_what_is_unavailable_is_asked_again_and_nothing_else(letters: Letters) -> None:
    async def ask(client: AsyncClient) -> None:
        await client.signature()
        letters.script.failures += [("UNAVAILABLE", "full queue")] * 3
        await client.predict(PICTURES[:1])
        assert letters.script.batches == [1] * 4
        letters.script.failures += [("UNAVAILABLE", "full queue")] * 4
        with pytest.raises(Unavailable, match=r"Predict of letters at .*: UNAVAILABLE: full queue\. ") as caught:
            await client.predict(PICTURES[:1])
        assert (caught.value.code, caught.value.said) == ("UNAVAILABLE", "full queue")
        letters.script.failures.append(("INTERNAL", "for a reason"))
        with pytest.raises(ServerError, match="for a reason"):
            await client.predict(PICTURES[:1])
        assert len(letters.script.batches) == 9

    asked(letters.url, ask, attempts=4)


def test_after_an_error_hardly_any_batch_is_sent(letters: Letters) -> None:
    async def ask(client: AsyncClient) -> None:
        await client.signature()
        letters.script.failures.append(("INTERNAL", "broken"))
        with pytest.raises(ServerError, match="broken"):
            await client.predict(PICTURES)

    asked(letters.url, ask, batch_size=1, concurrency=1)
    assert len(letters.script.batches) <= 3


def test_a_request_is_prepared_once_and_sent_many_times(letters: Letters) -> None:
    async def ask(client: AsyncClient) -> None:
        call = await client.prepared({"image_bytes": [PICTURES[0], PICTURES[1]]})
        answers = await asyncio.gather(*(client.send(call, GENEROUS) for _ in range(5)))
        for answer in answers:
            assert call.read(answer)["length"].tolist() == [len(PICTURES[0]), len(PICTURES[1])]
        letters.script.failures.append(("UNAVAILABLE", "once"))
        with pytest.raises(Unavailable, match="once"):
            await client.send(call, GENEROUS)

    asked(letters.url, ask)
    assert letters.script.batches == [2] * 6


def test_the_deadline_holds_for_the_answer(letters: Letters) -> None:
    async def ask(client: AsyncClient) -> None:
        await client.signature()
        letters.script.seconds = 4.0
        with pytest.raises(DeadlineExceeded, match=r"Predict of letters at .*DEADLINE_EXCEEDED"):
            await client.predict(PICTURES[:1])
        call = await client.prepared({"image_bytes": PICTURES[:1]})
        with pytest.raises(DeadlineExceeded):
            await client.send(call, 0.0)

    asked(letters.url, ask, timeout=1.0)


def test_a_deadline_over_rest_is_not_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By aiohttp's own reckoning of when a timeout that begins at 100.3 s of its clock is over."""
    import aiohttp
    from aiohttp.helpers import calculate_timeout_when

    given: list[aiohttp.ClientTimeout] = []
    request = aiohttp.ClientSession.request

    def noting(session: Any, *arguments: Any, timeout: aiohttp.ClientTimeout, **more: Any) -> Any:
        given.append(timeout)
        return request(session, *arguments, timeout=timeout, **more)

    monkeypatch.setattr(aiohttp.ClientSession, "request", noting)
    with SERVERS["rest"](Script()) as url:
        asked(url, lambda client: client.status(), timeout=30.2)
    (one,) = given
    assert one.total is not None and 5 < one.total <= 30.2
    assert calculate_timeout_when(100.3, one.total, one.ceil_threshold) == 100.3 + one.total


def test_a_server_is_waited_for(letters: Letters) -> None:
    letters.script.failures += [("NOT_FOUND", "Servable not found"), ("UNAVAILABLE", "starting")]
    assert asked(letters.url, lambda client: client.wait_until_ready(GENEROUS)).version == 7
    letters.script.failures += [("NOT_FOUND", "Servable not found")] * 1000
    with pytest.raises(Unavailable, match=r"was not ready within 0\.5 seconds\. .*Servable not found"):
        asked(letters.url, lambda client: client.wait_until_ready(0.5))
    letters.script.failures[:] = [("INTERNAL", "broken")]
    with pytest.raises(ServerError, match="INTERNAL: broken"):
        asked(letters.url, lambda client: client.wait_until_ready(GENEROUS))


def test_what_does_not_fit(letters: Letters) -> None:
    with pytest.raises(ConfigError, match=r"no signature 'serving_defualt'. Did you mean 'serving_default'?"):
        asked(letters.url, lambda client: client.predict(PICTURES), signature="serving_defualt")
    with pytest.raises(DataError, match="expected one input of strings"):
        asked(letters.url, lambda client: client.predict(PICTURES), signature="odd")
    with pytest.raises(DataError, match=r"The picture number 1 cannot be sent: the file is empty"):
        asked(letters.url, lambda client: client.predict([PICTURES[0], b""]))
    with pytest.raises(RequestRefused, match="cannot decode"):
        asked(letters.url, lambda client: client({"image_bytes": [BAD]}))
    with pytest.raises(ConfigError, match="Nothing says what the answers mean"):
        asked(letters.url, lambda client: client.answers(PICTURES))


def test_headers_go_along(letters: Letters) -> None:
    asked(letters.url, lambda client: client.status(), headers={"Authorization": "Bearer abc"})
    assert letters.script.headers["authorization"] == "Bearer abc"


@pytest.mark.parametrize(
    "url", ["grpc://127.0.0.1:1", "http://127.0.0.1:1", "http://no-such-host.invalid:80", "http://no..host:80"]
)
def test_nobody_there(url: str) -> None:
    with pytest.raises(Unavailable, match=r"Status of letters at .*UNAVAILABLE: .*Is the server running there"):
        asked(url, lambda client: client.status(), attempts=2, timeout=20.0)


def test_connections_that_break_and_answers_of_another_server() -> None:
    script = Script()
    with SERVERS["rest"](script) as url:
        script.failures += [("CUT", ""), ("CUT", "")]
        assert asked(url, lambda client: client.metadata()).version == 7
        script.failures.append(("PAGE", "<html><body>Bad\n gateway</body></html>"))
        with pytest.raises(ServerError, match=r"INTERNAL: <html><body>Bad gateway</body></html>"):
            asked(url, lambda client: client.metadata())
        script.failures.append(("OTHER", "[]"))
        with pytest.raises(ServerError, match="this is not TF Serving's answer: "):
            asked(url, lambda client: client.metadata())


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_tls_with_certificates_of_both_sides(scheme: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    files = {name: tmp_path / f"{name}.pem" for name in ("authority", "key", "certificate")}
    own = authority.issue_cert("client.example.org")
    authority.cert_pem.write_to_path(str(files["authority"]))
    own.private_key_pem.write_to_path(str(files["key"]))
    own.cert_chain_pems[0].write_to_path(str(files["certificate"]))
    server = authority.issue_cert("models.example.org")
    tls = Tls(files["authority"], files["certificate"], files["key"], "models.example.org")
    running = _grpcs(server, authority) if scheme == "grpcs" else _https(server, authority)
    with running as url:
        assert asked(url, lambda client: client.metadata(), tls=tls).version == 7
        with pytest.raises(Unavailable):
            asked(url, lambda client: client.metadata(), tls=replace(tls, server_name="other.example.org"), attempts=1)
        with pytest.raises(ConfigError, match="belong together"):
            connect(url, "letters", settings=Settings(tls=Tls(certificate=files["certificate"])))


def _grpcs(server: trustme.LeafCert, authority: trustme.CA) -> Any:
    pairs = [(server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())]
    root = authority.cert_pem.bytes()
    return grpc_letters(Script(), grpc.ssl_server_credentials(pairs, root, require_client_auth=True))


def _https(server: trustme.LeafCert, authority: trustme.CA) -> Any:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return rest_letters(Script(), context)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ConvoyError, match=r"aiohttp.*pip install 'convoy\[async\]'"):
        connect("http://127.0.0.1:1")
    assert connect("grpc://127.0.0.1:1").target.name == "default"


def test_it_takes_what_the_blocking_client_takes() -> None:
    import inspect

    assert inspect.signature(connect).parameters.keys() == inspect.signature(blocking.connect).parameters.keys()
    questions = {name for name in vars(blocking.Client) if not name.startswith("_")}
    assert questions <= {name for name in vars(AsyncClient) if not name.startswith("_")}
    assert ClientSettings is Settings
