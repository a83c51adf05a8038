"""The client and `convoy predict --server` against `convoy serve`."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme
from PIL import Image

from pipeline import predict as prediction
from pipeline.cli import execute
from pipeline.errors import ConfigError, DataError
from pipeline.predictors import SavedModelPredictor
from pipeline.run import Run
from serving.client import (
    Client,
    ClientSettings,
    ModelNotFound,
    RequestRefused,
    ServerError,
    Tls,
    Unavailable,
    connect,
)
from serving.remote.json_tensors import NOT_IN_JSON
from tests.serving.client.servers import SERVERS, Script, grpc_letters, rest_letters
from tests.serving.client.test_tensors import example, same
from tests.serving.running import Running, config_of, running
from tests.test_predict import pictures, run

__all__ = ["pictures", "run"]

IDENTITIES = (
    *("bool", "complex64", "float16", "float32", "float64", "int16", "int32", "int64", "int8"),
    *("string", "bytes", "uint32", "uint64", "uint8"),
)
SHAPES = [(), (1,), (3,), (2, 3)]
TRANSPORTS = ("grpc", "http")


def url_of(server: Running, scheme: str) -> str:
    return f"{scheme}://127.0.0.1:{server.grpc_port if scheme == 'grpc' else server.rest_port}"


def client_of(server: Running, scheme: str, model: str, **more: Any) -> Client:
    return connect(url_of(server, scheme), model, **more)


@pytest.fixture(scope="module")
def content_server(serving_models: Path) -> Iterator[Running]:
    """One that answers with `tensor_content`, as TF Serving does when it is told to."""
    models = {f"id_{name}": serving_models / f"id_{name}" for name in IDENTITIES}
    with running(config_of(models), tensor_content=True) as server:
        yield server


@pytest.fixture(scope="module")
def flowers(run: Run) -> Iterator[Running]:
    """The export of a Run."""
    with running(config_of({"flowers": run.saved_model}), rest_port=0) as server:
        yield server


@pytest.mark.parametrize("scheme", TRANSPORTS)
@pytest.mark.parametrize("name", IDENTITIES)
def test_every_type_comes_back_as_it_went(main_server: Running, name: str, scheme: str) -> None:
    dtype = "bytes" if name == "string" else name
    with client_of(main_server, scheme, f"id_{name}") as client:
        for shape in SHAPES:
            sent = example(dtype, shape, seed=len(shape))
            if name == "string" and scheme == "http":  # TF Serving writes it as text, which must be UTF-8
                sent = np.array([f"ä\n\0{value!r}".encode() for value in sent.ravel()], object).reshape(shape)
            if name in NOT_IN_JSON and scheme == "http":
                with pytest.raises(DataError, match="cannot be sent over REST"):
                    client({"default": sent})
                continue
            (found,) = client({"default": sent}).values()
            same(found, sent)


@pytest.mark.parametrize("name", IDENTITIES)
def test_every_type_comes_back_as_content(content_server: Running, name: str) -> None:
    with client_of(content_server, "grpc", f"id_{name}") as client:
        for shape in SHAPES:
            sent = example("bytes" if name == "string" else name, shape)
            (found,) = client({"default": sent}).values()
            same(found, sent)


@pytest.mark.parametrize("scheme", TRANSPORTS)
def test_several_inputs_and_outputs(main_server: Running, scheme: str) -> None:
    inputs = {
        "bin_tensor": np.array([b"\xff\0", b"b"], object),
        "str_tensor": np.array([b"x", "ä".encode()], object),
        "int_tensor": [1, -2],
    }
    with client_of(main_server, scheme, "multi3") as client:
        found = client(inputs)
    assert {name: value.tolist() for name, value in found.items()} == {
        "bin_bytes": [b"\xff\0", b"b"],
        "str_tensor": [b"x", "ä".encode()],
        "int_tensor": [1, -2],
    }
    assert found["int_tensor"].dtype == np.int32


@pytest.mark.parametrize("scheme", TRANSPORTS)
def test_versions_and_labels(main_server: Running, scheme: str) -> None:
    answers = {}
    for chosen in ({}, {"version": 2}, {"label": "stable"}, {"label": "canary"}):
        with client_of(main_server, scheme, "scale", **chosen) as client:
            answers[str(chosen)] = (client.metadata().version, client({"x": [1.0, 2.0]})["y"].tolist())
            assert [one.version for one in client.status()] == ([2] if "version" in chosen else [10, 2, 1])
    versions = {chosen: version for chosen, (version, _) in answers.items()}
    assert versions == {"{}": 10, "{'version': 2}": 2, "{'label': 'stable'}": 1, "{'label': 'canary'}": 10}
    assert answers["{}"] == answers["{'label': 'canary'}"] and len({str(one[1]) for one in answers.values()}) == 3
    with client_of(main_server, scheme, "scale", version=99) as client, pytest.raises(ModelNotFound, match="99"):
        client({"x": [1.0]})
    with client_of(main_server, scheme, "scale", label="none") as client, pytest.raises(RequestRefused, match="label"):
        client({"x": [1.0]})
    with client_of(main_server, scheme, "skale") as client, pytest.raises(Unavailable, match=r"skale .*not ready"):
        client.wait_until_ready(0.3)


@pytest.mark.parametrize("scheme", TRANSPORTS)
def test_scalars_empty_rows_and_values_that_do_not_fit(main_server: Running, scheme: str) -> None:
    with client_of(main_server, scheme, "scalar_out") as client:
        found = client({"default": np.array([1.0, 2.5], np.float32)})["y"]
        assert (found.shape, found.dtype) == ((), np.float32)
    with client_of(main_server, scheme, "id_uint8") as client:
        with pytest.raises(DataError, match=r"holds 0 to 300, which does not fit uint8: a server would wrap"):
            client({"default": np.array([0, 300])})
        with pytest.raises(DataError, match="is float64, expected uint8"):
            client({"default": np.array([0.5])})
        assert client({"default": [1, 255]})["y"].tolist() == [1, 255]


def test_both_ways_agree_on_metadata(main_server: Running, serving_models: Path) -> None:
    for name in ("multi4", "scale", "clsreg", "half_plus_two_tf2", "default", "half_plus_three"):
        with client_of(main_server, "grpc", name) as one, client_of(main_server, "http", name) as other:
            assert one.metadata() == other.metadata()
            assert one.status() == other.status()


def test_both_ways_classify_and_regress_alike(main_server: Running) -> None:
    found = []
    for scheme in TRANSPORTS:
        with client_of(main_server, scheme, "default") as client:
            examples = [{"x": 1.1}, {"x": [7.3]}]
            found.append((client.classify(examples, "classify_x_to_y"), client.regress(examples, "regress_x_to_y")))
    assert found[0] == found[1]
    np.testing.assert_allclose(found[0][1], [2.55, 5.65], rtol=1e-6)  # half plus two


@pytest.mark.parametrize("scheme", TRANSPORTS)
def test_a_run_answers_behind_a_server_as_it_does_here(
    flowers: Running, run: Run, pictures: Path, tmp_path: Path, scheme: str
) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((9, 30), 80).convert("RGB").save(turned, exif=exif)
    Image.effect_noise((9, 9), 80).save(tmp_path / "other.webp")
    files = [*sorted(pictures.iterdir()), turned, tmp_path / "other.webp"]
    local = SavedModelPredictor(run.saved_model, "serving_default")
    settings = ClientSettings(batch_size=8)
    with client_of(flowers, scheme, "flowers", contract=run.export, settings=settings) as client:
        found = client.predict(files)["scores"]
        answers = client.answers(files)
    here = [answer.answer for answer in prediction.predict(run.export, files)]
    assert [one["label"] for one in answers] == [one["label"] for one in here]
    np.testing.assert_allclose([one["score"] for one in answers], [one["score"] for one in here], atol=1e-4)
    assert found.shape == (len(files), 3)
    raw = np.empty(2, object)
    raw[:] = [file.read_bytes() for file in files[:2]]
    np.testing.assert_allclose(found[:2], local({"image_bytes": raw})["scores"], rtol=1e-5)
    pixels = {"image": np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8, 1)}
    with client_of(flowers, scheme, "flowers", signature="images") as client:
        expected = SavedModelPredictor(run.saved_model)(pixels)["scores"]
        np.testing.assert_allclose(client(pixels)["scores"], expected, rtol=1e-5)
        with pytest.raises(DataError, match="The signature 'images' takes image uint8"):
            client.predict(files)


@pytest.mark.parametrize("scheme", TRANSPORTS)
def test_classify_of_an_export(flowers: Running, pictures: Path, scheme: str) -> None:
    data = [file.read_bytes() for file in sorted(pictures.iterdir())[:3]]
    with client_of(flowers, scheme, "flowers") as client:
        named = client.classify([{"image": one} for one in data])
        scores = client.predict(data)["scores"]
    assert [[label for label, _ in one] for one in named] == [["cat", "dog", "owl"]] * 3
    np.testing.assert_allclose([[score for _, score in one] for one in named], scores, rtol=1e-5)


@pytest.mark.parametrize("scheme", TRANSPORTS)
def test_a_contract_of_another_model(flowers: Running, run: Run, pictures: Path, tmp_path: Path, scheme: str) -> None:
    content = json.loads(run.contract.read_text(encoding="utf-8"))
    for change in ({"class_names": ["a", "b"]}, {"kind": "regression", "value_names": ["x"]}):
        task = {key: value for key, value in content["task"].items() if key in ("kind", "picture", "backbone")} | change
        (tmp_path / "contract.json").write_text(json.dumps({**content, "task": task}), encoding="utf-8")
        said = r"answers with scores \[1, 3\], which does not fit the contract"
        with (
            client_of(flowers, scheme, "flowers", contract=tmp_path / "contract.json") as client,
            pytest.raises(ConfigError, match=said),
        ):
            client.answers([pictures / "00.png"])


@pytest.fixture
def predicted(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """`convoy predict ARGUMENTS --json` -> its document, after a look at its exit code."""

    def command(*arguments: str | Path, code: int = 0) -> Any:
        assert execute(["predict", *map(str, arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return command


@pytest.mark.parametrize("scheme", TRANSPORTS)
def test_predict_with_a_server(
    flowers: Running, run: Run, pictures: Path, scheme: str, predicted: Callable[..., Any]
) -> None:
    server = f"{url_of(flowers, scheme)}/v1/models/flowers"
    here = predicted(run.export, pictures)["predictions"]
    for meaning in (run.path, run.export, run.contract):
        there = predicted("--server", server, meaning, pictures)["predictions"]
        assert [one["file"] for one in there] == [one["file"] for one in here]
        assert [one["label"] for one in there] == [one["label"] for one in here]
        np.testing.assert_allclose([one["score"] for one in there], [one["score"] for one in here], atol=1e-4)
    plain = predicted("--server", url_of(flowers, scheme), "--model", "flowers", pictures / "03.png")["predictions"]
    assert plain[0].keys() == {"file", "scores"}
    np.testing.assert_allclose(max(plain[0]["scores"]), here[3]["score"], atol=1e-4)


@pytest.mark.parametrize("scheme", TRANSPORTS)
def test_predict_names_the_pictures_that_the_server_refuses(
    flowers: Running, run: Run, pictures: Path, tmp_path: Path, scheme: str, predicted: Callable[..., Any]
) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes((pictures / "04.png").read_bytes()[:60])  # its head is whole, which is all that is looked at
    (tmp_path / "no.jpg").write_bytes(b"no picture")
    files = [pictures / "03.png", damaged, tmp_path / "no.jpg", pictures / "05.png"]
    found = predicted("--server", f"{url_of(flowers, scheme)}/v1/models/flowers", run.export, *files, code=3)
    assert ["label" in one for one in found["predictions"]] == [True, False, False, True]
    assert ["error" in one for one in found["predictions"]] == [False, True, True, False]
    assert "2 of 4 pictures cannot be read" in found["error"]["message"]


def test_predict_with_a_server_as_people_see_it(
    flowers: Running, run: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server, drawn = f"{url_of(flowers, 'grpc')}/v1/models/flowers", tmp_path / "drawn"
    assert (
        execute(["predict", "--server", server, str(run.export), str(pictures / "03.png"), "--draw", str(drawn)]) == 0
    )
    assert (drawn / "03.png").is_file()
    assert capsys.readouterr().out.split()[:3] == ["file", "answer", str(pictures / "03.png")]


def test_mistakes_with_a_server(flowers: Running, run: Run, pictures: Path, predicted: Callable[..., Any]) -> None:
    server = url_of(flowers, "http")
    said = predicted("--server", f"{server}/v1/models/flowers", run.export, code=2)["error"]["message"]
    assert said.startswith("`convoy predict` needs pictures")
    gone = predicted("--server", f"{server}/v1/models/flwers", pictures, code=9)["error"]
    assert (gone["kind"], gone["exit_code"]) == ("ModelNotFound", 9)
    assert "Is the name that of the server's configuration" in gone["message"]
    said = predicted(run.export, pictures, "--model", "flowers", code=2)["error"]["message"]
    assert said == "--model says how to ask a server, but there is no --server URL. Give it too."
    said = predicted("--server", server, run.export, pictures, "--tile", code=2)["error"]["message"]
    assert said == "--tile needs the model here, not on a server. Leave it or --server out."
    said = predicted(run.export, pictures, "--mirror", code=2)["error"]["message"]
    assert said.startswith("The task 'classification' answers for a picture as a whole: leave out --tile and --mirror")


def test_pictures_are_needed_without_a_server_too(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["predict", str(run.path)]) == 2
    assert "needs pictures" in capsys.readouterr().err


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`authority`, `server`, `server_key`, `client`, `client_key` and another `stranger`, PEM files."""
    folder, authority = tmp_path_factory.mktemp("certificates"), trustme.CA()
    server, client = authority.issue_cert("models.test"), authority.issue_cert("client.test")
    content = {
        "authority": authority.cert_pem,
        "server": server.cert_chain_pems[0],
        "server_key": server.private_key_pem,
        "client": client.cert_chain_pems[0],
        "client_key": client.private_key_pem,
        "stranger": trustme.CA().cert_pem,
    }
    for name, pem in content.items():
        pem.write_to_path(str(folder / f"{name}.pem"))
    return {name: folder / f"{name}.pem" for name in content}


