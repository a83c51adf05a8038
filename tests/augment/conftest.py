"""Fixtures of the tests of augmentation."""

from __future__ import annotations

from typing import Any

import pytest

from models.stack import tf


@pytest.fixture(scope="session")
def layers() -> Any:
    """keras-cv's layers."""
    from keras_cv import layers

    # Another test of the process may have switched on determinism: keras-cv then needs generators with a seed.
    tf.random.set_seed(0)
    tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    return layers
