"""The Siamese network: its correlation against SciPy's, its places by hand, and its parts against the whole."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate2d

from models.backbones import SmallResNet
from models.graphs import with_float_input
from models.heads import IMAGE
from models.preprocess import PictureFormat
from models.siamese.network import EDGES, FARTHEST, NEAREST, SCORES, SEARCH, TEMPLATE, Siamese, correlated, parts
from models.stack import keras, tf

SIDE = 44
TINY = Siamese(stride=4, channels=8, template_cells=3, head_depth=1)


@pytest.fixture(scope="module")
def pair() -> keras.Model:
    keras.utils.set_random_seed(3)
    backbone = SmallResNet(depth=6, widths=(8, 8), stem_stride=2)
    return TINY.pair_network(PictureFormat(height=2 * SIDE, width=SIDE), backbone)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 2 * SIDE, SIDE, 3), dtype=np.uint8)


def test_each_channel_is_correlated_with_its_own() -> None:
    random = np.random.default_rng(1)
    search, template = (random.normal(size=(2, *shape, 3)).astype(np.float32) for shape in ((5, 7), (3, 3)))
    inputs = [keras.Input((5, 7, 3)), keras.Input((3, 3, 3))]
    found = keras.Model(inputs, correlated(*inputs))([search, template]).numpy()
    for example in range(2):
        for channel in range(3):
            expected = correlate2d(search[example, ..., channel], template[example, ..., channel], "same")
            np.testing.assert_allclose(found[example, ..., channel], expected, rtol=1e-4, atol=1e-5)


def test_places_lie_in_the_middles_of_their_cells() -> None:
    middles = TINY.middles(SIDE)
    assert middles.shape == (121, 2)
    np.testing.assert_allclose(middles[[0, 1, 11, 60]] * SIDE, [[2, 2], [6, 2], [2, 6], [22, 22]], rtol=1e-6)


def test_edges_are_distances_in_strides() -> None:
    edges = np.zeros((1, 11, 11, 4), np.float32)
    edges[0, 5, 5] = np.log([1, 2, 3, 4])
    boxes = TINY.boxes(SIDE, edges).numpy()[0] * SIDE
    np.testing.assert_allclose(boxes[60], [22 - 4, 22 - 8, 22 + 12, 22 + 16], rtol=1e-5)
    np.testing.assert_allclose(boxes[0], [-2, -2, 6, 6], rtol=1e-5)


@pytest.mark.parametrize("side", [48, 46, 4])
def test_a_side_without_a_place_in_its_middle_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match="odd number from 3 on"):
        TINY.cells(side)


def test_an_even_template_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an odd number"):
        Siamese(template_cells=4)


def test_the_parts_answer_as_the_whole(pair: keras.Model, pictures: np.ndarray) -> None:
    whole = pair({IMAGE: pictures}, training=False)
    for _ in range(2):  # dividing it leaves it as it was
        divided = parts(pair)
        template = divided[TEMPLATE]({IMAGE: pictures[:, SIDE:]})[TEMPLATE]
        assert template.shape == (2, 3, 3, 8)
        found = divided[SEARCH]({IMAGE: pictures[:, :SIDE], TEMPLATE: template})
        for name in (SCORES, EDGES):
            np.testing.assert_allclose(found[name], whole[name], rtol=1e-5, atol=1e-5)


def test_parts_take_the_pictures_of_the_whole(pair: keras.Model, pictures: np.ndarray) -> None:
    divided = parts(with_float_input(pair))
    assert [one.inputs[0].dtype for one in divided.values()] == [tf.float32, tf.float32]
    template = divided[TEMPLATE](pictures[:, SIDE:].astype(np.float32))[TEMPLATE]
    expected = parts(pair)[TEMPLATE]({IMAGE: pictures[:, SIDE:]})[TEMPLATE]
    np.testing.assert_allclose(template, expected, rtol=1e-5, atol=1e-5)


def test_raw_numbers_stay_within_their_limits(pair: keras.Model, pictures: np.ndarray) -> None:
    found = pair({IMAGE: pictures})
    assert found[SCORES].shape == (2, 11, 11, 1)
    assert np.abs(found[SCORES]).max() <= 8
    assert NEAREST <= found[EDGES].numpy().min() <= found[EDGES].numpy().max() <= FARTHEST
