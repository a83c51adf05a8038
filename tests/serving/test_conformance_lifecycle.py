"""The life of models and versions as TF Serving was seen to do it: a script for each case of the shared file."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2

from pipeline import cli
from pipeline.errors import ConfigError, ConvoyError
from serving.local.model_config import one_model, read_config
from serving.local.server import Server
from serving.local.settings import ServerOptions
from tests.serving.conftest import conformance
from tests.serving.running import (
    SECONDS,
    Running,
    config_of,
    eventually,
    floats,
    predict_request,
    put_version,
    running,
    write_warm_up,
)

Script = Callable[["Place"], None]


@dataclass(frozen=True)
class Place:
    """Where a script works: the shared models, a folder of its own, and what the server has said so far."""

    models: Path
    folder: Path
    said: Callable[[], str]

    def put(self, number: int | str, of: str = "scale/1", to: str = "m") -> Path:
        """Adds a version of a shared model to the base path `to`."""
        return put_version(self.models / of, self.folder / to, number)

    @contextmanager
    def serving(self, **options: Any) -> Iterator[Running]:
        """A server on the base path `m`."""
        with running(one_model(str(self.folder / "m"), "m"), **options) as server:
            yield server

    def written(self, config: Any, name: str = "models.config") -> Path:
        """A configuration as text file."""
        file = self.folder / name
        file.with_suffix(".new").write_text(text_format.MessageToString(config))
        return file.with_suffix(".new").rename(file)

    def batching(self, text: str) -> Path:
        """A file of batching parameters."""
        file = self.folder / "batching.config"
        file.write_text(text)
        return file


def fs_new_version_picked_up(place: Place) -> None:
    place.put(1)
    with place.serving() as server:
        assert server.predict("m", x=floats(3))["y"].tolist() == [3]
        answers, stop = [], threading.Event()

        def ask() -> None:
            while not stop.is_set():
                answers.append(server.predict("m", x=floats(3))["y"].item())

        asking = threading.Thread(target=ask)
        asking.start()
        place.put(2, of="scale/2")
        eventually(lambda: server.states("m") == {2: "AVAILABLE", 1: "END"})
        eventually(lambda: answers[-1] == 6)
        stop.set()
        asking.join()
        assert set(answers) == {3.0, 6.0}


def fs_non_numeric_dir_ignored(place: Place) -> None:
    place.put(1)
    for name in ("tmp-2", "v3", "1.0"):
        place.put(name)
    with place.serving() as server:
        assert server.states("m") == {1: "AVAILABLE"}
        assert server.predict("m", x=floats(3))["y"].tolist() == [3]


def fs_no_numeric_dir(place: Place) -> None:
    place.put("v1")
    _waits_without_ports(place, "Did you forget to name your leaf directory as a number", lambda: place.put(1))


def fs_missing_base_path(place: Place) -> None:
    _waits_without_ports(place, "Could not find base path", lambda: place.put(1))


def fs_latest_removed_rolls_back(place: Place) -> None:
    place.put(1)
    place.put(2, of="scale/2")
    with place.serving() as server:
        assert server.states("m") == {2: "AVAILABLE"}
        shutil.rmtree(place.folder / "m" / "2")
        eventually(lambda: server.states("m") == {2: "END", 1: "AVAILABLE"})
        assert server.predict("m", x=floats(3))["y"].tolist() == [3]


def fs_base_path_emptied(place: Place) -> None:
    place.put(1)
    with place.serving(rest_port=0) as server:
        shutil.rmtree(place.folder / "m" / "1")
        eventually(lambda: server.states("m") == {1: "END"})
        with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Latest\(m\)") as caught:
            server.predict("m", x=floats(3))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert server.rest("/v1/models/m:predict", {"instances": [3.0]})[0] == 404


def fs_half_copied_version(place: Place) -> None:
    place.put(1, of="scale/2")
    with place.serving() as server:
        half = place.folder / "m" / "2"
        half.mkdir()
        shutil.copy(place.models / "scale/2/saved_model.pb", half)
        eventually(lambda: server.states("m") == {2: "AVAILABLE", 1: "END"})
        _fails(server, grpc.StatusCode.FAILED_PRECONDITION, "Could not find variable")
        shutil.copytree(place.models / "scale/2/variables", half / "variables")
        _fails(server, grpc.StatusCode.FAILED_PRECONDITION, "Could not find variable")
    assert "half copied" in place.said()


def config_reload_replaces_model(place: Place) -> None:
    two, three = (place.models / f"saved_model_half_plus_{name}" for name in ("two_cpu", "three"))
    file = place.written(config_of({"half_plus_two": two}))
    with _polled(file, 0.1) as server:
        assert server.predict("half_plus_two", x=floats(2))["y"].tolist() == [3]
        place.written(config_of({"half_plus_three": three}))
        eventually(lambda: server.states("half_plus_three") == {123: "AVAILABLE"})
        assert server.predict("half_plus_three", x=floats(2))["y"].tolist() == [4]
        eventually(lambda: server.states("half_plus_two") == {123: "END"})
        with pytest.raises(grpc.RpcError, match="Servable not found"):
            server.predict("half_plus_two", x=floats(2))


def config_no_poll_when_zero(place: Place) -> None:
    file = place.written(config_of({"a": place.models / "scale"}))
    with _polled(file, 0) as server:
        place.written(config_of({"b": place.models / "scale"}))
        place.put(1, to="other")
        assert [thread.name for thread in threading.enumerate() if "_poll_config" in thread.name] == []
        assert server.predict("a", x=floats(1))["y"].tolist() == [10]
        assert server.states("b") == {}


def config_bad_file(place: Place) -> None:
    file = place.folder / "models.config"
    file.write_text("improperly formatted file")
    assert cli.execute(["serve", str(file), "--grpc-port", "0", "--rest-port", "0"]) == ConfigError.exit_code
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in place.said()


def config_duplicate_model_name(place: Place) -> None:
    config = config_of({"X": place.models / "scale"})
    config.model_config_list.config.append(config.model_config_list.config[0])
    with pytest.raises(ConfigError, match="INVALID_ARGUMENT: Illegal to list model X multiple times in config list"):
        _start(config)


def config_label_for_unloaded_version_at_start(place: Place) -> None:
    config = config_of({"X": place.models / "scale"}, stable=1)
    expected = "FAILED_PRECONDITION: Request to assign label to version 1 of model X, which is not currently available"
    with pytest.raises(ConfigError, match=expected):
        _start(config)


def warmup_too_many_records(place: Place) -> None:
    write_warm_up(place.put(1), [_record(x=floats(1))] * 1001)
    _does_not_load(place, r"INVALID_ARGUMENT: Number of warmup records exceeds the maximum \(1000\) at .*/m/1/assets")


def warmup_not_tfrecord(place: Place) -> None:
    write_warm_up(version := place.put(1), [])
    (version / "assets.extra" / "tf_serving_warmup_requests").write_text("plain text, and a good deal of it")
    _does_not_load(place, r"DATA_LOSS: .*Please verify your warmup data is in TFRecord format\.")


def warmup_request_fails(place: Place) -> None:
    write_warm_up(place.put(1), [_record(x=floats(1)), _record(z=floats(1))])
    _does_not_load(place, "input alias: x|Sent extra: {z}")


def warmup_1000_records_ok(place: Place) -> None:
    write_warm_up(place.put(1), [_record(x=floats(1))] * 1000)
    with place.serving() as server:
        assert server.predict("m", x=floats(3))["y"].tolist() == [3]


def warmup_model_name_ignored(place: Place) -> None:
    write_warm_up(place.put(1), [_record("somebody else", x=floats(1))])
    with place.serving() as server:
        assert server.predict("m", x=floats(3))["y"].tolist() == [3]


def batch_too_large(place: Place) -> None:
    place.put(1)
    with place.serving(rest_port=0, batching=place.batching("max_batch_size { value: 4 }")) as server:
        assert server.predict("m", x=floats(1, 2, 3, 4))["y"].tolist() == [1, 2, 3, 4]
        _refuses(
            server, {"instances": [1.0, 2.0, 3.0, 4.0, 5.0]}, "Task size 5 is larger than maximum input batch size 4"
        )


def batch_scalar_input(place: Place) -> None:
    place.put(1)
    with place.serving(rest_port=0, batching=place.batching("")) as server:
        _refuses(server, {"inputs": 1.0}, "Batching Run() input tensors must have at least one dimension")


def batch_unequal_dim0(place: Place) -> None:
    place.put(1, of="multi2/1")
    with place.serving(rest_port=0, batching=place.batching("")) as server:
        body = {"inputs": {"int_tensor": [1, 2], "str_tensor": ["one"]}}
        _refuses(server, body, "Batching Run() input tensors must have equal 0th-dimension size")


def batch_scalar_output(place: Place) -> None:
    place.put(1, of="scalar_out/1")
    with place.serving(rest_port=0, batching=place.batching("")) as server:
        _refuses(server, {"inputs": [1.0, 2.0]}, "Batched output tensor has 0 dimensions")


def batch_allowed_sizes_last_must_match(place: Place) -> None:
    place.put(1)
    file = place.batching("max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 4")
    expected = "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8"
    _does_not_load(place, expected, batching=file)


SCRIPTS: Mapping[str, Script] = {
    script.__name__: script
    for script in (
        *(fs_new_version_picked_up, fs_non_numeric_dir_ignored, fs_no_numeric_dir, fs_missing_base_path),
        *(fs_latest_removed_rolls_back, fs_base_path_emptied, fs_half_copied_version),
        *(config_reload_replaces_model, config_no_poll_when_zero, config_bad_file, config_duplicate_model_name),
        *(config_label_for_unloaded_version_at_start, warmup_too_many_records, warmup_not_tfrecord),
        *(warmup_request_fails, warmup_1000_records_ok, warmup_model_name_ignored),
        *(batch_too_large, batch_scalar_input, batch_unequal_dim0, batch_scalar_output),
        batch_allowed_sizes_last_must_match,
    )
}


@pytest.mark.parametrize("case", conformance("lifecycle"))
def test_models_live_as_in_tf_serving(
    case: Any, serving_models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def all_said() -> str:
        said.append("".join(capfd.readouterr()))
        return "".join(said)

    SCRIPTS[case["name"]](Place(serving_models, tmp_path, all_said))


def _start(config: Any, **options: Any) -> None:
    with running(config, **options):
        pytest.fail("the server started")


def _does_not_load(place: Place, expected: str, **options: Any) -> None:
    """The version is tried again, then the start fails with the reason."""
    with pytest.raises(ConvoyError, match=r"UNKNOWN: 1 servable\(s\) did not become available: ") as caught:
        _start(one_model(str(place.folder / "m"), "m"), max_load_retries=1, load_retry_seconds=0, **options)
    caught.match(expected)
    assert place.said().count("Loading servable: {name: m version: 1} failed") == 2


def _waits_without_ports(place: Place, warning: str, mend: Callable[[], object]) -> None:
    port = _free_port()
    options = ServerOptions(grpc_port=port, rest_port=None, file_poll_seconds=0.1)
    server = Server(one_model(str(place.folder / "m"), "m"), options)
    ports: list[Any] = []
    starting = threading.Thread(target=lambda: ports.append(server.start()))
    starting.start()
    try:
        eventually(lambda: place.said().count(warning) >= 2)
        assert starting.is_alive() and not _listens(port)
        mend()
        starting.join(SECONDS)
        assert ports[0].grpc == port and _listens(port)
    finally:
        server.stop()


@contextmanager
def _polled(file: Path, seconds: float) -> Iterator[Running]:
    options = ServerOptions(grpc_port=0, rest_port=None, file_poll_seconds=0.1, config_poll_seconds=seconds)
    server = Server(read_config(file), options)
    try:
        ports = server.start(file)
        assert ports is not None
        yield Running(server, ports.grpc, None)
    finally:
        server.stop()


def _fails(server: Running, code: grpc.StatusCode, text: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.predict("m", x=floats(3))
    assert caught.value.code() is code
    assert text in caught.value.details()


def _refuses(server: Running, body: Mapping[str, Any], error: str) -> None:
    status, answer = server.rest("/v1/models/m:predict", body)
    assert status == 400
    assert error in answer["error"]


def _record(model: str = "m", **inputs: Any) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request(model, **inputs))
    return bytes(log.SerializeToString())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
