"""The peer of `benchmarks.latency`: ONNX Runtime, in an environment of its own.

Started as `python onnx_peer.py FOLDER RUNS`. Builds the network that lies in FOLDER (`network.json`, `weights.npz`, as
`benchmarks.latency` takes it out of the float `.tflite`), quantizes it with ONNX Runtime's own static quantization, and
prints how far its answers lie from those in `expected.npy`. Then, for each line `float32` or `int8` on stdin, it prints
the median milliseconds for one picture. It imports nothing of Convoy.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

OPSET = 17
Operator = dict[str, Any]


class Builder:
    """Nodes and weights of an ONNX graph in channels-first layout, in the order of the operators."""

    def __init__(self, weights: dict[str, np.ndarray]):
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: Operator) -> None:
        """Translates one TFLite operator."""
        MAKERS[operator["kind"]](self, operator)

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        """Appends a node."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))

    def constant(self, name: str, values: np.ndarray) -> str:
        """Appends a constant; its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def activated(self, operator: Operator, make: Callable[[str], None]) -> None:
        """A node and the activation that TFLite has fused into it."""
        output, activation = operator["output"], operator["activation"]
        if activation == "NONE":
            make(output)
            return
        make(f"{output}_linear")
        if activation == "RELU":
            self.node("Relu", [f"{output}_linear"], output)
            return
        low, high = (self.constant(f"{output}_{end}", np.array(end, np.float32)) for end in (0.0, 6.0))
        self.node("Clip", [f"{output}_linear", low, high], output)


def convolution(graph: Builder, operator: Operator) -> None:
    """A convolution, depthwise or not."""
    image, kernel, bias = operator["inputs"]
    values = graph.weights[kernel]  # [out, h, w, in], depthwise [1, h, w, channels]
    depthwise = operator["kind"] == "DEPTHWISE_CONV_2D"
    values = values.transpose(3, 0, 1, 2) if depthwise else values.transpose(0, 3, 1, 2)
    names = [image, graph.constant(f"{operator['output']}_w", values)]
    if bias in graph.weights:
        names.append(graph.constant(f"{operator['output']}_b", graph.weights[bias]))
    attributes = {
        "strides": operator["strides"],
        "pads": operator["pads"],
        "group": values.shape[0] if depthwise else 1,
        "kernel_shape": list(values.shape[2:]),
    }
    graph.activated(operator, lambda output: graph.node("Conv", names, output, **attributes))


def pad(graph: Builder, operator: Operator) -> None:
    """Zeros around the picture."""
    before, after = graph.weights[operator["inputs"][1]].T[:, [0, 3, 1, 2]]
    pads = graph.constant(f"{operator['output']}_p", np.concatenate([before, after]).astype(np.int64))
    graph.node("Pad", [operator["inputs"][0], pads], operator["output"])


def dense(graph: Builder, operator: Operator) -> None:
    """A fully connected layer."""
    image, kernel, bias = operator["inputs"]
    given = [name for name in (kernel, bias) if name in graph.weights]  # a bias of zeros is left out of the file
    names = [image, *(graph.constant(f"{operator['output']}_{name}", graph.weights[name]) for name in given)]
    graph.activated(operator, lambda output: graph.node("Gemm", names, output, transB=1))


def add(graph: Builder, operator: Operator) -> None:
    """A sum of two."""
    graph.activated(operator, lambda output: graph.node("Add", operator["inputs"], output))


def mean(graph: Builder, operator: Operator) -> None:
    """The mean over the picture's places."""
    graph.node("GlobalAveragePool", operator["inputs"][:1], f"{operator['output']}_pooled")
    graph.node("Flatten", [f"{operator['output']}_pooled"], operator["output"])


def softmax(graph: Builder, operator: Operator) -> None:
    """Over the classes."""
    graph.node("Softmax", operator["inputs"], operator["output"], axis=1)


MAKERS: dict[str, Callable[[Builder, Operator], None]] = {
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": convolution,
    "PAD": pad,
    "FULLY_CONNECTED": dense,
    "ADD": add,
    "MEAN": mean,
    "SOFTMAX": softmax,
}


class Pictures(CalibrationDataReader):
    """Calibration pictures one by one.

    Args:
        name: of the input.
        pictures: float32 [n, C, H, W].
    """

    def __init__(self, name: str, pictures: np.ndarray):
        self.left: Iterator[np.ndarray] = iter(pictures)
        self.name = name

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next one, or None."""
        picture = next(self.left, None)
        return None if picture is None else {self.name: picture[np.newaxis]}


def build(folder: Path) -> Path:
    """The float network as `model.onnx`."""
    network = json.loads((folder / "network.json").read_text())
    graph = Builder(dict(np.load(folder / "weights.npz")))
    for operator in network["operators"]:
        graph.add(operator)
    _, height, width, channels = network["shape"]
    image = helper.make_tensor_value_info(network["input"], TensorProto.FLOAT, [1, channels, height, width])
    scores = helper.make_tensor_value_info(network["output"], TensorProto.FLOAT, [1, network["classes"]])
    whole = helper.make_graph(graph.nodes, "network", [image], [scores], graph.constants)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / "float32.onnx")
    return folder / "float32.onnx"


def quantize(model: Path, pictures: np.ndarray) -> Path:
    """The network in int8 as ONNX Runtime recommends for processors with VNNI: QDQ, a scale a channel."""
    name = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs()[0].name
    target = model.with_name("int8.onnx")
    quantize_static(
        model,
        target,
        Pictures(name, pictures),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return target


def opened(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A session with one thread and all of the graph's optimizations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda picture: np.asarray(session.run(None, {name: picture})[0])


def milliseconds(run: Callable[[np.ndarray], np.ndarray], picture: np.ndarray, runs: int) -> float:
    """Median time of a call, after a few that do not count."""
    times = []
    for _ in range(runs + 5):
        began = time.perf_counter()
        run(picture)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times[5:])


def main() -> None:
    folder, runs = Path(sys.argv[1]), int(sys.argv[2])
    pictures = np.load(folder / "pictures.npy").astype(np.float32).transpose(0, 3, 1, 2)
    model = build(folder)
    sides = {"float32": opened(model), "int8": opened(quantize(model, pictures))}
    expected = np.load(folder / "expected.npy")
    found = np.concatenate([sides["float32"](picture[np.newaxis]) for picture in pictures[: len(expected)]])
    print(np.abs(found - expected).max() / expected.max(), flush=True)
    for line in sys.stdin:
        print(milliseconds(sides[line.strip()], pictures[:1], runs), flush=True)


if __name__ == "__main__":
    main()
