"""Fixtures of the serving tests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from tests.serving.running import Running

SHARED = Path(os.environ.get("CONVOY_SERVING", ROOT / ".." / "shared" / "serving")).resolve()
CASES = SHARED / "conformance.json"


def conformance(transport: str) -> list[Any]:
    """The cases of one transport as test parameters, named as the file names them."""
    if not CASES.is_file():
        reason = f"TF Serving's cases are not in {SHARED}; set CONVOY_SERVING"
        return [pytest.param({}, marks=pytest.mark.skip(reason=reason))]
    cases = json.loads(CASES.read_text())["cases"]
    return [pytest.param(case, id=case["name"]) for case in cases if case["transport"] == transport]


@pytest.fixture(scope="session")
def serving_models() -> Path:
    """The folder of the SavedModels that the cases run on; skips where it is missing."""
    if not CASES.is_file():
        pytest.skip(f"TF Serving's cases and models are not in {SHARED}; set CONVOY_SERVING")
    return SHARED / "models"


@pytest.fixture(scope="session")
def main_server(serving_models: Path) -> Iterator[Running]:
    """A server with all models of the cases, their policies and labels; both fronts."""
    from tests.serving.running import running

    models = json.loads(CASES.read_text())["models"]
    with running(main_config(models, serving_models), rest_port=0, allow_labels_for_unavailable=True) as server:
        yield server


def main_config(models: Mapping[str, Any], folder: Path) -> Any:
    """The configuration that the file of cases describes."""
    from tests.serving.running import config_of

    config = config_of({name: folder.parent / model["path"] for name, model in models.items()})
    for one in config.model_config_list.config:
        policy, labels = models[one.name].get("policy", {}), models[one.name].get("labels", {})
        one.model_version_policy.specific.versions.extend(policy.get("specific", ()))
        if "all" in policy:
            one.model_version_policy.all.SetInParent()
        elif "specific" not in policy:
            one.ClearField("model_version_policy")
        one.version_labels.update(labels)
    return config
