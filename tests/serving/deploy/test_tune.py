"""`convoy tune` on a Run and on a production folder, with real servers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import execute
from pipeline.errors import ConfigError, ConvoyError, RunError
from pipeline.pictures_to_send import pictures_in
from serving import configs
from serving.deployment import Deployment
from serving.tuning.bench import _running
from serving.tuning.place import place_of
from tests.serving.deploy.conftest import deployed
from tests.serving.deploy.runs import MODEL, encoded_picture
from tests.serving.running import eventually

READY = "import sys, time; print('gRPC at h:1, REST at http://h:2', flush=True); time.sleep(600)"


def test_a_run_and_its_export_are_served_from_their_export(runs: list[Path]) -> None:
    place = place_of(runs[0])
    assert (place.name, place.version, place.picture_ms) == ("run1", None, 2.5)
    assert place.base_path == runs[0] / "export" / "saved_model"
    assert place.output == runs[0] / "tune"


def test_of_a_production_folder_the_stable_version_is_served(made: Path) -> None:
    place = place_of(made)
    assert (place.name, place.version, place.latency_ms, place.cpus) == (MODEL, 1, 200.0, 2)
    assert place.base_path == made / "models" / MODEL and place.output == made


def test_the_examples_of_a_model_are_sent(made: Path, runs: list[Path]) -> None:
    assert pictures_in([made], 10) == [encoded_picture(1)]
    assert pictures_in([runs[0]], 10) == pictures_in([runs[0] / "export"], 10) == [encoded_picture(0)]


def test_where_nothing_can_be_kept_the_closest_is_named_and_the_old_file_stays(
    folder: Deployment, capfd: pytest.CaptureFixture[str]
) -> None:
    before = folder.batching_config.read_bytes()
    code = execute(["tune", str(folder.path), "--latency-ms", "0.001", "--minutes", "0.1"])
    told = capfd.readouterr().err
    assert code == 6
    assert "No settings keep 99 of 100 requests of flowers within 0.001 ms. The closest: batches of 1" in told
    assert "tune: coarse: 1 of 1 candidate, " in told and "tune: fine" not in told
    assert folder.batching_config.read_bytes() == before
    assert not list(folder.path.glob("tune.*"))


def test_what_was_measured_on_a_run_comes_along_when_it_is_deployed(own_run: Path, tmp_path: Path) -> None:
    measured = configs.measured_of(own_run)
    configs.write_text(measured, configs.batching(4, 0, 2, 8), ["Measured by convoy tune."])
    first = deployed(own_run, tmp_path / "production")
    assert first.batching_config.read_bytes() == measured.read_bytes()
    configs.write_text(first.batching_config, configs.batching(2, 0, 2, 8), ["Measured by convoy tune, later."])
    kept = first.batching_config.read_bytes()
    assert deployed(own_run, tmp_path / "production").batching_config.read_bytes() == kept


def test_what_was_measured_for_another_deployment_is_told(
    own_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    measured = configs.measured_of(own_run)
    configs.write_text(measured, configs.batching(4, 0, 2, 8), ["Measured by convoy tune."])
    measured.with_name("tune.json").write_text('{"conditions": {"latency_ms": 50.0, "cpus": 2}}')
    first = deployed(own_run, tmp_path / "production", latency_ms=50.0)
    assert "was measured for" not in capfd.readouterr().err
    deployed(own_run, first.path, latency_ms=80.0, cpus=4)
    told = " ".join(capfd.readouterr().err.split())
    assert "was measured for --latency-ms 50 (here 80), --cpus 2 (here 4). Measure it again: convoy tune" in told
    (first.path / "tune.json").write_text("{damaged")
    deployed(own_run, first.path, cpus=8)
    assert "was measured for" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (["EMPTY", "--latency-ms", "5"], RunError, "holds no export"),
        (["RUN"], ConfigError, "--latency-ms MS. A Run does not know it."),
        (["RUN", "--latency-ms", "0"], ConfigError, "'--latency-ms'"),
        (["RUN", "--latency-ms", "5", "--minutes", "0"], ConfigError, "'--minutes'"),
    ],
)
def test_bad_input(
    runs: list[Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    kind: type[ConvoyError],
    said: str,
) -> None:
    places = {"EMPTY": str(tmp_path), "RUN": str(runs[0])}
    assert execute(["tune", *(places.get(one, one) for one in arguments)]) == kind.exit_code
    assert said in capfd.readouterr().err


def test_a_server_that_does_not_start_is_told_in_its_own_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    with (
        pytest.raises(ConvoyError, match=r"The server does not start. It said:\nno such model"),
        _running(command, tmp_path / "log"),
    ):
        pass


def test_no_server_is_left_when_it_is_interrupted(tmp_path: Path) -> None:
    mark = f"{READY}  # {tmp_path}"
    with pytest.raises(KeyboardInterrupt), _running([sys.executable, "-c", mark], tmp_path / "log") as addresses:
        assert addresses == ("h:1", "h:2")
        raise KeyboardInterrupt
    eventually(lambda: subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False).returncode == 1)
