"""Models that come, go, fail and are replaced while requests go on; starts that fail; stops that lose nothing."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import model_management_pb2

from pipeline import cli
from pipeline.errors import ConfigError, ConvoyError
from serving.local.model_config import base_path_of, one_model
from tests.serving import made_models
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


def reload(server: Running, config: Any, *metrics: str) -> Any:
    request = model_management_pb2.ReloadConfigRequest(config=config, metric_names=metrics)
    return server.models.HandleReloadConfigRequest(request, timeout=SECONDS)


@contextmanager
def refused(code: grpc.StatusCode, message: str) -> Iterator[None]:
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert caught.value.code() is code
    assert message in caught.value.details()


def test_versions_are_switched_under_load_without_a_failed_request(serving_models: Path, tmp_path: Path) -> None:
    put_version(serving_models / "scale/1", tmp_path, 1)
    with running(one_model(str(tmp_path), "m")) as server, ThreadPoolExecutor(4) as clients:
        stop = threading.Event()

        def ask() -> int:
            count = 0
            while not stop.is_set():
                assert server.predict("m", x=floats(3))["y"].item() in (3, 6)
                count += 1
            return count

        asked = [clients.submit(ask) for _ in range(4)]
        for number in range(2, 8):
            put_version(serving_models / f"scale/{1 + number % 2}", tmp_path, number)
            eventually(lambda number=number: server.states("m")[number - 1] == "END")  # type: ignore[misc]
        stop.set()
        assert all(one.result() > 0 for one in asked)
        assert server.states("m") == {7: "AVAILABLE", **dict.fromkeys(range(6, 0, -1), "END")}


def test_a_version_that_fails_leaves_the_one_before(
    serving_models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put_version(serving_models / "scale/1", tmp_path, 1)
    with running(one_model(str(tmp_path), "m"), max_load_retries=2, load_retry_seconds=0) as server:
        (tmp_path / "copying").mkdir()
        (tmp_path / "copying" / "saved_model.pb").write_bytes(b"no protobuf")
        (tmp_path / "copying").rename(tmp_path / "2")
        eventually(lambda: server.states("m")[max(server.states("m"))] == "END" and 2 in server.states("m"))
        assert server.states("m") == {2: "END", 1: "AVAILABLE"}
        assert server.predict("m", x=floats(3))["y"].tolist() == [3]
        assert server.server._core._manager.states("m")[2].error.code is grpc.StatusCode.DATA_LOSS
        shutil.rmtree(tmp_path / "2")
        put_version(serving_models / "scale/2", tmp_path, 3)
        eventually(lambda: server.states("m").get(3) == "AVAILABLE")
    assert capfd.readouterr().err.count("Loading servable: {name: m version: 2} failed") == 3


def test_a_folder_that_vanishes_leaves_what_is_loaded(serving_models: Path, tmp_path: Path) -> None:
    base = tmp_path / "m"
    put_version(serving_models / "scale/1", base, 1)
    with running(one_model(str(base), "m")) as server:
        base.rename(tmp_path / "gone")
        eventually(lambda: bool(server.server._core._manager.missing(["m"])))
        assert server.predict("m", x=floats(3))["y"].tolist() == [3]
        (tmp_path / "gone").rename(base)
        put_version(serving_models / "scale/2", base, 2)
        eventually(lambda: server.states("m") == {2: "AVAILABLE", 1: "END"})


def test_a_reload_replaces_the_models_and_counts(serving_models: Path) -> None:
    one, two = serving_models / "scale", serving_models / "saved_model_half_plus_three"
    with running(config_of({"a": one, "b": two})) as server:
        server.predict("b", x=floats(2))
        reply = reload(server, config_of({"b": two, "c": one}), "/tensorflow/serving/request_count")
        assert reply.status.error_code == 0 and reply.HasField("status")
        assert [(metric.name, metric.int64_value_increase) for metric in reply.metric] == [
            ("/tensorflow/serving/request_count", 0)
        ]
        assert server.predict("c", x=floats(1))["y"].tolist() == [10]
        assert server.predict("b", x=floats(2))["y"].tolist() == [4]
        eventually(lambda: server.states("a") == {10: "END"})


def test_a_reload_that_is_refused_changes_nothing(serving_models: Path, tmp_path: Path) -> None:
    with running(config_of({"a": serving_models / "scale"}), max_load_retries=0) as server:
        twice = config_of({"a": serving_models / "scale"})
        twice.model_config_list.config.append(twice.model_config_list.config[0])
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "Illegal to list model a multiple times in config list"):
            reload(server, twice)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "to have an absolute path or URI; got base_path()=relative"):
            reload(server, config_of({"a": "relative"}))
        other = config_of({"a": serving_models / "scale"})
        other.model_config_list.config[0].model_platform = "caffe"
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "Illegal to change a model's platform. For model a"):
            reload(server, other)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "Only ModelConfigList is currently supported"):
            reload(server, other.__class__())
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "assign label to version 99 of model a, which is not"):
            reload(server, config_of({"a": serving_models / "scale"}, new=99))
        with refused(grpc.StatusCode.UNKNOWN, "1 model(s) did not become available: {{{name: n} due to error: NOT_F"):
            reload(server, config_of({"a": serving_models / "scale", "n": tmp_path / "nowhere"}))
        assert server.predict("a", x=floats(1))["y"].tolist() == [10]


def test_labels_follow_the_versions_that_serve(serving_models: Path) -> None:
    config = config_of({"a": serving_models / "scale"})
    with running(config) as server:
        reload(server, config_of({"a": serving_models / "scale"}, stable=10))
        request = predict_request("a", x=floats(1))
        request.model_spec.version_label = "stable"
        assert server.prediction.Predict(request, timeout=SECONDS).model_spec.version.value == 10
        reload(server, config)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: stable"):
            server.prediction.Predict(request, timeout=SECONDS)


def test_labels_of_versions_that_do_not_serve_may_be_new_but_not_moved(serving_models: Path) -> None:
    base = serving_models / "scale"
    with running(config_of({"a": base}, stable=10), allow_labels_for_unavailable=True) as server:
        reload(server, config_of({"a": base}, stable=10, next=11))
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "Request to assign label to version 12 of model a"):
            reload(server, config_of({"a": base}, stable=12))


def test_policies_choose_versions(serving_models: Path) -> None:
    config = config_of({"latest": serving_models / "scale", "specific": serving_models / "scale"})
    config.model_config_list.config[0].model_version_policy.latest.num_versions = 2
    config.model_config_list.config[1].model_version_policy.specific.versions.extend([1, 10, 77])
    with running(config) as server:
        eventually(lambda: server.states("latest") == {10: "AVAILABLE", 2: "AVAILABLE"})
        eventually(lambda: server.states("specific") == {10: "AVAILABLE", 1: "AVAILABLE"})


def test_one_bad_picture_spoils_only_its_own_answer(tmp_path: Path) -> None:
    made_models.mean_of_pictures(tmp_path / "m" / "1")
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 4 } batch_timeout_micros { value: 60000000 }")
    with running(one_model(str(tmp_path / "m"), "m"), batching=file) as server, ThreadPoolExecutor(4) as clients:
        pictures = [made_models.png(7), made_models.png(9), b"no picture", made_models.png(200)]
        asked = [clients.submit(server.predict, "m", image_bytes=[picture]) for picture in pictures]
        assert [asked[place].result()["mean"].item() for place in (0, 1, 3)] == [7, 9, 200]
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "image"):
            asked[2].result()


def test_a_version_brings_its_own_batching(serving_models: Path, tmp_path: Path) -> None:
    version = put_version(serving_models / "scale/1", tmp_path / "batched", 1)
    (version / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")
    put_version(serving_models / "scale/1", tmp_path / "plain", 1)
    config = config_of({name: tmp_path / name for name in ("batched", "plain")})
    with running(config, per_model_batching=True) as server:
        assert server.predict("plain", x=floats(1, 2, 3))["y"].tolist() == [1, 2, 3]
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "Task size 3 is larger than maximum input batch size 2"):
            server.predict("batched", x=floats(1, 2, 3))


def test_memory_is_given_back(tmp_path: Path) -> None:
    megabytes = 64
    made_models.large(tmp_path / "made" / "1", megabytes)
    put_version(tmp_path / "made/1", tmp_path / "m", 1)
    with running(one_model(str(tmp_path / "m"), "m")) as server:
        used = []
        for number in range(2, 7):
            put_version(tmp_path / "made/1", tmp_path / "m", number)
            eventually(lambda number=number: server.states("m")[number - 1] == "END")  # type: ignore[misc]
            shutil.rmtree(tmp_path / "m" / str(number - 1))
            used.append(_resident_megabytes())
        # The second load may keep some memory for good; five of them must not keep it five times.
        assert used[-1] - used[1] < megabytes / 2


@pytest.mark.parametrize("option", ["--grpc-port", "--rest-port"])
def test_a_port_that_is_taken(option: str, serving_models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"--grpc-port": "0", "--rest-port": "0", option: str(taken.getsockname()[1])}
        arguments = ["serve", str(serving_models / "scale"), *(part for pair in ports.items() for part in pair)]
        assert cli.execute(arguments) == ConfigError.exit_code
        assert f"another port with {option}" in capfd.readouterr().err


def test_a_model_that_never_loads_ends_the_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "1").mkdir()
    options = ["--grpc-port", "0", "--rest-port", "-1", "--max-num-load-retries", "0"]
    assert cli.execute(["serve", str(tmp_path), *options]) == ConvoyError.exit_code
    assert "1 servable(s) did not become available: {{{name: default version: 1} due to" in capfd.readouterr().err


def test_bytes_too_short_for_a_warm_up_request_are_warned_of(
    serving_models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """TensorFlow's reader takes them for the end of the file, so TF Serving serves the version."""
    write_warm_up(version := put_version(serving_models / "scale/1", tmp_path, 1), [])
    (version / "assets.extra" / "tf_serving_warmup_requests").write_text("10 strays!")
    with running(one_model(str(tmp_path), "m")) as server:
        assert server.predict("m", x=floats(3))["y"].item() == 3
    assert "its last 10 bytes are no TFRecord and passed over" in capfd.readouterr().err


