"""The command line as a user meets it: exit codes, stdout and stderr, JSON, interruption."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline import cli, errors, opening
from pipeline.console import terminal

ROOT = Path(__file__).parent.parent
VERBS = (
    "run", "prepare", "train", "evaluate", "compress", "export", "verify", "report",
    "predict", "preview", "profile", "init", "doctor", "data-service", "describe", "schema",
    "serve",
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


def test_nothing_heavy_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    """Help needs not even the configuration's code; the other commands no TensorFlow."""
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "pets" / name / "1.png")
    commands = [
        ["train", "--help"],
        ["describe", "task"],
        ["schema"],
        ["init", "--output", "-", "pets"],
    ]
    code = f"""
import sys
from pipeline.cli import execute
assert execute(["--help"]) == 0
assert "pydantic" not in sys.modules and "numpy" not in sys.modules
for command in {commands}:
    assert execute(command) == 0
    heavy = {{"tensorflow", "tf_keras", "pandas", "sklearn", "matplotlib"}} & set(sys.modules)
    assert not heavy, (command, heavy)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), stdout=subprocess.DEVNULL)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["--version"]) == 0
    assert capsys.readouterr().out.startswith("convoy ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["trainn", "mine.yaml"], 2, "Did you mean 'train'?"),
        (["train"], 2, "Missing argument 'CONFIG'"),
        (["train", "mine.yaml", "--josn"], 2, "--json"),
        (["train"], 2, "'CONFIG'. See `convoy train --help`."),
        (["describe", "train", "epochs"], 2, "Got epochs behind 'train', expected one SETTING"),
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


def test_the_documented_exit_codes_are_those_of_the_errors() -> None:
    table = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8").partition("## Exit codes")[2]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)}
    raised = {error.exit_code for error in (errors.ConvoyError, *errors.ConvoyError.__subclasses__())}
    assert documented == raised | {0, cli.FAULT}


def test_a_fault_ends_with_its_own_code_and_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """No command line of strings is known to cause one, so this one holds a number."""
    assert cli.execute(["describe", 5]) == cli.FAULT  # type: ignore[list-item]
    message = capsys.readouterr().err
    assert "Traceback" in message
    assert "a fault in Convoy" in message


def test_the_run_folder(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "config.yaml").write_text(CONFIG + "seed: 5\nrun: elsewhere\n", encoding="utf-8")
    mine, given = Path("mine.yaml"), Path("given")
    commands = [
        (mine, [], None), (mine, ["run=chosen"], None), (mine, ["run=chosen"], given),
        (earlier, [], None), (earlier, ["seed=6"], given),
    ]  # fmt: skip
    opened = [opening.configuration(*command) for command in commands]
    assert [folder for _, folder in opened] == [Path("runs/mine"), Path("chosen"), given, earlier, given]
    assert [config.seed for config, _ in opened] == [0, 0, 0, 5, 6]


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
    assert cli.execute(["prepare", "pets.yaml", "--json"]) == 0
    counts = document(capsys)["data"]["info"]["num_examples"]
    assert counts == {"train": 32, "validation": 4, "test": 4}


def test_schema_and_describe_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["schema"]) == 0
    assert "properties" in document(capsys)
    assert cli.execute(["describe", "--json", "task.backbone"]) == 0
    assert "mobilenet_v2" in document(capsys)["choices"]
    assert cli.execute(["describe", "augment.rotation"]) == 0
    assert "degrees" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_with_130_and_one_message(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(CONFIG + "train: {epochs: 1000, tensorboard: false}\n", encoding="utf-8")
    # A shell that starts the tests in the background has them ignore SIGINT, which children inherit.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    command = convoy("train", "mine.yaml", "--json")
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    )
    assert process.stderr is not None
    while not process.stderr.readline().endswith("pictures left out\n"):
        assert process.poll() is None
    process.send_signal(number)
    output, messages = process.communicate(timeout=120)
    assert process.returncode == 130
    assert json.loads(output)["error"]["exit_code"] == 130
    assert messages.splitlines()[-1].startswith(("Error: stopped.", f"Error: Stopped by {number.name}"))
    assert "Traceback" not in messages


def test_native_chatter_is_hidden() -> None:
    """TensorFlow's C++ code writes to stderr as it starts, whatever its log level is."""
    result = subprocess.run(
        convoy("prepare", "mine.yaml"), env=environment(), capture_output=True, text=True, check=True
    )
    assert [line for line in result.stderr.splitlines() if not line.startswith("prepare: ")] == []


def test_what_was_hidden_can_be_shown() -> None:
    code = """
import os, sys
from pipeline.console import native_messages_hidden
with native_messages_hidden() as hidden:
    os.write(2, b"native noise")
    sys.stderr.write("ours")
    hidden.seek(0)
    print(hidden.read())
"""
    result = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("b'native noise'\n", "ours")
