"""Pretrained weights: found, read, and copied into a graph layer by layer, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models import attention, saved
from models.backbones.normalisation import NORMALISE
from models.rewire import nodes_behind
from models.stack import keras

MOST_NAMED = 3
"""How many layers a message names."""


def published(network: Callable[..., keras.Model], shape: tuple[int, int, int]) -> keras.Model:
    """The network with the ImageNet weights that keras.applications publishes; downloads them once.

    Raises:
        ValueError: for pictures that are not [H, W, 3], weights that do not exist for its settings, or no network.
    """
    if shape[-1] != 3:
        raise ValueError(
            f"`imagenet` weights are for pictures of 3 channels, got {shape[-1]}. Set picture.channels to 3 "
            f"(grey pictures are then repeated), or weights to none."
        )
    try:
        return network(input_shape=tuple(shape), weights="imagenet")
    except ValueError:
        raise
    except Exception as error:  # keras.utils.get_file raises a bare Exception where it cannot download
        raise ValueError(
            f"The `imagenet` weights could not be downloaded: {error}. Download the `notop` file of keras.applications "
            f"on a machine with a network, and name its path as `weights`."
        ) from error


def read_weights(file: str, into: keras.Model) -> None:
    """Reads a weights file (`.h5` or `.weights.h5`) of exactly the network `into`, which has no head.

    Raises:
        ValueError: the file is missing, damaged, or belongs to another network.
    """
    with _legible(file, into.name) as path:
        into.load_weights(path)


def read_model(file: str, network: str) -> keras.Model:
    """The model in a `.keras` file, of any head; `network` is its backbone in messages.

    Raises:
        ValueError: the file is missing or damaged.
    """
    with _legible(file, network) as path:
        return saved.load(path)


@contextmanager
def _legible(file: str, network: str) -> Iterator[Path]:
    path = Path(file).expanduser()
    if not path.is_file():
        raise ValueError(f"The weights file {file} does not exist (looked in {path.resolve().parent}).")
    try:
        yield path
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ValueError(
            f"The weights file {file} could not be read into {network}: {error}\nExpected a `notop` `.h5` or "
            f"`.weights.h5` of the same network, settings and channels, or a `.keras` model that holds its layers."
        ) from error


def layers_behind(levels: Mapping[str, Any]) -> list[keras.layers.Layer]:
    """Every layer with weights that the feature levels (KerasTensors of one flat graph) rest on."""
    return [node.layer for node in nodes_behind(levels.values()).values() if node.layer.weights]


def copy_weights(source: keras.Model, targets: Iterable[keras.layers.Layer], origin: str) -> None:
    """Copies weights from `source` into the layers of the same names.

    Attention that the source does not have stays as it is.

    Raises:
        ValueError: a layer is missing in the source or has another shape there; names the layers and `origin`.
    """
    held = {layer.name: layer for layer in source._flatten_layers(include_self=False)}
    optional = (NORMALISE, attention.PREFIX)
    wanted = [layer for layer in targets if layer.name in held or not layer.name.startswith(optional)]
    missing = [layer.name for layer in wanted if layer.name not in held]
    if missing:
        raise ValueError(f"The weights {origin} lack {_some(missing)}: they belong to another network.")
    misfits = [_misfit(layer, held[layer.name]) for layer in wanted if _shapes(layer) != _shapes(held[layer.name])]
    if misfits:
        raise ValueError(f"The weights {origin} do not fit this network's settings or channels: {_some(misfits)}.")
    for layer in wanted:
        layer.set_weights(held[layer.name].get_weights())


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]


def _misfit(layer: keras.layers.Layer, found: keras.layers.Layer) -> str:
    return f"{layer.name} is {_shapes(layer)} here and {_shapes(found)} there"


def _some(names: list[str]) -> str:
    shown = "; ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more layers"