def encrypted(kind: str, files: dict[str, Path], script: Script) -> Any:
    """A server that asks for a client's certificate."""
    if kind == "rest":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files["authority"])
        context.load_cert_chain(files["server"], files["server_key"])
        context.verify_mode = ssl.CERT_REQUIRED
        return rest_letters(script, context)
    pair = (files["server_key"].read_bytes(), files["server"].read_bytes())
    credentials = grpc.ssl_server_credentials([pair], files["authority"].read_bytes(), require_client_auth=True)
    return grpc_letters(script, credentials)


@pytest.mark.parametrize("kind", sorted(SERVERS))
def test_tls_in_both_directions(certificates: dict[str, Path], kind: str) -> None:
    files = certificates
    known = Tls(files["authority"], files["client"], files["client_key"], "models.test")
    with encrypted(kind, files, Script()) as url:
        with connect(url, "letters", settings=ClientSettings(tls=known)) as client:
            assert client.metadata().version == 7
        for tls in (
            Tls(files["authority"], server_name="models.test"),  # no certificate of its own
            Tls(files["authority"], files["client"], files["client_key"], "other.test"),
            Tls(files["stranger"], files["client"], files["client_key"], "models.test"),
        ):
            settings = ClientSettings(tls=tls, attempts=1, timeout=30.0)
            with connect(url, "letters", settings=settings) as client, pytest.raises(Unavailable):
                client.metadata()