def test_what_a_user_may_point_at(serving_models: Path, tmp_path: Path) -> None:
    (tmp_path / "saved_model").mkdir()
    assert base_path_of(tmp_path) == tmp_path
    (tmp_path / "contract.json").write_text("{}")
    assert base_path_of(tmp_path) == tmp_path / "saved_model"
    assert base_path_of(serving_models / "scale/2") == serving_models / "scale"
    shutil.copytree(serving_models / "scale/2", tmp_path / "flowers")
    with pytest.raises(ConfigError, match="its name is no version number"):
        base_path_of(tmp_path / "flowers")


def test_a_full_server_says_so_and_lives_on(tmp_path: Path) -> None:
    made_models.row_sums(tmp_path / "1")
    with running(one_model(str(tmp_path), "m"), max_message_bytes=10_000) as server:
        with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"):
            server.predict("m", x=np.zeros((1, 10_000), np.float32))
        assert server.predict("m", x=np.ones((2, 3), np.float32))["y"].tolist() == [3, 3]


def test_a_stop_answers_what_was_accepted(tmp_path: Path) -> None:
    made_models.row_sums(tmp_path / "m" / "1")
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 9 } batch_timeout_micros { value: 700000 }")
    with running(one_model(str(tmp_path / "m"), "m"), batching=file) as server, ThreadPoolExecutor(8) as clients:
        server.predict("m", x=np.ones((9, 1), np.float32))
        asked = [clients.submit(server.predict, "m", x=np.full((1, 1), value, np.float32)) for value in range(8)]
        queues = server.server._core._manager.states("m")[1].setting.servable._queues.values()
        eventually(lambda: sum(batch.rows for queue in queues for batch in queue._batches) == 8)
        begun = time.monotonic()
        server.server.stop()
        assert [one.result()["y"].item() for one in asked] == list(range(8))
        assert time.monotonic() - begun < SECONDS / 2


def test_a_stop_under_load_refuses_in_a_way_that_can_be_tried_again(serving_models: Path) -> None:
    with running(one_model(str(serving_models / "scale"), "m")) as server, ThreadPoolExecutor(4) as clients:
        answered = threading.Event()

        def ask_until_refused() -> grpc.StatusCode:
            while True:
                try:
                    assert server.predict("m", x=floats(1))["y"].item() == 10
                    answered.set()
                except grpc.RpcError as error:
                    return error.code()

        asked = [clients.submit(ask_until_refused) for _ in range(4)]
        assert answered.wait(SECONDS)
        server.server._grpc._gate.close()
        assert {one.result(SECONDS) for one in asked} == {grpc.StatusCode.UNAVAILABLE}


def _resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
