"""From a trained network to one whose weights have one, four or eight bits, and to its file.

Each chosen layer is wrapped by a layer of `models.low_bit`, which rounds its weights; the network may then be trained.
To ship it, the rounded weights are taken out as whole numbers and scales, BatchNormalization is folded into the scales,
and the file gets exactly these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.backbones import NORMALISE
from models.stack import keras
from pipeline.compress import convert
from pipeline.compress.layer_choice import kept_layers
from pipeline.compress.packing import PackedWeights, store_packed
from pipeline.errors import ExportError
from pipeline.wording import quantity

if TYPE_CHECKING:
    from models.low_bit import LowBitWeights
    from pipeline.compress.base import CompressionJob

KEPT_BITS = 8
"""Bits of the layers that stay finer than the others."""
LIMITS = {4: 7, 8: 127}
"""Bits -> greatest whole number of a symmetric grid."""
MOMENTUM = 0.95
"""At most this, BatchNormalization forgets what it saw before the weights were rounded: networks of keras.applications
have 0.999, which takes thousands of steps."""
CANDIDATES = np.linspace(0.3, 1.0, 36)
"""Shares of a block's greatest weight that are tried as the end of its grid."""

Wrap = Callable[[keras.layers.Layer], keras.layers.Layer]


@dataclass(frozen=True)
class Shipped:
    """A network ready for its file.

    Args:
        network: plain layers, computing with the values of `weights`; BatchNormalization folded.
        weights: of each layer that has packed weights.
    """

    network: keras.Model
    weights: list[PackedWeights]


def chosen_bits(network: keras.Model, keep: Sequence[str], bits: int, by_class: Mapping[str, int]) -> dict[str, int]:
    """Layer name -> bits of its weights, in the network's order; the fixed normalisation of pictures stays as it is.

    Args:
        keep: layers of eight bits: `first`, `last`, names, or patterns.
        bits: of all others, but for
        by_class: class of a layer -> bits.

    Raises:
        ConfigError: an entry of `keep` matches no layer.
        ExportError: no layer is left for `bits`.
    """
    from models.low_bit import can_be_low_bit

    kept = kept_layers(network, keep)
    possible = [layer for layer in network.layers if can_be_low_bit(layer) and layer.name != NORMALISE]
    chosen = {layer.name: by_class.get(type(layer).__name__, bits) for layer in possible}
    chosen.update({name: KEPT_BITS for name in chosen if name in kept})
    if bits not in chosen.values():
        raise ExportError(
            f"There is no layer for weights of {quantity(bits, 'bit')}: the network has {len(possible)} that could "
            f"have them, and all of them keep eight bits, by `keep` "
            f"({', '.join(keep) or 'empty'}) or as layers of their class do. Take entries out of the variant's `keep`, "
            "or leave the variant out."
        )
    return chosen


def wrapped(network: keras.Model, wrappers: Mapping[str, Wrap]) -> keras.Model:
    """A copy of the network in which layers are wrapped; BatchNormalization is set to follow the new weights soon.

    Args:
        wrappers: layer name -> what makes the wrapper of a copy of that layer.
    """
    from models import rewire

    made: dict[str, keras.layers.Layer] = {}

    def replace(call: rewire.Call) -> Any:
        layer = call.layer
        if layer.name in wrappers:
            if layer.name not in made:
                made[layer.name] = wrappers[layer.name](layer.__class__.from_config(layer.get_config()))
            outputs = made[layer.name](call.inputs, **call.keywords)
            made[layer.name].layer.set_weights(layer.get_weights())
            return outputs
        outputs = rewire.copy(call)
        new = call.copies[id(layer)]
        if isinstance(new, keras.layers.BatchNormalization):
            new.momentum = min(new.momentum, MOMENTUM)
        return outputs

    return rewire.rewired_model(network, replace)


def low_bit_network(network: keras.Model, bits: Mapping[str, int], block: int | None = None) -> keras.Model:
    """A copy whose layers compute with weights of few bits: binary ones, or on grids with the least squared error.

    Args:
        bits: layer name -> 1, 4 or 8.
        block: how many weights of four bits share a scale, but for depthwise convolutions; all of a channel by default.

    Raises:
        ExportError: `block` does not divide the weights of a layer's channels; the layers and what fits are named.
    """
    from models.low_bit import BinaryWeights, QuantizedWeights

    blocks = {
        name: block if bits[name] == 4 and "Depthwise" not in type(network.get_layer(name)).__name__ else None
        for name in bits
    }
    require_whole_blocks(network, blocks)

    def wrapper(name: str) -> Wrap:
        return lambda layer: (
            BinaryWeights(layer) if bits[name] == 1 else QuantizedWeights(layer, LIMITS[bits[name]], blocks[name])
        )

    wrapping = wrapped(network, {name: wrapper(name) for name in bits})
    for layer in wrapping.layers:
        if isinstance(layer, QuantizedWeights):
            layer.set_steps(best_steps(layer.latent_rows().numpy(), layer.limit))
    return wrapping


