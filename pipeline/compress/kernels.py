"""Which operators of a `.tflite` file have no fast kernel here: for those a small file need not be a quick one."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pipeline.compress.weights import FILTERS

DELEGATE = "DELEGATE"


def slow_operators(content: bytes) -> dict[str, int]:
    """Operators with weights that XNNPACK, LiteRT's fast kernels, does not take on this machine: name -> count.

    LiteRT computes them by its own kernels; for int16 activations these are plain loops. Operators without weights,
    such as pooling, are not counted: they decide little.

    Args:
        content: of a file that LiteRT can run.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    nodes = interpreter._get_ops_details()
    taken = _taken(nodes)
    left = [node["op_name"] for node in nodes if node["index"] not in taken and node["op_name"] in FILTERS]
    return dict(sorted(Counter(left).items()))


def _taken(nodes: list[dict[str, Any]]) -> set[int]:
    """The nodes that stay listed but run inside of a delegate's node: all between its inputs and its outputs."""
    makers = {int(output): node for node in nodes if node["op_name"] != DELEGATE for output in node["outputs"]}
    taken: set[int] = set()
    for delegate in (node for node in nodes if node["op_name"] == DELEGATE):
        borders = {int(index) for index in delegate["inputs"]}
        waiting = [int(index) for index in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            maker = makers.get(tensor)
            if tensor in borders or maker is None or maker["index"] in taken:
                continue
            taken.add(maker["index"])
            waiting += [int(index) for index in maker["inputs"] if index >= 0]
    return taken
