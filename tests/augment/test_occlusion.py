"""Cutout."""

from __future__ import annotations

import numpy as np
import pytest

from models.stack import tf
from pipeline.augment.occlusion import Cutout, Erase
from tests.augment.pictures import batch, eagerly, in_tf_data


def test_a_square_is_filled_and_nothing_else() -> None:
    pictures = batch(2, 6, 8, 3)["image"]
    expected = pictures.copy()
    expected[0, 0:2, 5:8] = 9
    expected[1, 3:6, 2:5] = 9
    erase = Erase(tf.constant([[-1, 5], [3, 2]]), tf.constant([3, 3]), 9)
    np.testing.assert_array_equal(erase({"image": tf.constant(pictures)})["image"], expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_is_hidden_at_times(channels: int) -> None:
    examples = batch(500, 8, 10, channels)
    examples["image"] = np.full_like(examples["image"], 1)
    result = eagerly([Cutout(size=0.5, value=0)], examples)
    hidden = (result == 0).mean(axis=0)
    assert hidden.min() > 0.02
    assert (result == 0).all(axis=-1).sum(axis=(1, 2)).max() == 16
    np.testing.assert_array_equal(result, in_tf_data([Cutout(size=0.5, value=0)], examples))


@pytest.mark.parametrize("cutout", [Cutout(size=0), Cutout(probability=0)])
def test_no_magnitude_is_no_change(cutout: Cutout) -> None:
    examples = batch(4)
    np.testing.assert_array_equal(eagerly([cutout], examples), examples["image"])
