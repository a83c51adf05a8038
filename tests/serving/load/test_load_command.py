"""`convoy load` as its user meets it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.cli import execute
from pipeline.errors import ConfigError, DataError, ServerError, StorageError
from pipeline.pictures_to_send import pictures_in
from serving.load.requests import picture_requests, rows_from, written_request
from serving.remote.values import Signature, TensorSpec
from tests.serving.client.conftest import Letters, letters, running
from tests.serving.client.test_client import PICTURES
from tests.serving.client.test_light import CONVOY, client_distributions, modules_outside, python

__all__ = ["letters", "running"]

ONE_INPUT = Signature("predict", {"x": TensorSpec("float32", (None,))})
TWO_INPUTS = Signature("predict", {"x": TensorSpec("float32", (None,)), "text": TensorSpec("bytes", (None,))})


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, data in enumerate(PICTURES):
        (folder / f"{number}.png").write_bytes(data)
    return folder


def loaded(letters: Letters, folder: Path, *arguments: str) -> tuple[int, Path]:
    url = f"{letters.url}/v1/models/letters"
    return execute(["load", url, "--rate", "40", "--seconds", "0.5", "-o", str(folder), *arguments]), folder


def test_a_load_leaves_figures_every_request_and_a_plot(
    letters: Letters, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ("--pictures", str(pictures), "--arrivals", "constant", "--json", "--max-error-share", "0")
    code, folder = loaded(letters, tmp_path / "load", *options)
    document = json.loads(capfd.readouterr().out)
    assert code == 0
    assert (document["requests"], document["answered"], document["errors"]) == (20, 20, {})
    assert [Path(file).name for file in document["files"]] == ["load.json", "requests.csv", "load.png"]
    assert json.loads((folder / "load.json").read_text())["latency_ms"] == document["latency_ms"]
    lines = list(csv.DictReader((folder / "requests.csv").open()))
    assert [float(line["due_s"]) for line in lines] == [number / 40 for number in range(20)]
    slowest = max(float(line["latency_ms"]) for line in lines)
    assert slowest == pytest.approx(document["latency_ms"]["max"], rel=1e-4)
    with Image.open(folder / "load.png") as plot:
        assert plot.format == "PNG" and plot.width > 800


def test_limits_that_are_missed_are_exit_code_6_and_everything_is_written(
    letters: Letters, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    letters.script.seconds = 0.02
    code, folder = loaded(letters, tmp_path / "load", "--pictures", str(pictures), "--max-p99-ms", "10")
    told = capfd.readouterr()
    assert code == 6 and (folder / "load.png").is_file()
    assert "misses its limits under steady 40/s for 0.5 s" in told.err and "(limit 10 ms)" in told.err
    assert "requests in" in told.out and "p99.9" in told.out


def test_an_error_share_is_a_limit_too(letters: Letters, pictures: Path, tmp_path: Path) -> None:
    arguments = ("--pictures", str(pictures / "0.png"), "-q")
    assert loaded(letters, tmp_path / "load", *arguments, "--max-error-share", "0")[0] == 0
    letters.script.seconds = 0.3
    arguments = (*arguments, "--timeout", "1", "--max-in-flight", "1", "--max-error-share", "0.1")
    assert loaded(letters, tmp_path / "load", *arguments)[0] == 6
    assert set(json.loads((tmp_path / "load" / "load.json").read_text())["errors"]) & {"DEADLINE_EXCEEDED", "NOT_SENT"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--rate", "0"], 2, "rate: Input should be greater than 0"),
        (["--profile", "ramp"], 2, "The profile ramp cannot be made: peak is missing"),
        (["--profile", "ramps"], 2, "'ramps' is not one of"),
        (["--pictures", "EMPTY"], 3, "holds no pictures"),
        (["--pictures", "nowhere"], 3, "There is no picture nowhere"),
        (["--request", "REQUEST"], 2, "not both"),
        (["--model", "other", "--signature", "no"], 2, "has no signature 'no'"),
    ],
)
def test_bad_input(
    letters: Letters,
    pictures: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "request.json").write_text("{}")
    places = {"EMPTY": str(tmp_path / "empty"), "REQUEST": str(tmp_path / "request.json")}
    named = [] if "--pictures" in arguments else ["--pictures", str(pictures)]
    given = [*named, *(places.get(one, one) for one in arguments)]
    assert loaded(letters, tmp_path / "load", *given)[0] == code
    assert said in capfd.readouterr().err
    assert not (tmp_path / "load").exists()


def test_nothing_to_send(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert execute(["load", "grpc://127.0.0.1:1"]) == ConfigError.exit_code
    assert "Say what is to be sent: --pictures PLACE" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("grpc://127.0.0.1:1", "Is the server running there"),
        ("http://127.0.0.1:1", "Is the server running there"),
        ("https://:8501", "names no host"),
        ("127.0.0.1:8500", "is no URL of a server"),
    ],
)
def test_no_server(server: str, said: str, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = execute(["load", server, "--pictures", str(pictures), "--timeout", "2", "-o", str(tmp_path / "load")])
    assert code == (9 if server.endswith("127.0.0.1:1") else 2)
    assert said in capfd.readouterr().err


def test_a_light_installation_loads_over_grpc_and_leaves_the_plot_out(
    letters: Letters, pictures: Path, tmp_path: Path
) -> None:
    refused = json.dumps(modules_outside(client_distributions()))
    url, folder = f"{letters.url}/v1/models/letters", tmp_path / "load"
    options = ["--rate", "20", "--seconds", "0.5", "--pictures", str(pictures), "-o", str(folder)]
    done = python(CONVOY, refused, "load", url, *options)
    if url.startswith("http"):
        assert done.returncode == 1 and "pip install 'convoy[async]'" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert "no plot was drawn: No module named 'matplotlib'. It needs: pip install matplotlib" in done.stderr
    assert sorted(file.name for file in folder.iterdir()) == ["load.json", "requests.csv"]


def test_a_request_may_be_written_down_in_rows_or_columns(tmp_path: Path) -> None:
    def read(document: Any, signature: Signature) -> dict[str, list[Any]]:
        (tmp_path / "request.json").write_text(json.dumps(document))
        return {name: array.tolist() for name, array in written_request(tmp_path / "request.json", signature).items()}

    assert read({"instances": [1.5, 2.5]}, ONE_INPUT) == {"x": [1.5, 2.5]}
    assert read({"instances": [{"x": 1.5}]}, ONE_INPUT) == {"x": [1.5]}
    assert read({"inputs": [1.5]}, ONE_INPUT) == {"x": [1.5]}
    both = {"x": [1.5, 2.5], "text": [b"a", b"\xff"]}
    assert read({"inputs": {"x": [1.5, 2.5], "text": ["a", {"b64": "/w=="}]}}, TWO_INPUTS) == both
    assert read({"instances": [{"x": 1.5, "text": "a"}, {"x": 2.5, "text": {"b64": "/w=="}}]}, TWO_INPUTS) == both
    for wrong, said in (
        ({"instances": [{"y": 1}]}, "'x' is missing"),
        ({"inputs": {}}, "'x' is missing"),
        ({"rows": 1}, "'instances' is missing"),
        ({"instances": []}, "`instances` holds no row"),
        ({"instances": ["a"]}, "The input x is no array of float32: .*"),
        ([], ".*"),
        (5, ".*"),
    ):
        with pytest.raises(DataError, match=rf"is no request that fits the model: {said}\. .*for x float32 \['\?'\]"):
            read(wrong, ONE_INPUT)
    with pytest.raises(DataError, match="the signature takes no inputs"):
        read({"inputs": [1]}, Signature("predict", {}))


@pytest.mark.parametrize("inputs", [{"x": np.zeros((0, 3))}, {"x": np.zeros(2), "y": np.array(5.0)}])
def test_no_request_can_be_made_of_no_rows(inputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataError, match=r"The input '[xy]' has no rows \(shape \[.*\]\), but a request of 4"):
        rows_from(inputs, 0, 4)


@pytest.mark.parametrize(("written", "said"), [("other", True), ("serving_default", False), (None, False)])
def test_a_request_for_another_signature_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], written: str | None, said: bool
) -> None:
    content = {"inputs": [1.0], **({"signature_name": written} if written else {})}
    (tmp_path / "request.json").write_text(json.dumps(content))
    options = ["--request", str(tmp_path / "request.json"), "--timeout", "1", "-o", str(tmp_path / "load")]
    assert execute(["load", "grpc://127.0.0.1:1", *options]) == ServerError.exit_code
    assert ("is for the signature 'other'; its inputs go to 'serving_default'" in capfd.readouterr().err) is said


@pytest.mark.parametrize("place", ["taken", "taken/below/it"])
def test_an_output_that_cannot_be_written_is_told_before_the_load(
    letters: Letters, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / "taken").write_text("a file")
    code, folder = loaded(letters, tmp_path / place, "--pictures", str(pictures))
    assert code == StorageError.exit_code
    assert f"Cannot write into {folder}: {tmp_path / 'taken'} is a file. Give a folder." in capfd.readouterr().err
    assert letters.script.came == [] and (tmp_path / "taken").read_text() == "a file"


def test_rows_begin_anew_behind_the_last() -> None:
    inputs = {"x": np.array([1, 2, 3]), "y": np.eye(3)}
    found = rows_from(inputs, 2, 5)
    assert found["x"].tolist() == [3, 1, 2, 3, 1]
    np.testing.assert_array_equal(found["y"], np.eye(3)[[2, 0, 1, 2, 0]])


def test_pictures_become_pixels_where_the_signature_takes_them() -> None:
    signature = Signature("predict", {"image": TensorSpec("uint8", (None, 6, 5, 3))})
    (first, second) = picture_requests(PICTURES[:4], signature, 3)
    assert first["image"].shape == (3, 6, 5, 3) and first["image"].dtype == np.uint8
    np.testing.assert_array_equal(second["image"][1], first["image"][0])
    grey = Signature("predict", {"image": TensorSpec("float32", (None, None, None, 1))})
    (request,) = picture_requests([PICTURES[0]], grey, 1)
    assert request["image"].shape == (1, 3, 4, 1) and request["image"].dtype == np.float32


def test_pictures_are_spread_over_what_there_is(pictures: Path) -> None:
    assert pictures_in([pictures], 100) == PICTURES
    assert pictures_in([pictures], 3) == [PICTURES[0], PICTURES[4], PICTURES[9]]
    assert pictures_in([pictures / "3.png", pictures / "5.png"], 100) == [PICTURES[3], PICTURES[5]]
