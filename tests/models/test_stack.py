"""Which Keras a process gets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True, timeout=300
    )


def test_importing_models_chooses_keras_2() -> None:
    done = python("import os, models; print(os.environ['TF_USE_LEGACY_KERAS'])")
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("before", "environment", "said"),
    [
        ("", {"TF_USE_LEGACY_KERAS": "0"}, "TF_USE_LEGACY_KERAS=0, TensorFlow not yet imported"),
        # A stand-in is enough: what counts is that something imported a TensorFlow first.
        ("import sys, types; sys.modules['tensorflow'] = types.ModuleType('tensorflow')", {}, "already imported"),
    ],
)
def test_another_choice_is_refused_once_tensorflow_is_needed(
    before: str, environment: dict[str, str], said: str
) -> None:
    done = python(
        f"{before}\nimport pipeline.config\nfrom models.stack import tf\nprint('settings')\ntf.constant", **environment
    )
    assert done.stdout == "settings\n"
    assert "ImportError: Convoy runs on Keras 2, but Keras 3 was chosen" in done.stderr and said in done.stderr


@pytest.mark.parametrize(
    ("environment", "kernels"),
    [
        ({}, None),
        ({"TF_ENABLE_ONEDNN_OPTS": "1", "CONVOY_CHOSE_ONEDNN": "1"}, None),  # a Convoy started this process
        ({"TF_ENABLE_ONEDNN_OPTS": "1", "CONVOY_CHOSE_ONEDNN": ""}, "1"),
    ],
)
def test_a_server_leaves_kernels_to_tensorflow_unless_the_user_chose(
    environment: dict[str, str], kernels: str | None
) -> None:
    code = """
import os, sys, types
from models.stack import leave_kernels_to_tensorflow, tf
leave_kernels_to_tensorflow()
sys.modules["tensorflow"] = types.SimpleNamespace(used=lambda: os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
print(tf.used())
"""
    assert python(code, **environment).stdout == f"{kernels}\n"
