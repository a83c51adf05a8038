"""The command line as a user meets it: exit codes, stdout and stderr, JSON, interruption."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from pipeline import cli, errors, stages
from pipeline.config import Config
from pipeline.console import terminal
from pipeline.run import Run

ROOT = Path(__file__).parent.parent
VERBS = (
    "run", "prepare", "train", "evaluate", "compress", "export", "verify", "report",
    "predict", "init", "doctor", "describe", "schema",
)  # fmt: skip
CONFIG = "data: {source: digits}\ntask: {kind: classification}\n"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(CONFIG, encoding="utf-8")
    yield
    terminal.configure()


def document(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def convoy(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from pipeline.cli import main; main()", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_help_lists_the_verbs_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for verb in VERBS:
        assert verb in text
    assert "Exit codes" in text
    assert cli.execute([]) == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_the_output_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute([verb, "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--json", "--quiet", "--verbose"):
        assert option in text


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["describe", "task"], ["schema"], ["init", "--output", "-", "pets"]]
)
def test_no_tensorflow_before_it_is_needed(arguments: list[str], tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "pets" / name / "1.png")
    code = (
        "import sys\nfrom pipeline.cli import execute\n"
        f"assert execute({arguments}) == 0\n"
        "heavy = {'tensorflow', 'tf_keras', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), stdout=subprocess.DEVNULL)


def test_help_needs_no_configuration_code() -> None:
    code = (
        "import sys\nfrom pipeline.cli import execute\nexecute(['--help'])\n"
        "assert 'pydantic' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), stdout=subprocess.DEVNULL)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["--version"]) == 0
    assert capsys.readouterr().out.startswith("convoy ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["trian", "mine.yaml"], 2, "Did you mean 'train'?"),
        (["train"], 2, "Missing argument 'CONFIG'"),
        (["train", "mine.yaml", "--josn"], 2, "--json"),
        (["train", "gone.yaml"], 2, "there is no such file"),
        (["train", "mine.yaml", "train.epohcs=3"], 2, "Did you mean 'epochs'?"),
        (["train", "mine.yaml", "-q", "-v"], 2, "exclude each other"),
        (["train", "."], 7, "no Run"),
        (["describe", "trian"], 2, "Did you mean 'train'?"),
        (["init", "gone"], 3, "does not exist"),
        (["init", "."], 3, "Convoy can read"),
        (["predict", "gone", "x.png"], 7, "There is no gone"),
    ],
)
def test_mistakes_are_one_message_and_a_code(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.execute(arguments) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert "Error: " in output.err
    assert message in output.err
    assert ("Traceback" in output.err) == ("-v" in arguments and "-q" not in arguments)


def test_mistakes_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["train", "mine.yaml", "seed=x", "--json"]) == 2
    error = document(capsys)["error"]
    assert (error["kind"], error["exit_code"]) == ("ConfigError", 2)
    assert "seed is 'x'" in error["message"]
    assert cli.execute(["train", "--json"]) == 2
    assert document(capsys)["error"]["exit_code"] == 2


ALL_ERRORS = [
    errors.ConvoyError, errors.ConfigError, errors.DataError, errors.TrainingError, errors.ExportError,
    errors.VerificationError, errors.RunError, errors.StorageError, errors.Interrupted,
]  # fmt: skip


@pytest.mark.parametrize("error", ALL_ERRORS)
def test_each_error_has_its_exit_code(
    error: type[errors.ConvoyError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: Config, run: Run) -> None:
        raise error("what happened")

    monkeypatch.setattr(stages, "evaluate", fail)
    assert cli.execute(["evaluate", "mine.yaml"]) == error.exit_code
    assert capsys.readouterr().err == "Error: what happened\n"
    assert cli.execute(["evaluate", "mine.yaml", "--verbose"]) == error.exit_code
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_and_faults(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(config: Config, run: Run) -> None:
        raise KeyboardInterrupt

    def break_(config: Config, run: Run) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(stages, "prepare", stop)
    assert cli.execute(["prepare", "mine.yaml", "--json"]) == 130
    assert document(capsys)["error"]["exit_code"] == 130
    monkeypatch.setattr(stages, "prepare", break_)
    assert cli.execute(["prepare", "mine.yaml"]) == cli.FAULT
    message = capsys.readouterr().err
    assert "Traceback" in message
    assert "a fault in Convoy" in message


def test_the_run_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[Path, int]] = []
    monkeypatch.setattr(stages, "evaluate", lambda config, run: seen.append((run.path, config.seed)))
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "config.yaml").write_text(CONFIG + "seed: 5\nrun: elsewhere\n", encoding="utf-8")
    cli.execute(["evaluate", "mine.yaml"])
    cli.execute(["evaluate", "mine.yaml", "run=chosen"])
    cli.execute(["evaluate", "mine.yaml", "run=chosen", "--run", "given"])
    cli.execute(["evaluate", str(earlier)])
    cli.execute(["evaluate", str(earlier), "seed=6", "--run", "given"])
    paths = [Path("runs/mine"), Path("chosen"), Path("given"), earlier, Path("given")]
    assert seen == list(zip(paths, [0, 0, 0, 5, 6], strict=True))


@pytest.mark.parametrize("verb", ["run", "verify"])
def test_what_is_not_blessed_is_shown_and_exits_with_6(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = {
        "float32": {
            "bytes": 2000,
            "metrics": {"accuracy": 0.9},
            "drop": 0.0,
            "agreement": 1.0,
            "blessed": True,
            "why": "",
        },
        "int8": {
            "bytes": 500,
            "metrics": {"accuracy": 0.5},
            "drop": 0.4,
            "agreement": 0.6,
            "blessed": False,
            "why": "bad",
        },
    }

    def refuse(config: Config, run: Run, resume: bool = False) -> None:
        run.write_json(run.summary, {"metric": {"name": "accuracy", "direction": "max"}, "variants": variants})
        raise errors.VerificationError("Not blessed: int8: bad")

    monkeypatch.setattr(stages, "verify", refuse)
    monkeypatch.setattr(stages, "run_all", refuse)
    assert cli.execute([verb, "mine.yaml"]) == 6
    output = capsys.readouterr()
    assert [line.split() for line in output.out.splitlines()][2][:5] == ["int8", "0", "0.5000", "0.4000", "0.6000"]
    assert "Not blessed" in output.err
    assert cli.execute([verb, "mine.yaml", "--json"]) == 6
    whole = document(capsys)
    assert whole["variants"]["int8"]["blessed"] is False
    assert whole["error"]["exit_code"] == 6


def test_json_is_one_document_whatever_libraries_print(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def chatter(config: Config, run: Run) -> None:
        print("a library talks")
        run.write_json(run.evaluation, {"accuracy": 0.75})

    monkeypatch.setattr(stages, "evaluate", chatter)
    assert cli.execute(["evaluate", "mine.yaml", "--json"]) == 0
    assert document(capsys) == {"run": "runs/mine", "metrics": {"accuracy": 0.75}}
    assert cli.execute(["evaluate", "mine.yaml"]) == 0
    assert "accuracy: 0.7500" in capsys.readouterr().out


def test_init_then_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(20):
            Image.effect_noise((9, 9), 60).save(tmp_path / "pets" / name / f"{index}.png")
    assert cli.execute(["init", "pets", "--json"]) == 0
    assert document(capsys)["found"]["classes"] == {"cat": 20, "dog": 20}
    assert cli.execute(["init", "pets"]) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.execute(["init", "pets", "--output", "other.yaml"]) == 0
    assert "2 classes: cat (20), dog (20)." in capsys.readouterr().out
    assert (tmp_path / "other.yaml").read_text(encoding="utf-8").startswith("# Written by `convoy init pets`.")
    result = subprocess.run(
        convoy("prepare", "pets.yaml", "--json"), env=environment(), capture_output=True, text=True, check=True
    )
    counts = json.loads(result.stdout)["data"]["info"]["num_examples"]
    assert counts == {"train": 32, "validation": 4, "test": 4}


def test_schema_and_describe_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["schema"]) == 0
    assert "properties" in document(capsys)
    assert cli.execute(["describe", "--json", "task.backbone"]) == 0
    assert "mobilenet_v2" in document(capsys)["choices"]
    assert cli.execute(["describe", "augment.rotation"]) == 0
    assert "degrees" in capsys.readouterr().out


WAITS = """
import sys, time
from pipeline import cli, stages
def wait(config, run):
    print("waiting", file=sys.stderr, flush=True)
    time.sleep(60)
stages.prepare = wait
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_with_130_and_one_message(number: signal.Signals) -> None:
    command = [sys.executable, "-c", WAITS, "prepare", "mine.yaml"]
    # A shell that starts the tests in the background has them ignore SIGINT, which children inherit.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    assert process.stderr is not None
    assert process.stderr.readline() == "waiting\n"
    time.sleep(0.1)
    process.send_signal(number)
    assert process.stderr.read() == "Error: stopped.\n"
    assert process.wait(timeout=20) == 130
    process.stderr.close()


def test_native_chatter_is_hidden_and_shown_after_a_fault() -> None:
    code = (
        "import os\nfrom pipeline import cli, stages\n"
        "def noisy(config, run):\n    os.write(2, b'native noise')\n    {}\n"
        "stages.prepare = noisy\ncli.main()"
    )
    for body, noise, status in [("pass", False, 0), ("1 / 0", True, cli.FAULT)]:
        command = [sys.executable, "-c", code.format(body), "prepare", "mine.yaml"]
        result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        assert result.returncode == status
        assert ("native noise" in result.stderr) is noise
