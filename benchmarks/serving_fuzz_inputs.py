"""What `serving_fuzz` sends, and the model that it is sent to."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.stack import tf

SERVICE = "/tensorflow.serving.PredictionService/"
GRPC_METHODS = (
    *(f"{SERVICE}{name}" for name in ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")),
    "/tensorflow.serving.ModelService/GetModelStatus",
)
DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool", "string", "float16")
BODIES: tuple[tuple[str, Any], ...] = (
    ("predict", {"instances": [1.0, 2.5, 3]}),
    ("predict", {"instances": [[1, 2], [3, 4]], "signature_name": "int32"}),
    ("predict", {"inputs": [[[1.5, -2e300], [3e-9, 4]]], "signature_name": "float64"}),
    ("predict", {"instances": [{"b64": "/9j/4AAQ"}, "text\u00e9\n"], "signature_name": "string"}),
    ("predict", {"inputs": {"x": [255, 0, 7]}, "signature_name": "uint8"}),
    ("predict", {"inputs": [True, False], "signature_name": "bool"}),
    ("predict", {"inputs": 9223372036854775807, "signature_name": "int64"}),
    ("predict", {"inputs": [1.0], "signature_name": "float16"}),
    ("predict", {"instances": [{"a": 1, "s": "x"}, {"a": 2, "s": {"b64": "AA=="}}], "signature_name": "pair"}),
    ("predict", {"inputs": {"a": [1, 2], "s": ["x", "y"]}, "signature_name": "pair"}),
    ("classify", {"signature_name": "classify", "examples": [{"x": 0.5}, {"x": [2.0]}]}),
    ("regress", {"signature_name": "regress", "context": {"x": 1.0}, "examples": [{}, {"n": [1, 2], "s": "a"}]}),
)
TEXTS = tuple((verb, json.dumps(body).encode()) for verb, body in BODIES)
TOKENS = (
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"null", b"true", b"NaN", b"-Infinity"),
    *(b"1e999", b"-", b"1.", b"99999999999999999999", b"-9223372036854775809", b"2147483648", b'"b64"', b"\xff", b"\0"),
    *(b'"instances"', b'"inputs"', b'"signature_name"', b'"examples"', b'"context"', b"[" * 2000, b"]" * 2000),
)
HEADS = (
    b"POST /v1/models/echo:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 21\r\n\r\n" + b'{"instances": [1, 2]}',
    b"POST /v1/models/echo/versions/1:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'15\r\n{"instances": [1, 2]}\r\n0\r\n\r\n',
    b"GET /v1/models/echo/metadata HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/models/echo/labels/stable HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/models HTTP/1.1\r\n\r\n",
    b"POST /v1/models/echo:predict HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\x1f\x8b\x08\0\0",
    b"OPTIONS /v1/models/echo HTTP/1.0\r\nOrigin: http://x\r\nExpect: 100-continue\r\nUpgrade: websocket\r\n\r\n",
)


def save_model(path: Path) -> None:
    """Writes a model that gives back what it gets: a signature for each type, `pair`, `classify` and `regress`."""

    class Echo(tf.Module):
        """Has to be a class of its own: tf.Module keeps what is saved."""

    def echo(dtype: str) -> Any:
        spec = tf.TensorSpec(None, dtype, name="x")
        return tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[spec]).get_concrete_function()

    signatures = {dtype: echo(dtype) for dtype in DTYPES}
    signatures |= {"pair": _pair(), "classify": _of_examples("scores"), "regress": _of_examples("outputs")}
    tf.saved_model.save(Echo(), str(path), {"serving_default": signatures["float32"], **signatures})


def _pair() -> Any:
    specs = [tf.TensorSpec([None], tf.int32, name="a"), tf.TensorSpec([None], tf.string, name="s")]
    return tf.function(lambda a, s: {"a": a + 1, "s_bytes": s}, input_signature=specs).get_concrete_function()


def _of_examples(output: str) -> Any:
    features = {"x": tf.io.FixedLenFeature([1], tf.float32, [0.0])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def run(inputs: Any) -> dict[str, Any]:
        return {output: tf.io.parse_example(inputs, features)["x"]}

    return run.get_concrete_function()


def structured(count: int, seed: int, send: Callable[[str, bytes], None]) -> None:
    """Sends `count` bodies that are JSON, with the names that requests have and any values."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(DTYPES)
    names = st.sampled_from(["x", "a", "s", "b64", "n"]) | st.text()
    values = st.recursive(scalars, lambda one: st.lists(one) | st.dictionaries(names, one), max_leaves=6)
    keys = st.sampled_from(["instances", "inputs", "examples", "context", "signature_name"]) | names
    documents = st.dictionaries(keys, values)

    @seeded(seed)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(["predict", "classify", "regress"]), documents)
    def run(verb: str, document: dict[str, Any]) -> None:
        send(verb, json.dumps(document).encode("utf-8", "surrogatepass"))

    run()


