from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from pipeline.data.sources import Digits


def test_digits_keep_their_pixels():
    source = Digits()
    source.check()
    examples = list(source.examples())
    assert len({example.id for example in examples}) == 1797
    assert source.class_names() == tuple("0123456789")
    digits = load_digits()
    for number in (0, 1000):
        assert examples[number].label == str(digits.target[number])
        # 16 is the brightest: 255 / 16 levels a step
        np.testing.assert_allclose(examples[number].image, digits.images[number] * 15.9375, atol=0.5)
        assert examples[number].image.dtype == np.uint8
