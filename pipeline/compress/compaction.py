"""A `.tflite` file without what no interpreter needs: with packed weights it would else be a good part of the file.

Gone are buffers that nothing reads, buffers with the same content but one, names of tensors between the operators, and
the converter's notes on how it converted. Kept are inputs, outputs, their names, and names that say what is decoding.
"""

from __future__ import annotations

from typing import Any

from pipeline.compress import flatbuffer

NOTES = {b"CONVERSION_METADATA"}
DECODING = flatbuffer.DECODE_PREFIX.encode()


def compacted(content: bytes) -> bytes:
    """The same file, smaller."""
    model = flatbuffer.unpack(content)
    _drop_notes(model)
    _share_buffers(model)
    for graph in model.subgraphs:
        named = {*graph.inputs, *graph.outputs}
        for index, tensor in enumerate(graph.tensors):
            if index not in named:
                tensor.name = DECODING if tensor.name.startswith(DECODING) else b""
            tensor.quantization = _needed(tensor.quantization)
    return flatbuffer.pack(model)


def _drop_notes(model: Any) -> None:
    model.metadata = [entry for entry in model.metadata or [] if entry.name not in NOTES]


def _share_buffers(model: Any) -> None:
    """Leaves one buffer of each content, and the empty one, which must be the first."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    holders = [*tensors, *model.metadata]
    buffers, places = [flatbuffer.schema().BufferT()], {b"": 0}
    for holder in holders:
        data = model.buffers[holder.buffer].data
        content = b"" if data is None else bytes(data)
        if content not in places:
            places[content] = len(buffers)
            buffers.append(model.buffers[holder.buffer])
        holder.buffer = places[content]
    model.buffers = buffers


def _needed(quantization: Any) -> Any:
    """The quantization of a tensor without the ranges that were measured for it; None where it has none."""
    if quantization is None or quantization.scale is None or not len(quantization.scale):
        return None
    quantization.min = quantization.max = None
    return quantization
