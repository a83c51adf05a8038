"""TF Serving's own answers over REST, case by case, from the shared file, asked of `convoy serve` as a process."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.serving.conftest import CASES, SHARED, conformance, main_config
from tests.serving.processes import convoy_serve


@pytest.fixture(scope="module")
def replay(serving_models: Path) -> ModuleType:
    """The script that replays cases against any server."""
    spec = importlib.util.spec_from_file_location("run_conformance", SHARED / "run_conformance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def url(serving_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Gives the address of the server that a case asks: `main`, or `cors`."""
    config = main_config(json.loads(CASES.read_text())["models"], serving_models)
    with (
        convoy_serve(config, tmp_path_factory.mktemp("main")) as main,
        convoy_serve(config, tmp_path_factory.mktemp("cors"), "--rest-cors") as cors,
    ):
        ports = {"main": main.rest_port, "cors": cors.rest_port}
        yield lambda server: f"http://127.0.0.1:{ports[server]}"


@pytest.mark.parametrize("case", conformance("rest"))
def test_answers_like_tf_serving(case: dict[str, Any], replay: ModuleType, url: Callable[[str], str]) -> None:
    assert replay.failure(case, url(case.get("server", "main")), SHARED) is None
