from __future__ import annotations

import pytest

from models.stack import keras
from pipeline.compress.layer_choice import chosen_layers
from pipeline.errors import ConfigError, ExportError


@pytest.fixture
def branched() -> keras.Model:
    """normalise, a stem, two branches of which one is depthwise, and two heads."""
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(3, 1, trainable=False, name="normalise")(image)
    x = keras.layers.Conv2D(4, 3, padding="same", name="stem")(x)
    left = keras.layers.Conv2D(4, 1, name="left")(x)
    right = keras.layers.DepthwiseConv2D(3, padding="same", name="right")(x)
    x = keras.layers.Add(name="add")([left, right])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(8, name="hidden")(x)
    heads = [keras.layers.Dense(2, name=name)(x) for name in ("label", "colour")]
    return keras.Model(image, heads)


@pytest.mark.parametrize(
    ("keep", "chosen"),
    [
        ((), ["stem", "left", "hidden", "label", "colour"]),
        (("first",), ["left", "hidden", "label", "colour"]),
        (("last",), ["stem", "left", "hidden"]),
        (("first", "last", "h*"), ["left"]),
        (("left", "add"), ["stem", "hidden", "label", "colour"]),
    ],
)
def test_first_last_names_and_patterns_are_kept(
    branched: keras.Model, keep: tuple[str, ...], chosen: list[str]
) -> None:
    assert sorted(chosen_layers(branched, keep, "prune")) == sorted(chosen)


def test_frozen_layers_are_never_chosen(branched: keras.Model) -> None:
    branched.get_layer("stem").trainable = False
    branched.get_layer("hidden").trainable = False
    assert chosen_layers(branched, ("last",), "prune") == ["left"]
    assert chosen_layers(branched, ("first", "last"), "prune") == ["left"]  # the first layer is the first one, frozen


def test_an_unknown_name_is_answered_with_the_nearest(branched: keras.Model) -> None:
    with pytest.raises(ConfigError, match=r"'hiden'.*Did you mean 'hidden'"):
        chosen_layers(branched, ("hiden",), "prune")


def test_nothing_left_says_what_to_change(branched: keras.Model) -> None:
    with pytest.raises(
        ExportError, match=r"no layer to cluster: .* 5 can be chosen \(convolutions .*`keep` \(first, last, left, h\*\)"
    ):
        chosen_layers(branched, ("first", "last", "left", "h*"), "cluster")
