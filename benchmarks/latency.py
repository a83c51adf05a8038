"""How long one picture takes: python -m benchmarks.latency [--json FILE] [--rounds N] [--runs N] [--size 224]

MobileNetV2 at 224 px, one thread: Convoy's int8 `.tflite` beside its float32 one, and beside ONNX Runtime's own int8
of the same network, which is built from the float `.tflite` (`benchmarks/onnx_peer.py`, in the environment of the
peers). Random weights take as long as trained ones. The sides take turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from pipeline.compress import flatbuffer
from pipeline.compress.weights import dtype_of, is_stored

PEERS = "CONVOY_PEERS_PYTHON"
PEER = Path(__file__).with_name("onnx_peer.py")
CLASSES, CALIBRATION, COMPARED = 1000, 32, 4
SAME = 1e-3
"""How far apart two runtimes' float scores may be, relative to the largest, for the networks to be the same one."""
AT_MOST_OF_FLOAT, AT_MOST_OF_PEER = 0.6, 1.1


def main() -> None:
    parser = measure.arguments(__doc__, rounds=7)
    parser.add_argument("--runs", type=int, default=50, help="pictures of each turn; their median counts (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="pixels of the picture's side (%(default)s)")
    arguments = parser.parse_args()
    machine = measure.host()
    with tempfile.TemporaryDirectory() as folder:
        measures = compare(Path(folder), arguments.size, arguments.runs, arguments.rounds)
    measure.publish(measures, machine, arguments.json)


def compare(folder: Path, size: int, runs: int, rounds: int) -> list[measure.Measure]:
    """All ratios."""
    files, pictures = converted(folder, size)
    sides: dict[str, Callable[[], float]] = {
        name: partial(milliseconds, file, pictures[:1], runs) for name, file in files.items()
    }
    with peer(folder, runs) as process:
        if process:
            sides |= {f"onnx {name}": partial(ask, process, name) for name in ("float32", "int8")}
        found = measure.interleave(sides, rounds)
    network = f"MobileNetV2, {size} px, 1 thread"
    ours, whole = found["int8"], found["float32"]
    beside_float = measure.compare(f"{network}: int8 / float32 TFLite", ours, whole, "ms")
    measures = [measure.at_most(beside_float, AT_MOST_OF_FLOAT)]
    if "onnx int8" in found:
        beside = measure.compare(f"{network}: int8 / ONNX Runtime int8", ours, found["onnx int8"], "ms")
        floats = measure.compare(f"{network}: float32 / ONNX Runtime float32", whole, found["onnx float32"], "ms")
        measures += [measure.at_most(beside, AT_MOST_OF_PEER), floats]
    return measures


def converted(folder: Path, size: int) -> tuple[dict[str, Path], np.ndarray]:
    """Both files, the calibration pictures uint8 [n,H,W,3], and in the folder all that the peer needs."""
    from models.backbones import MobileNetV2
    from models.preprocess import PictureFormat
    from models.stack import keras
    from pipeline.compress import CompressionJob
    from pipeline.compress.post_training import Float32, Int8
    from pipeline.predictors import TFLitePredictor
    from pipeline.tasks import Classification

    keras.utils.set_random_seed(1)
    names = tuple(str(number) for number in range(CLASSES))
    picture = PictureFormat(height=size, width=size)
    task = Classification(class_names=names, backbone=MobileNetV2(), picture=picture)
    pictures = np.random.default_rng(1).integers(0, 256, (CALIBRATION, size, size, 3), np.uint8)
    model = with_statistics(task.build(), pictures)
    job = CompressionJob(task, model, pictures, lambda *_, **__: None, lambda _: 0.0)
    files = {}
    for variant in (Float32(), Int8()):
        content = variant.convert(job)
        files[variant.variant_name] = folder / f"{variant.variant_name}.tflite"
        files[variant.variant_name].write_bytes(content)
    write_network(files["float32"].read_bytes(), folder)
    np.save(folder / "pictures.npy", pictures)
    np.save(folder / "expected.npy", TFLitePredictor(files["float32"])({"image": pictures[:COMPARED]})["scores"])
    return files, pictures


def with_statistics(model: Any, pictures: np.ndarray) -> Any:
    """The untrained model with the statistics of these pictures, without which all of them get the same scores."""
    from models.stack import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(pictures, training=True)
    return model


def milliseconds(file: Path, picture: np.ndarray, runs: int) -> float:
    """Median time of a call of LiteRT with one thread."""
    from pipeline.latency import measure_latency
    from pipeline.predictors import TFLitePredictor

    return measure_latency(TFLitePredictor(file, threads=1), {"image": picture}, runs).median


# ----------------------------------------------------------------------------------------------- the peer


@contextmanager
def peer(folder: Path, runs: int) -> Iterator[subprocess.Popen[str] | None]:
    """ONNX Runtime with the same network; None where its environment is not there."""
    python = os.environ.get(PEERS)
    if not python:
        print(f"{PEERS} is not set: no ONNX Runtime to compare with (`make bench` sets it up).", file=sys.stderr)
        yield None
        return
    command = [python, str(PEER), str(folder), str(runs)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            apart = float(answer(process))
            if apart > SAME:
                raise RuntimeError(f"ONNX Runtime's float scores differ by {apart:.2g}: this is another network.")
            print(f"ONNX Runtime's float scores differ by {apart:.1e}", file=sys.stderr)
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    """The next line of the peer."""
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RuntimeError("The peer has ended; its message stands above.")
    return line


def ask(process: subprocess.Popen[str], side: str) -> float:
    """Median milliseconds of the peer."""
    if process.stdin is None:
        raise RuntimeError("The peer was started without pipes.")
    process.stdin.write(f"{side}\n")
    process.stdin.flush()
    return float(answer(process))


# ----------------------------------------------------------------------------------------------- the network


def write_network(content: bytes, folder: Path) -> None:
    """A float `.tflite` of plain convolutions as `network.json` and `weights.npz`, from which the peer builds it."""
    model = flatbuffer.unpack(content)
    graph = model.subgraphs[0]
    stored = [index for index in range(len(graph.tensors)) if is_stored(model, index)]
    weights: dict[str, Any] = {f"t{index}": values(model, index) for index in stored}
    np.savez(folder / "weights.npz", **weights)
    (scores,) = graph.outputs
    network = {
        "input": f"t{graph.inputs[0]}",
        "output": f"t{scores}",
        "shape": [int(size) for size in graph.tensors[graph.inputs[0]].shape],
        "classes": int(graph.tensors[scores].shape[-1]),
        "operators": [described(model, operator) for operator in graph.operators],
    }
    (folder / "network.json").write_text(json.dumps(network), encoding="utf-8")


def values(model: Any, index: int) -> np.ndarray:
    """A stored tensor."""
    tensor = model.subgraphs[0].tensors[index]
    data = bytes(model.buffers[tensor.buffer].data)
    return np.frombuffer(data, dtype_of(tensor)).reshape([int(size) for size in tensor.shape])


def described(model: Any, operator: Any) -> dict[str, Any]:
    """One operator in plain values."""
    options = operator.builtinOptions
    activations = {value: name for name, value in vars(flatbuffer.schema().ActivationFunctionType).items()}
    name = flatbuffer.operator_name(model.operatorCodes[operator.opcodeIndex])
    plain = {
        "kind": name,
        "inputs": [f"t{index}" for index in operator.inputs],
        "output": f"t{operator.outputs[0]}",
        "activation": activations[getattr(options, "fusedActivationFunction", 0)],
    }
    return {**plain, **strides(model, operator)} if name.endswith("CONV_2D") else plain


def strides(model: Any, operator: Any) -> Mapping[str, list[int]]:
    """Strides of a convolution, and the zeros that it adds (TensorFlow's SAME adds the odd one behind)."""
    graph, options = model.subgraphs[0], operator.builtinOptions
    image, kernel = (graph.tensors[operator.inputs[place]].shape for place in (0, 1))
    steps = [int(options.strideH), int(options.strideW)]
    if options.padding == flatbuffer.schema().Padding.VALID:
        return {"strides": steps, "pads": [0, 0, 0, 0]}
    missing = [
        max((-(-int(image[axis]) // step) - 1) * step + int(kernel[axis]) - int(image[axis]), 0)
        for axis, step in ((1, steps[0]), (2, steps[1]))
    ]
    before = [count // 2 for count in missing]
    return {"strides": steps, "pads": [*before, *(count - first for count, first in zip(missing, before, strict=True))]}


if __name__ == "__main__":
    main()
