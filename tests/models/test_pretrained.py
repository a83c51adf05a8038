"""Weights from files in the forms that keras.applications and Keras write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import pretrained
from models.backbones import Application, MobileNet, MobileNetV2, SmallResNet
from models.stack import keras

ALPHA = 0.25


@pytest.fixture(scope="module")
def published() -> keras.Model:
    """A MobileNet as keras.applications builds it, with weights that no other has."""
    return keras.applications.MobileNet(input_shape=(64, 64, 3), alpha=ALPHA, include_top=False, weights=None)


def deepest(backbone: Application | SmallResNet, size: int = 64, channels: int = 3) -> keras.Model:
    image = keras.Input((size, size, channels))
    return keras.Model(image, list(backbone.features(image).values())[-1])


@pytest.mark.parametrize("name", ["notop.h5", "notop.weights.h5", "model.keras", "model.h5"])
def test_every_form_of_file_gives_the_published_features(name: str, published: keras.Model, tmp_path: Path) -> None:
    file = tmp_path / name
    if "notop" in name:
        published.save_weights(file)
    else:
        published.save(file)
    model = deepest(MobileNet(alpha=ALPHA, weights=str(file)))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    expected = published(keras.applications.mobilenet.preprocess_input(pixels.copy()))
    np.testing.assert_allclose(model(pixels), expected, atol=1e-5)


def test_another_runs_model_gives_its_backbone(build, tmp_path: Path) -> None:
    first = build(SmallResNet(depth=8, widths=(4, 8, 12)))
    first.save(tmp_path / "model.keras")
    second = deepest(SmallResNet(depth=8, widths=(4, 8, 12), weights=str(tmp_path / "model.keras")), 16)
    for layer in second.layers:
        for ours, theirs in (
            zip(layer.get_weights(), first.get_layer(layer.name).get_weights(), strict=True) if layer.weights else ()
        ):
            assert np.array_equal(ours, theirs)


def test_small_resnets_weights_file(tmp_path: Path) -> None:
    settings = SmallResNet(depth=8, widths=(4, 8, 12))
    first = deepest(settings, 16)
    first.save_weights(tmp_path / "small.weights.h5")
    second = deepest(settings.model_copy(update={"weights": str(tmp_path / "small.weights.h5")}), 32)
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.h5 does not exist"):
        deepest(MobileNet(weights=str(tmp_path / "absent.h5")))


@pytest.mark.parametrize("ending", ["h5", "weights.h5", "keras"])
def test_another_networks_file_is_refused(ending: str, published: keras.Model, tmp_path: Path) -> None:
    file = tmp_path / f"notop.{ending}"
    published.save(file) if ending == "keras" else published.save_weights(file)
    with pytest.raises(ValueError, match=r"notop\.(h5|weights\.h5|keras)"):
        deepest(MobileNetV2(alpha=0.35, weights=str(file)))


@pytest.mark.parametrize("ending", ["h5", "weights.h5", "keras"])
def test_other_widths_or_channels_are_refused(ending: str, published: keras.Model, tmp_path: Path) -> None:
    file = tmp_path / f"notop.{ending}"
    published.save(file) if ending == "keras" else published.save_weights(file)
    with pytest.raises(ValueError, match=r"notop\.(h5|weights\.h5|keras)"):
        deepest(MobileNet(alpha=0.5, weights=str(file)))
    with pytest.raises(ValueError, match=r"notop\.(h5|weights\.h5|keras)"):
        deepest(MobileNet(alpha=ALPHA, weights=str(file)), channels=1)


@pytest.mark.parametrize("ending", ["h5", "weights.h5", "keras"])
def test_a_damaged_file_is_refused(ending: str, published: keras.Model, tmp_path: Path) -> None:
    file = tmp_path / f"cut.{ending}"
    published.save(file) if ending == "keras" else published.save_weights(file)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ValueError, match="could not be read"):
        deepest(MobileNet(alpha=ALPHA, weights=str(file)))


def test_imagenet_weights_need_colour_and_a_published_width() -> None:
    with pytest.raises(ValueError, match="3 channels, got 1"):
        deepest(MobileNet(weights="imagenet"), channels=1)
    with pytest.raises(ValueError, match="alpha"):
        deepest(MobileNet(weights="imagenet", alpha=0.3))


def test_without_a_network_the_message_says_what_to_do() -> None:
    def offline(**_: object) -> keras.Model:
        raise Exception("URL fetch failure on https://example.invalid")

    with pytest.raises(ValueError, match=r"could not be downloaded: URL fetch failure .* name its path"):
        pretrained.published(offline, (64, 64, 3))
