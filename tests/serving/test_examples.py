"""Classify and Regress: what a signature has to look like, and what is answered when it does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.local.model_config import one_model
from tests.serving.running import SECONDS, Running, running

OUTPUTS: Mapping[str, Any] = {
    "both": lambda n: {"classes": tf.fill([n, 2], "cat"), "scores": tf.tile([[0.25, 0.75]], [n, 1])},
    "labels": lambda n: {"classes": tf.fill([n, 2], "dog")},
    "bytes": lambda n: {"classes": tf.fill([n, 1], b"\xff")},
    "flat": lambda n: {"scores": tf.ones([n])},
    "whole": lambda n: {"scores": tf.ones([n, 2], tf.int32)},
    "short": lambda n: {"scores": tf.ones([n + 1, 2])},
    "uneven": lambda n: {"classes": tf.fill([n, 2], "cat"), "scores": tf.ones([n, 3])},
    "unnamed": lambda n: {"values": tf.ones([n, 2])},
    "three": lambda n: {"classes": tf.fill([n, 2], "cat"), "scores": tf.ones([n, 2]), "more": tf.ones([n, 2])},
    "column": lambda n: {"outputs": tf.ones([n, 1]) * 2.5},
    "row": lambda n: {"outputs": tf.ones([n]) * 1.5},
    "wide": lambda n: {"outputs": tf.ones([n, 2])},
    "number": lambda n: {"outputs": tf.ones([n], tf.float64)},
    "more": lambda n: {"outputs": tf.ones([n + 2])},
}
"""Signature -> its outputs for n examples."""


def _signature(outputs: Any) -> Any:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def answer(inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return outputs(tf.shape(inputs)[0])

    return answer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("examples")
    signatures = {name: _signature(outputs) for name, outputs in OUTPUTS.items()}
    tf.saved_model.save(tf.Module(), str(folder / "1"), signatures=signatures)
    with running(one_model(str(folder), "m")) as started:
        yield started


def ask(server: Running, verb: str, signature: str, count: int = 2) -> Any:
    kinds = {"Classify": classification_pb2.ClassificationRequest, "Regress": regression_pb2.RegressionRequest}
    request = kinds[verb]()
    request.model_spec.name, request.model_spec.signature_name = "m", signature
    request.input.example_list.examples.extend([tf.train.Example()] * count)
    return getattr(server.prediction, verb)(request, timeout=SECONDS).result


def classified(server: Running, signature: str) -> list[list[tuple[str, float]]]:
    rows = ask(server, "Classify", signature).classifications
    return [[(one.label, one.score) for one in row.classes] for row in rows]


def test_labels_and_scores_are_put_together(server: Running) -> None:
    assert classified(server, "both") == [[("cat", 0.25), ("cat", 0.75)]] * 2
    assert classified(server, "labels") == [[("dog", 0), ("dog", 0)]] * 2


def test_a_label_that_is_no_text_can_still_be_read(server: Running) -> None:
    assert classified(server, "bytes") == [[("\N{REPLACEMENT CHARACTER}", 0)]] * 2


@pytest.mark.parametrize(("signature", "value"), [("column", 2.5), ("row", 1.5)])
def test_numbers_may_lie_in_a_row_or_a_column(server: Running, signature: str, value: float) -> None:
    assert [one.value for one in ask(server, "Regress", signature, 3).regressions] == [value] * 3


@pytest.mark.parametrize(
    ("verb", "signature", "message"),
    [
        ("Classify", "flat", "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        ("Classify", "whole", "Expected scores Tensor of DT_FLOAT. Got: DT_INT32"),
        ("Classify", "short", "Expected scores output batch size of 2. Got: 3"),
        ("Classify", "uneven", "Tensors class and score should match in dim_size(1). Got 2 vs. 3"),
        (
            "Classify",
            "unnamed",
            'Expected classification signature outputs to contain at least one of "classes" or "sc',
        ),
        ("Classify", "three", "Expected one or two output Tensors, found 3"),
        ("Regress", "both", "Expected one output Tensor."),
        ("Regress", "labels", "No regression outputs found in SignatureDef: "),
        ("Regress", "wide", "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"),
        ("Regress", "number", "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
        ("Regress", "more", "Input batch size did not match output batch size: 2 vs. 4"),
    ],
)
def test_outputs_of_another_form_are_refused(server: Running, verb: str, signature: str, message: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask(server, verb, signature)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith(message)


def test_names_of_methods_are_looked_at_when_asked_for(server: Running, tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures={"both": _signature(OUTPUTS["both"])})
    with running(one_model(str(tmp_path), "m"), check_method_names=True) as strict:
        with pytest.raises(grpc.RpcError) as caught:
            ask(strict, "Classify", "both")
        expected = "Expected classification signature method_name to be tensorflow/serving/classify. Was: tensorflow/"
        assert caught.value.details().startswith(expected)
