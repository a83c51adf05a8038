"""`.tflite` files behind TF Serving's API, against the interpreter that runs them on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.local.model_config import one_model
from tests.serving import made_models
from tests.serving.running import SECONDS, config_of, running

WEIGHTS = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Quantized or not -> file."""
    folder = tmp_path_factory.mktemp("tflite")
    return {how: made_models.tflite(folder / f"{how}.tflite", quantized=how) for how in (False, True)}


def interpreted(file: Path, row: np.ndarray) -> np.ndarray:
    """What the interpreter answers for one row."""
    runner: Any = Interpreter(str(file)).get_signature_runner("serving_default")
    return runner(image=row)["scores"]


def signature_of(server: Any, model: str) -> Any:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = model
    reply = server.prediction.GetModelMetadata(request, timeout=SECONDS)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    reply.metadata["signature_def"].Unpack(signatures)
    return signatures.signature_def["serving_default"]


def test_a_file_answers_any_number_of_rows(files: dict[bool, Path]) -> None:
    rows = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    with running(one_model(str(files[False]), "m"), rest_port=0) as server:
        assert server.states("m") == {1: "AVAILABLE"}
        np.testing.assert_allclose(server.predict("m", image=rows)["scores"], rows @ WEIGHTS)
        status, answer = server.rest("/v1/models/m:predict", {"instances": [[1.0, 2.0], [3.0, 4.0]]})
        assert (status, answer) == (200, {"predictions": (rows[:2] @ WEIGHTS).tolist()})
        signature = signature_of(server, "m")
        assert [axis.size for axis in signature.inputs["image"].tensor_shape.dim] == [-1, 2]
        assert signature.method_name == "tensorflow/serving/predict"


def test_a_quantized_file_takes_and_gives_what_it_stores(files: dict[bool, Path]) -> None:
    rows = np.array([[0, 255], [100, 50]], np.uint8)
    with running(one_model(str(files[True]), "m")) as server:
        answers = server.predict("m", image=rows)["scores"]
        assert answers.dtype == np.uint8
        expected = [interpreted(files[True], rows[place : place + 1])[0] for place in (0, 1)]
        np.testing.assert_array_equal(answers, expected)
        with pytest.raises(grpc.RpcError, match=r"Expects arg\[0\] to be uint8 but float is provided"):
            server.predict("m", image=rows.astype(np.float32))


def test_a_file_can_be_a_version_and_be_batched(files: dict[bool, Path], tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "m" / str(number)).mkdir(parents=True)
        (tmp_path / "m" / str(number) / "model.tflite").write_bytes(files[False].read_bytes())
    batching = tmp_path / "batching.config"
    batching.write_text("max_batch_size { value: 4 }")
    config = config_of({"versions": tmp_path / "m", "file": files[True]})
    with running(config, batching=batching) as server:
        rows = np.ones((4, 2), np.float32)
        np.testing.assert_allclose(server.predict("versions", version=2, image=rows)["scores"], rows @ WEIGHTS)
        with pytest.raises(grpc.RpcError, match="Task size 5 is larger"):
            server.predict("versions", image=np.ones((5, 2), np.float32))


def test_a_file_without_signature_is_asked_by_its_tensors(tmp_path: Path) -> None:
    file = made_models.tflite(tmp_path / "bare.tflite", quantized=False, signature=False)
    assert Interpreter(str(file)).get_signature_list() == {}
    with running(one_model(str(file), "m")) as server:
        signature = signature_of(server, "m")
        (image,), (scores,) = signature.inputs, signature.outputs
        rows = np.array([[1, 2], [3, 4]], np.float32)
        np.testing.assert_allclose(server.predict("m", **{image: rows})[scores], rows @ WEIGHTS)


@pytest.mark.parametrize("shape", [(1, 3), (2,), (1, 2, 1), (0, 2)])
def test_another_shape_is_refused(files: dict[bool, Path], shape: tuple[int, ...]) -> None:
    with running(one_model(str(files[False]), "m")) as server:
        with pytest.raises(grpc.RpcError, match=r"has shape|rows") as caught:
            server.predict("m", image=np.ones(shape, np.float32))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_file_that_is_none_does_not_load(tmp_path: Path) -> None:
    file = tmp_path / "broken.tflite"
    file.write_bytes(b"nothing of the kind")
    with (
        pytest.raises(Exception, match=r"INVALID_ARGUMENT: Cannot load .*broken\.tflite"),
        running(one_model(str(file), "m"), max_load_retries=0),
    ):
        pytest.fail("it loaded")