def set_statistics(network: keras.Model, pictures: np.ndarray) -> None:
    """Sets BatchNormalization's statistics to those of these pictures, which new weights have changed.

    Args:
        pictures: uint8 [n, H, W, C].
    """
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    network(pictures.astype(np.float32), training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def require_whole_blocks(network: keras.Model, blocks: Mapping[str, int | None]) -> None:
    """Raises ExportError where a block does not divide the weights of a layer's output channels."""
    from models.low_bit import KERNELS, rows_of

    def weights(layer: keras.layers.Layer) -> int:
        kind = type(layer).__name__
        return int(rows_of(np.empty(getattr(layer, KERNELS[kind]).shape, np.bool_), kind).shape[1])

    sizes = {name: weights(network.get_layer(name)) for name, block in blocks.items() if block}
    wrong = {name: size for name, size in sizes.items() if size % (blocks[name] or size)}
    if wrong:
        listed = ", ".join(f"{name} ({size})" for name, size in list(wrong.items())[:5])
        fitting = int(np.gcd.reduce(list(sizes.values())))
        fits = f"Blocks of {fitting} do: set the variant's `block` so" if fitting > 1 else "No block does for all"
        raise ExportError(
            f"Blocks of {next(filter(None, blocks.values()))} weights do not divide the weights of an output channel "
            f"of {quantity(len(wrong), 'layer')}: {listed}{' ...' if len(wrong) > 5 else ''}. "
            f"{fits}; or name those layers in its `keep`, or leave `block` out for one scale a channel."
        )


def best_steps(rows: np.ndarray, limit: int) -> np.ndarray:
    """The distances between neighbours of a symmetric grid that lie closest to the weights, by squared error.

    Each block's grid may end below its greatest weight: clipping a few costs less than coarse steps for all. As OCTAV
    (Sakr et al. 2022, "Optimal Clipping and Magnitude-aware Differentiation for Improved Quantization-aware Training"),
    but searched, and each candidate is moved to the least squares of the codes that it gives.

    Args:
        rows: float32 [R, K, B].

    Returns:
        float32 [R, K, 1], above 0.
    """
    greatest = np.abs(rows).max(axis=2, keepdims=True)
    ends = np.maximum(greatest, np.finfo(np.float32).tiny * limit * 4) / limit
    best, least = ends, _error(rows, ends, limit)
    for share in CANDIDATES:
        step = _least_squares(rows, ends * share, limit)
        error = _error(rows, step, limit)
        best, least = np.where(error < least, step, best), np.minimum(error, least)
    return best.astype(np.float32)


def _codes(rows: np.ndarray, step: np.ndarray, limit: int) -> np.ndarray:
    return np.clip(np.round(rows / step), -limit, limit)


def _error(rows: np.ndarray, step: np.ndarray, limit: int) -> np.ndarray:
    return ((_codes(rows, step, limit) * step - rows) ** 2).sum(axis=2, keepdims=True)


def _least_squares(rows: np.ndarray, step: np.ndarray, limit: int) -> np.ndarray:
    """The step that fits best to the codes which `step` gives."""
    codes = _codes(rows, step, limit)
    squares = (codes**2).sum(axis=2, keepdims=True)
    fitted = (rows * codes).sum(axis=2, keepdims=True) / np.maximum(squares, 1)
    return np.where(fitted > 0, fitted, step)


def shipped(network: keras.Model, bits: Mapping[str, int]) -> Shipped:
    """Takes the weights of few bits out of a network with wrapped layers.

    Args:
        bits: layer name -> bits of its weights.
    """
    from models import folding, rewire
    from models.low_bit import LowBitWeights, kernel_of

    def unwrapped(call: rewire.Call) -> Any:
        if isinstance(call.layer, LowBitWeights):
            return call.layer.layer(call.inputs, **call.keywords)
        return rewire.same(call)

    plain = rewire.rewired_model(network, unwrapped)
    normalisations = folding.foldable(plain)
    folded = folding.fold_batch_normalization(plain)
    weights = []
    for name in bits:
        packed = _taken_out(network.get_layer(name), bits[name])
        if name in normalisations:
            packed = packed.scaled(folding.factor_and_offset(normalisations[name])[0])
        layer = folded.get_layer(name)
        kind = type(layer).__name__
        kernel, *bias = layer.get_weights()
        layer.set_weights([kernel_of(packed.values(), kind, kernel.shape), *bias])
        weights.append(packed)
    return Shipped(folded, weights)


def _taken_out(layer: LowBitWeights, bits: int) -> PackedWeights:
    codes, scales = layer.codes_and_scales(layer.latent_rows())
    return PackedWeights(layer.name, bits, codes.numpy().astype(np.int8), scales.numpy())


def packed_file(job: CompressionJob, model: Shipped) -> bytes:
    """A `.tflite` that computes in float32 with packed weights."""
    return convert.with_decoding(
        model.network, job.task, lambda network: _with_packed(convert.tflite_file(network), model.weights)
    )


def packed_int8_file(job: CompressionJob, model: Shipped, input_output: str) -> bytes:
    """A `.tflite` that computes in int8 with packed weights, `uint8`, `int8` or `float32` in and out."""
    content = convert.with_decoding(
        model.network,
        job.task,
        lambda network: _with_packed(convert.int8_file(network, job.calibration), model.weights),
    )
    return convert.with_input_output(content, input_output)


def _with_packed(content: bytes, weights: Sequence[PackedWeights]) -> bytes:
    stored, missing = store_packed(content, weights)
    if missing:
        raise ExportError(
            f"The converted file does not hold the weights of {', '.join(missing)} as they were given: the converter "
            "has merged them with something else. Name these layers in the variant's `keep`, or leave the variant out."
        )
    return stored