def bodies(chance: random.Random) -> tuple[str, bytes]:
    """A verb and a body: mostly a right one that was changed, else bytes at random."""
    verb, body = chance.choice(TEXTS)
    if chance.random() < 0.15:
        return verb, chance.randbytes(chance.randrange(200))
    return verb, changed(body, chance)


def heads(chance: random.Random) -> bytes:
    """What may be a request of HTTP."""
    if chance.random() < 0.2:
        return chance.randbytes(chance.randrange(1, 300))
    return changed(chance.choice(HEADS), chance)


def messages(chance: random.Random) -> tuple[str, bytes]:
    """A method and a message: a right one with other values, or with other bytes, or bytes at random."""
    kind, method = chance.random(), chance.choice(GRPC_METHODS)
    if kind < 0.1:
        return method, chance.randbytes(chance.randrange(100))
    message = _message(method.rpartition("/")[2], chance).SerializeToString()
    return method, message if kind < 0.5 else changed(message, chance)


def changed(data: bytes, chance: random.Random) -> bytes:
    """None to six changes of bytes."""
    result = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 6))):
        at = chance.randrange(len(result) + 1)
        end = min(len(result), at + chance.randrange(12))
        change = chance.randrange(6)
        if change == 0 and at < len(result):
            result[at] ^= 1 << chance.randrange(8)
        elif change == 1:
            del result[at:end]
        elif change == 2:
            result[at:at] = result[at:end] * chance.randint(1, 50)
        elif change == 3:
            del result[at:]
        elif change == 4:
            result[at:end] = chance.randbytes(end - at)
        else:
            result[at:end] = chance.choice(TOKENS)
    return bytes(result)


def _message(method: str, chance: random.Random) -> Any:
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        predict_pb2,
        regression_pb2,
    )

    kinds = {
        "Predict": predict_pb2.PredictRequest,
        "Classify": classification_pb2.ClassificationRequest,
        "Regress": regression_pb2.RegressionRequest,
        "MultiInference": inference_pb2.MultiInferenceRequest,
        "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
        "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
    }
    request = kinds[method]()
    for spec in _specs(request, chance):
        _fill_spec(spec, chance)
    if method == "Predict":
        _fill_inputs(request, chance)
    if method in ("Classify", "Regress", "MultiInference"):
        _fill_examples(request.input, chance)
    if method == "GetModelMetadata" and chance.random() < 0.9:
        request.metadata_field.append("signature_def")
    return request


def _specs(request: Any, chance: random.Random) -> list[Any]:
    if hasattr(request, "model_spec"):
        return [request.model_spec]
    methods = ("tensorflow/serving/classify", "tensorflow/serving/regress", "other")
    return [request.tasks.add(method_name=chance.choice(methods)).model_spec for _ in range(chance.randrange(4))]


def _fill_spec(spec: Any, chance: random.Random) -> None:
    spec.name = chance.choice(["echo"] * 8 + ["", "none"])
    spec.signature_name = chance.choice([*DTYPES, "pair", "classify", "regress", "", "none"])
    if chance.random() < 0.1:
        spec.version.value = chance.choice([1, 2, -1, 2**63 - 1])
    elif chance.random() < 0.05:
        spec.version_label = chance.choice(["stable", ""])


def _fill_inputs(request: Any, chance: random.Random) -> None:
    for name in chance.choice((("x",), ("a", "s"), (), ("x", "z"))):
        tensor = request.inputs[name]
        tensor.dtype = chance.choice((1, 2, 3, 4, 6, 7, 9, 10, 19, 21, 0, 120))
        for _ in range(chance.randrange(4)):
            tensor.tensor_shape.dim.add(size=chance.choice((0, 1, 2, 3, -1, 2**40)))
        tensor.tensor_shape.unknown_rank = chance.random() < 0.05
        values = [chance.choice((0, 1, 7, 300, -1)) for _ in range(chance.randrange(5))]
        tensor.float_val.extend(values)
        tensor.int_val.extend(values)
        tensor.int64_val.extend(values)
        tensor.string_val.extend(chance.randbytes(3) for _ in values)
        if chance.random() < 0.3:
            tensor.tensor_content = chance.randbytes(chance.choice((0, 1, 4, 8, 24)))
    request.output_filter.extend(chance.sample(("y", "a", "q"), chance.choice((0, 0, 0, 1, 2))))


def _fill_examples(holder: Any, chance: random.Random) -> None:
    with_context = chance.random() < 0.3
    examples = holder.example_list_with_context if with_context else holder.example_list
    if with_context:
        examples.context.features.feature["x"].float_list.value.append(1.0)
    for _ in range(chance.randrange(4)):
        feature = examples.examples.add().features.feature[chance.choice(("x", "n", ""))]
        kind = chance.randrange(3)
        if kind == 0:
            feature.float_list.value.extend([0.5] * chance.randrange(3))
        elif kind == 1:
            feature.int64_list.value.extend([2] * chance.randrange(3))
        else:
            feature.bytes_list.value.append(chance.randbytes(5))
