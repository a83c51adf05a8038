"""What a result depends on besides the configuration: versions, source revision, devices, host."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.processors import processor
from pipeline.strategy import device_names

PACKAGES = (
    "convoy",
    "tensorflow",
    "tf-keras",
    "keras-cv",
    "tensorflow-model-optimization",
    "tensorflow-datasets",
    "ai-edge-litert",
    "numpy",
    "pillow",
    "scikit-learn",
)


def environment(seed: int) -> dict[str, Any]:
    """Plain values for `environment.json`."""
    return {
        "versions": {"python": platform.python_version(), **package_versions()},
        "git_revision": git_revision(Path(__file__).parent),
        "seed": seed,
        "devices": list(device_names()),
        "host": host(),
    }


def package_versions() -> dict[str, str]:
    """Package -> installed version, `not installed` where it is missing."""
    return {name: installed(name) for name in PACKAGES}


def installed(name: str) -> str:
    """The installed version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def git_revision(folder: Path) -> str | None:
    """The commit that the code in a folder is at, with `-dirty` where it was changed; None outside a checkout."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def host() -> dict[str, Any]:
    """Processor, cores and system; no name of the machine."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "machine": platform.machine(),
    }
