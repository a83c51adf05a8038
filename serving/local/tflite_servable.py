"""A `.tflite` file behind the same interface: its signatures as SignatureDefs, its tensors as the file stores them."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from serving.errors import ServingError
from serving.local.conversion import NUMBERS
from serving.local.inference import DEFAULT_SIGNATURE, PREDICT
from serving.local.servable import Arrays, Question, Servable

STRINGS = (np.dtype(np.bytes_), np.dtype(object))


class TfliteServable(Servable):
    """A `.tflite` file, run by LiteRT.

    Quantized inputs and outputs stay as the file stores them: int8 or uint8, to be scaled by the client. Where every
    input and output has one row (as exports of Convoy do), a request may have any number: they run one after the other.
    Several requests run at once, each in an interpreter of its own with one thread. Tensors are `SIGNATURE/NAME`.

    Args:
        file: the `.tflite`.

    Raises:
        ServingError: it cannot be loaded.
    """

    def __init__(self, file: str):
        try:
            interpreters = [_interpreter(file) for _ in range(os.cpu_count() or 1)]
        except (ValueError, RuntimeError, OSError) as error:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"Cannot load {file}: {error}") from error
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for interpreter in interpreters:
            self._free.put(interpreter)
        self._runners = _runners(interpreters[0])
        self._tensors = {name: _details(_runner(interpreters[0], inside)) for name, inside in self._runners.items()}
        self.signatures = _signatures(self._tensors)

    def run(self, question: Question) -> Arrays:
        signature = question.feeds[0].rpartition("/")[0]
        given = zip(question.feeds, question.arrays, strict=True)
        named = {feed.rpartition("/")[2]: array for feed, array in given}
        inputs, outputs = self._tensors[signature]
        with self._runner(signature) as runner:
            if _is_row_by_row(inputs, outputs):
                found = _run_rows(runner, inputs, named)
            else:
                _check_shapes(inputs, named)
                found = _invoke(runner, named)
        return [found[fetch.rpartition("/")[2]] for fetch in question.fetches]

    def close(self) -> None:
        while not self._free.empty():
            self._free.get()

    @contextmanager
    def _runner(self, signature: str) -> Iterator[Any]:
        interpreter = self._free.get()
        try:
            yield _runner(interpreter, self._runners[signature])
        finally:
            self._free.put(interpreter)


Details = Mapping[str, Mapping[str, Any]]


def _interpreter(file: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=file, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def _runners(interpreter: Any) -> dict[str, str | None]:
    """Signature as it is served -> its name in the file; a lone one is `serving_default`, as in TF Serving."""
    names = list(interpreter.get_signature_list()) or [None]
    return {DEFAULT_SIGNATURE: names[0]} if len(names) == 1 else {name: name for name in names}


def _runner(interpreter: Any, signature: str | None) -> Any:
    return _Tensors(interpreter) if signature is None else interpreter.get_signature_runner(signature)


class _Tensors:
    """A file without signatures, asked by the names of its tensors."""

    def __init__(self, interpreter: Any):
        self._interpreter = interpreter

    def get_input_details(self) -> Details:
        return {tensor["name"]: tensor for tensor in self._interpreter.get_input_details()}

    def get_output_details(self) -> Details:
        return {tensor["name"]: tensor for tensor in self._interpreter.get_output_details()}

    def __call__(self, **inputs: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        for name, tensor in self.get_input_details().items():
            self._interpreter.set_tensor(tensor["index"], inputs[name])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(one["index"]) for name, one in self.get_output_details().items()}


def _details(runner: Any) -> tuple[Details, Details]:
    return runner.get_input_details(), runner.get_output_details()


def _signatures(tensors: Mapping[str, tuple[Details, Details]]) -> dict[str, SignatureDef]:
    return {name: _signature(name, *details) for name, details in tensors.items()}


def _signature(name: str, inputs: Details, outputs: Details) -> SignatureDef:
    rows = _is_row_by_row(inputs, outputs)
    return SignatureDef(
        method_name=PREDICT,
        inputs={alias: _info(name, alias, one, rows) for alias, one in inputs.items()},
        outputs={alias: _info(name, alias, one, rows) for alias, one in outputs.items()},
    )


def _info(signature: str, alias: str, tensor: Mapping[str, Any], any_rows: bool) -> TensorInfo:
    shape = [int(size) for size in _shape(tensor)]
    if any_rows:
        shape[0] = -1
    sizes = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    return TensorInfo(name=f"{signature}/{alias}", dtype=NUMBERS[_dtype(tensor)], tensor_shape=sizes)


def _dtype(tensor: Mapping[str, Any]) -> np.dtype[Any]:
    dtype = np.dtype(tensor["dtype"])
    return np.dtype(object) if dtype in STRINGS else dtype


def _shape(tensor: Mapping[str, Any]) -> Sequence[int]:
    """As the file has it; -1 where an axis may have any length."""
    declared = tensor["shape_signature"]
    return list(declared if len(declared) else tensor["shape"])


def _is_row_by_row(inputs: Details, outputs: Details) -> bool:
    shapes = [_shape(tensor) for tensor in (*inputs.values(), *outputs.values())]
    return all(len(shape) > 0 and shape[0] == 1 for shape in shapes)


def _run_rows(runner: Any, inputs: Details, named: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    _check_shapes(inputs, named, any_rows=True)
    counts = {len(array) for array in named.values()}
    if len(counts) != 1 or counts == {0}:
        raise _invalid(f"Inputs need the same number of rows, and at least one; got {sorted(counts)}")
    answers = [
        _invoke(runner, {name: array[row : row + 1] for name, array in named.items()}) for row in range(counts.pop())
    ]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _check_shapes(inputs: Details, named: Mapping[str, np.ndarray[Any, Any]], *, any_rows: bool = False) -> None:
    for name, array in named.items():
        expected = [-1 if any_rows and axis == 0 else int(size) for axis, size in enumerate(_shape(inputs[name]))]
        fits = len(expected) == array.ndim and all(
            size in (-1, given) for size, given in zip(expected, array.shape, strict=True)
        )
        if not fits:
            raise _invalid(f"Input {name} has shape {list(array.shape)}; the file takes {expected} (-1: any length)")


def _invoke(runner: Any, named: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    try:
        return dict(runner(**named))
    except (ValueError, RuntimeError) as error:
        raise _invalid(f"The interpreter failed: {error}") from error


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