def test_tls_of_convoy_serve(
    serving_models: Path, certificates: dict[str, Path], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {
        "tls_certificate": certificates["server"],
        "tls_key": certificates["server_key"],
        "tls_client_ca": certificates["authority"],
    }
    known = Tls(certificates["authority"], certificates["client"], certificates["client_key"], "models.test")
    with running(config_of({"m": serving_models / "id_float32"}), **options) as server:
        with connect(f"grpcs://127.0.0.1:{server.grpc_port}", "m", settings=ClientSettings(tls=known)) as client:
            assert client({"default": [1.5]})["y"].tolist() == [1.5]
        arguments = ["--authority", certificates["authority"], "--certificate", certificates["client"]]
        arguments += ["--key", certificates["client_key"], "--attempts", "2", pictures / "00.png"]
        url = f"grpcs://127.0.0.1:{server.grpc_port}/v1/models/m"
        assert execute(["predict", "--server", url, *map(str, arguments)]) == 9, "the certificate is for another name"


@pytest.mark.parametrize("scheme", TRANSPORTS)
def test_a_server_that_stops(serving_models: Path, scheme: str) -> None:
    with running(config_of({"m": serving_models / "id_float32"}), rest_port=0) as server:
        client = client_of(server, scheme, "m", settings=ClientSettings(attempts=2, first_wait=0.01))
        assert client({"default": [1.5]})["y"].tolist() == [1.5]
    with client, pytest.raises(ServerError) as caught:
        client({"default": [1.5]})
    assert caught.value.code == "UNAVAILABLE"
