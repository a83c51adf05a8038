"""The client needs a handful of small packages, whatever else is installed, and gets along with whatever that is."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.run import Run
from tests.conftest import ROOT
from tests.serving.client.test_end_to_end import flowers, url_of
from tests.serving.running import Running
from tests.test_predict import pictures, run

__all__ = ["flowers", "pictures", "run"]

WITHOUT_THESE = """
import json, sys

refused = set(json.loads(sys.argv.pop(1)))

class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing)
"""
CONVOY = WITHOUT_THESE + "from pipeline.cli import main; main()"
OWN = "convoy"


def extras() -> dict[str, list[Requirement]]:
    """What `setup.cfg` asks for, `base` for what is always there."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    wanted = dict(config["options.extras_require"]) | {"base": config["options"]["install_requires"]}
    return {name: [Requirement(line) for line in text.split("\n") if line] for name, text in wanted.items()}


def closure(requirements: list[Requirement]) -> set[str]:
    """The names of the distributions that an installation of these brings."""
    found: set[str] = set()
    waiting = list(requirements)
    while waiting:
        one = waiting.pop()
        if canonicalize_name(one.name) in found or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(canonicalize_name(one.name))
        waiting += [Requirement(text) for text in metadata.requires(one.name) or ()]
    return found


def client_distributions() -> set[str]:
    wanted = extras()
    return closure([*wanted["base"], *wanted["client"]])


def modules_outside(distributions: set[str]) -> list[str]:
    """The modules that cannot be imported where only these distributions, and Convoy itself, are installed."""
    here = distributions | {OWN}
    provided = metadata.packages_distributions()
    return sorted(name for name, owners in provided.items() if not set(map(canonicalize_name, owners)) & here)


def as_installed(requirement: Requirement, extra: str) -> str:
    """A line of `setup.cfg` as the metadata of an installation has it."""
    one = Requirement(str(requirement))
    if extra != "base":
        asked = f'extra == "{extra}"'
        one.marker = Marker(f"({one.marker}) and {asked}" if one.marker else asked)
    return str(one)


def python(code: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    environment = {**kept, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_extra_client_brings_nothing_heavy() -> None:
    found = client_distributions()
    assert {"grpcio", "protobuf", "urllib3", "numpy", "pydantic"} <= found
    heavy = {
        "tensorflow",
        "tensorflow-serving-api",
        "tf-keras",
        "pandas",
        "scipy",
        "matplotlib",
        "opencv-python-headless",
    }
    assert not found & heavy
    assert len(found) <= 24, sorted(found)


def test_every_other_extra_that_runs_convoy_brings_all_of_it() -> None:
    wanted = extras()
    assert "client" in {extra for one in wanted["full"] for extra in one.extras}
    for name in ("test", "beam", "gpu", "video", "tracking"):
        assert any(one.name == "convoy" and "full" in one.extras for one in wanted[name]), name


def test_importing_the_client_loads_hardly_anything() -> None:
    code = (
        "import json, sys, serving.client; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout)) - set(sys.stdlib_module_names)
    assert not loaded & {
        "tensorflow",
        "tf_keras",
        "keras",
        "grpc",
        "google",
        "urllib3",
        "PIL",
        "pydantic",
        "numpy",
        "models",
    }


def test_the_client_does_not_choose_a_keras_for_its_process(run: Run) -> None:
    """TensorFlow may be there already, with Keras 3, and `tensorflow-serving-api` with messages of the same names."""
    code = """
import os, sys
from pathlib import Path
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from serving.client import connect
from serving.remote.messages import message
from serving.remote.tensors import to_proto, TensorProto
import numpy as np
for url in ("grpc://127.0.0.1:1", "http://127.0.0.1:1"):
    with connect(url, contract=Path(sys.argv[1])) as client:
        assert client.task.answer({"scores": np.array([0.1, 0.7, 0.2])})["label"] == "dog"
array = np.arange(6, dtype=np.float32).reshape(2, 3)
request = message("PredictRequest")()
request.inputs["x"].CopyFrom(to_proto(array))
theirs = predict_pb2.PredictRequest.FromString(request.SerializeToString())
assert (tf.make_ndarray(theirs.inputs["x"]) == array).all()
print(tf.keras.__version__, "TF_USE_LEGACY_KERAS" in os.environ)
"""
    done = python(code, str(run.export))
    assert done.returncode == 0, done.stderr[-2000:]
    version, chosen = done.stdout.split()
    assert version.startswith("3.") and chosen == "False"


def test_reading_a_contract_leaves_the_choice_of_keras_to_what_comes_later(run: Run) -> None:
    code = """
import os, sys
from pathlib import Path
from serving.client import connect
with connect("grpc://127.0.0.1:1", contract=Path(sys.argv[1])) as client:
    print(client.task.kind, "models" in sys.modules, [name for name in os.environ if name.startswith("TF_")])
"""
    done = python(code, str(run.contract))
    assert done.stdout.split(maxsplit=2) == ["classification", "True", "[]\n"], done.stderr


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_predict_with_a_server_where_only_the_client_is_installed(
    flowers: Running, run: Run, pictures: Path, scheme: str
) -> None:
    refused = json.dumps(modules_outside(client_distributions()))
    server = f"{url_of(flowers, scheme)}/v1/models/flowers"
    files = [str(pictures / "03.png"), str(pictures / "05.png")]

    def asked(*arguments: str) -> Any:
        done = python(CONVOY, refused, "predict", *arguments, "--json")
        return done.returncode, json.loads(done.stdout), done.stderr

    code, document, told = asked("--server", server, str(run.export), *files)
    assert code == 0, told
    assert [one["file"] for one in document["predictions"]] == files
    assert {one["label"] for one in document["predictions"]} <= {"cat", "dog", "owl"}
    code, document, _ = asked(str(run.export), *files)
    assert code == 1 and "No module named 'tensorflow'" in document["error"]["message"]
    assert "`convoy doctor` says what is missing" in document["error"]["message"]


def test_doctor_says_what_is_missing_where_only_the_client_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import doctor

    installed = client_distributions()
    told = [as_installed(one, name) for name, some in extras().items() for one in some]
    monkeypatch.setattr(doctor, "requires", lambda _: told)
    monkeypatch.setattr(doctor, "version", lambda _: "0.1.0")
    monkeypatch.setattr(doctor, "_installed", lambda name: "9999" if canonicalize_name(name) in installed else None)
    findings = [one for check in (doctor._packages, doctor._keras, doctor._devices) for one in check()]
    assert [one.name for one in findings if one.state == "wrong"] == ["TensorFlow"]
    assert "only the client works" in findings[-1].advice and "convoy[full]" in findings[-1].advice


def test_the_benchmark_sends_the_same_both_ways() -> None:
    from benchmarks import light_client

    picture = np.random.default_rng(1).integers(0, 256, (1, 8, 8, 3), np.uint8)
    for way in (light_client.ours, light_client.theirs):
        np.testing.assert_array_equal(way(picture), picture)
    line = light_client.codec(rounds=1)
    assert line.unit == "ms" and line.met is (line.value < light_client.CODEC_MILLISECONDS)
