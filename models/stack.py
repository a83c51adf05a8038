"""TensorFlow and Keras 2 for all of Convoy, imported on first use.

Every module says ``from models.stack import keras, tf``. That keeps two promises: settings, help and schemas load
without TensorFlow (2 seconds saved on each ``--help``), and ``TF_USE_LEGACY_KERAS=1`` is set before TensorFlow is
imported (`models/__init__.py` sees to it), without which keras-cv and tensorflow-model-optimization mix Keras 2 and 3.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

LEGACY_KERAS = "TF_USE_LEGACY_KERAS"
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
DEFAULTS = {"TF_CPP_MIN_LOG_LEVEL": "2", ONEDNN: "1"}
"""What TensorFlow is told where the environment says nothing. oneDNN it turns on by itself only where a processor has
AVX512-VNNI or the like; with AVX2 alone a small residual network trains 2.5 times as fast with it, and all machines
then compute with the same kernels."""
OWN_CHOICE = "CONVOY_CHOSE_ONEDNN"
"""Set beside it: what a process inherits is else not to be told from what its user wants."""


def prefer_legacy_keras() -> None:
    """Chooses Keras 2 for this process, where nothing else was chosen and TensorFlow has not been imported.

    Another choice is an error only where TensorFlow is then used: settings alone do not need it.
    """
    if LEGACY_KERAS not in os.environ and "tensorflow" not in sys.modules:
        require_legacy_keras()


def require_legacy_keras() -> None:
    """Chooses Keras 2 for this process.

    Raises:
        ImportError: Keras 3 was chosen by the environment, or TensorFlow was imported before Keras 2 could be chosen.
    """
    chosen = os.environ.get(LEGACY_KERAS)
    if chosen not in (None, "1") or (chosen is None and "tensorflow" in sys.modules):
        raise ImportError(
            f"Convoy runs on Keras 2, but Keras 3 was chosen ({LEGACY_KERAS}={chosen}, TensorFlow "
            f"{'already' if 'tensorflow' in sys.modules else 'not yet'} imported). "
            f"Set {LEGACY_KERAS}=1 in the environment, or import Convoy before TensorFlow."
        )
    os.environ[LEGACY_KERAS] = "1"
    if ONEDNN in DEFAULTS and ONEDNN not in os.environ:
        os.environ[OWN_CHOICE] = "1"
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def leave_kernels_to_tensorflow() -> None:
    """Lets TensorFlow choose in this process whether it uses oneDNN, where the environment says nothing.

    For servers, which often compute one picture: where there is only AVX2, and weights are variables, oneDNN has but a
    reference implementation for the fused convolutions of a single picture (MobileNetV2 at 224 px: 1 a second instead
    of 26), and little to gain for small batches. Once TensorFlow is imported, this changes nothing.
    """
    if "tensorflow" in sys.modules:
        return
    DEFAULTS.pop(ONEDNN, None)
    if os.environ.pop(OWN_CHOICE, None):
        os.environ.pop(ONEDNN, None)


class LazyModule:
    """A stand-in for a module that is imported when the first attribute is asked for.

    Raises:
        ImportError: then, where Keras 3 was chosen for this process.
    """

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        require_legacy_keras()
        value = self.__dict__[attribute] = getattr(importlib.import_module(self._name), attribute)
        return value


if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras as keras
else:
    tf = LazyModule("tensorflow")
    keras = LazyModule("tf_keras")

__all__ = ["LazyModule", "keras", "leave_kernels_to_tensorflow", "require_legacy_keras", "tf"]
