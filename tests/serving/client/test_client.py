"""The client against real servers: the same answers, errors and repetitions over gRPC and REST."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ConfigError, ConvoyError, DataError, ServerError
from serving.client import (
    ClientSettings,
    DeadlineExceeded,
    ModelNotFound,
    RequestRefused,
    Signature,
    TensorSpec,
    Unavailable,
    VersionStatus,
    connect,
)
from tests.serving.client.conftest import QUICK, Letters
from tests.serving.client.servers import BAD, GENEROUS, SERVERS, Script, scores


def png(seed: int, size: tuple[int, int] = (4, 3)) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise(size, 10 + seed).save(stream, "PNG")
    return stream.getvalue()


PICTURES = [png(seed, (4 + seed, 3)) for seed in range(10)]


def test_predictions_are_arrays_by_name_in_the_order_of_the_pictures(letters: Letters) -> None:
    with letters.connect(batch_size=4, concurrency=2) as client:
        found = client.predict(PICTURES)
    assert sorted(letters.script.batches) == [2, 4, 4]
    assert {name: (value.dtype.name, value.shape) for name, value in found.items()} == {
        "scores": ("float32", (10, 3)),
        "length": ("int64", (10,)),
    }
    np.testing.assert_array_equal(found["scores"], np.array([scores(one) for one in PICTURES], np.float32))
    assert found["length"].tolist() == [len(one) for one in PICTURES]


def test_a_client_is_a_predictor(letters: Letters) -> None:
    data = np.empty(5, object)
    data[:] = PICTURES[:5]
    with letters.connect(batch_size=2) as client:
        found = client({"image_bytes": data, "image": np.zeros((5, 2, 2, 1), np.uint8)})
        assert found["length"].tolist() == [len(one) for one in data]
        assert sorted(letters.script.batches) == [1, 2, 2]
        with pytest.raises(DataError, match=r"needs the input 'image_bytes'. Did you mean 'image_byte'?"):
            client({"image_byte": data})


def test_files_and_pixels_are_encoded(letters: Letters, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(PICTURES[0])
    Image.effect_noise((9, 5), 40).save(tmp_path / "two.bmp")
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    with letters.connect() as client:
        found = client.predict([tmp_path / "one.png", tmp_path / "two.bmp", pixels])
        assert found["length"][0] == len(PICTURES[0])
        (tmp_path / "three.txt").write_text("no picture")
        with pytest.raises(DataError, match=r"The picture .*three\.txt cannot be sent: not a picture"):
            client.predict([tmp_path / "one.png", tmp_path / "three.txt"])
        with pytest.raises(DataError, match=r"The picture number 1 cannot be sent: the file is empty"):
            client.predict([PICTURES[0], b""])
        with pytest.raises(DataError, match="no picture to send"):
            client.predict([])


def test_several_requests_are_under_way_at_once(letters: Letters) -> None:
    with letters.connect(batch_size=1, concurrency=3) as client:
        client.signature  # noqa: B018
        letters.script.together = 3
        client.predict(PICTURES[:6])
    assert letters.script.most_at_once == 3


def test_what_is_unavailable_is_asked_again_and_nothing_else(letters: Letters) -> None:
    with letters.connect(attempts=4) as client:
        client.signature  # noqa: B018 asked and kept, so that only Predict is counted
        letters.script.failures += [("UNAVAILABLE", "full queue")] * 3
        client.predict(PICTURES[:1])
        assert letters.script.batches == [1] * 4
        letters.script.failures += [("UNAVAILABLE", "full queue")] * 4
        with pytest.raises(Unavailable, match=r"Predict of letters at .*: UNAVAILABLE: full queue\. ") as caught:
            client.predict(PICTURES[:1])
        assert (caught.value.code, caught.value.said) == ("UNAVAILABLE", "full queue")
        assert len(letters.script.batches) == 8
        for code, kind in (
            ("INVALID_ARGUMENT", RequestRefused),
            ("NOT_FOUND", ModelNotFound),
            ("RESOURCE_EXHAUSTED", ServerError),
            ("INTERNAL", ServerError),
        ):
            letters.script.failures.append((code, "for a reason"))
            with pytest.raises(kind, match="for a reason") as caught:
                client.predict(PICTURES[:1])
            assert (caught.value.code, caught.value.exit_code) == (code, 9)
        assert len(letters.script.batches) == 12


def test_after_an_error_hardly_any_batch_is_sent(letters: Letters) -> None:
    with letters.connect(batch_size=1, concurrency=1) as client:
        client.signature  # noqa: B018
        letters.script.failures.append(("INTERNAL", "broken"))
        with pytest.raises(ServerError, match="broken"):
            client.predict(PICTURES)
    assert len(letters.script.batches) <= 3, "what the other end of the pool took before the error was seen"


def test_the_deadline_holds_for_the_answer_and_for_all_repetitions(letters: Letters) -> None:
    with letters.connect(timeout=2.0) as client:
        client.signature  # noqa: B018
        letters.script.seconds = 4.0
        with pytest.raises(DeadlineExceeded, match=r"Predict of letters at .*DEADLINE_EXCEEDED"):
            client.predict(PICTURES[:1])
    letters.script.seconds = 0.0
    letters.script.batches.clear()
    letters.script.failures += [("UNAVAILABLE", "")] * 1000
    with (
        letters.connect(timeout=0.5, attempts=1000, first_wait=0.1, longest_wait=0.1) as client,
        pytest.raises((Unavailable, DeadlineExceeded)),
    ):
        client.predict(PICTURES[:1])
    assert len(letters.script.failures) >= 985, "at most 0.5 s with at least 0.05 s between two attempts"


def test_a_server_that_comes_later_is_waited_for() -> None:
    for start in SERVERS.values():
        with start(Script()) as url:
            pass  # its port is free again
        script = Script(failures=[("NOT_FOUND", "Servable not found for request: Latest(letters)")] * 2)
        stop, started = threading.Event(), threading.Event()

        def serve(start=start, url=url, script=script, stop=stop, started=started) -> None:
            time.sleep(0.3)
            with start(script, port=int(url.rpartition(":")[2])):
                started.set()
                stop.wait(GENEROUS)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with connect(url, "letters", settings=QUICK) as client:
                assert client.wait_until_ready(GENEROUS).version == 7
            assert started.is_set() and not script.failures
        finally:
            stop.set()
            thread.join()


def test_a_server_that_does_not_get_ready(letters: Letters) -> None:
    letters.script.failures += [("NOT_FOUND", "Servable not found")] * 1000
    with (
        letters.connect() as client,
        pytest.raises(Unavailable, match=r"letters at .* was not ready within 2 seconds\. .*Servable not found"),
    ):
        client.wait_until_ready(2.0)


@pytest.mark.parametrize("url", ["grpc://127.0.0.1:1", "http://127.0.0.1:1", "http://no-such-host.invalid:80"])
def test_nobody_there(url: str) -> None:
    settings = ClientSettings(timeout=20.0, attempts=2, first_wait=0.01)
    with (
        connect(url, "letters", settings=settings) as client,
        pytest.raises(Unavailable, match=r"Status of letters at .*UNAVAILABLE: .*Is the server running there"),
    ):
        client.status()


def test_state_and_signatures(letters: Letters) -> None:
    with letters.connect() as client:
        assert client.status() == [
            VersionStatus(7, "AVAILABLE"),
            VersionStatus(6, "END", "INVALID_ARGUMENT", "bad file"),
        ]
        found = client.metadata()
        assert found.version == 7
        assert found.signatures["serving_default"] == Signature(
            "tensorflow/serving/predict",
            {"image_bytes": TensorSpec("bytes", (None,))},
            {"length": TensorSpec("int64", (None,)), "scores": TensorSpec("float32", (None, 3))},
        )
        assert found.signatures["odd"].inputs["anything"].shape is None
    with (
        letters.connect(signature="serving_defualt") as client,
        pytest.raises(ConfigError, match=r"no signature 'serving_defualt'. Did you mean 'serving_default'?"),
    ):
        client.predict(PICTURES)
    with (
        letters.connect(signature="odd") as client,
        pytest.raises(DataError, match=r"The signature 'odd' takes anything .*expected one input of strings"),
    ):
        client.predict(PICTURES)


def test_classify_and_regress(letters: Letters) -> None:
    with letters.connect() as client:
        examples = [{"image": b"\xff\xfe", "age": 3, "weight": [1.5, 2.0]}, {"image": "text"}]
        third = float(np.float32(0.3))
        assert client.classify(examples) == [
            [("age int64_list", third), ("image bytes_list", third), ("weight float_list", third)],
            [("image bytes_list", third)],
        ]
        assert client.regress([{"x": 1.5}, {"x": np.array([0.25, 2.0])}]) == [1.5, 2.25]
        with pytest.raises(DataError, match=r"The feature 'mixed' is .*expected bytes or text"):
            client.classify([{"mixed": [1, "a"]}])


def test_headers_go_along(letters: Letters) -> None:
    with letters.connect(headers={"Authorization": "Bearer abc"}) as client:
        client.status()
    assert letters.script.headers["authorization"] == "Bearer abc"


def test_one_bad_picture_refuses_its_batch(letters: Letters) -> None:
    jpeg = io.BytesIO()
    Image.effect_noise((8, 8), 50).save(jpeg, "JPEG")
    damaged = jpeg.getvalue()[:-2] + BAD + b"\xff\xd9"  # whole to whom only reads its markers
    with (
        letters.connect(batch_size=2, concurrency=1) as client,
        pytest.raises(RequestRefused, match="cannot decode"),
    ):
        client.predict([*PICTURES[:3], damaged])
    assert letters.script.batches == [2, 2]


def test_answers_need_a_contract(letters: Letters) -> None:
    with letters.connect() as client, pytest.raises(ConfigError, match="Nothing says what the answers mean"):
        client.answers(PICTURES)


def test_connections_that_break_and_pages_that_are_no_json() -> None:
    script = Script()
    with SERVERS["rest"](script) as url, connect(url, "letters", settings=QUICK) as client:
        script.failures += [("CUT", ""), ("CUT", "")]
        assert client.metadata().version == 7
        script.failures.append(("PAGE", "<html><body>Bad\n gateway</body></html>"))
        with pytest.raises(ServerError, match=r"INTERNAL: <html><body>Bad gateway</body></html>"):
            client.metadata()


@pytest.mark.parametrize("content", ["[]", "{}", '{"model_spec": {"version": "x"}}', "<html></html>"])
def test_another_server_than_tf_serving(content: str) -> None:
    script = Script()
    with SERVERS["rest"](script) as url, connect(url, "letters", settings=QUICK) as client:
        client.signature  # noqa: B018
        for question in (
            client.metadata,
            client.status,
            lambda: client.predict(PICTURES[:1]),
            lambda: client.classify([{"x": 1}]),
            lambda: client.regress([{"x": 1.0}]),
        ):
            script.failures.append(("OTHER", content))
            with pytest.raises(ServerError, match="this is not TF Serving's answer: "):
                question()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "urllib3", None)
    monkeypatch.delitem(sys.modules, "serving.remote.rest_transport", raising=False)
    with pytest.raises(ConvoyError, match=r"urllib3.*pip install 'convoy\[client\]'"):
        connect("http://127.0.0.1:1")
