"""Every command that the pages show exists: verb, options, configuration file, overrides, Make target."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from pipeline.cli import app
from pipeline.config import load
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
FENCE = re.compile(r"^ *(```+|~~~+)(.*)$")
SPAN = re.compile(r"`((?:convoy|make) [^`]+)`")
LANGUAGES = {"", "sh", "bash", "shell", "console"}
ASSIGNMENT = re.compile(r"^[\w.]+=")
VERBS: dict[str, Any] = typer.main.get_command(app).commands
WITH_CONFIGURATION = {"run", "prepare", "train", "evaluate", "compress", "export", "verify", "report"}


@dataclass(frozen=True)
class Command:
    """A command line of ours, split into words, and where it stands."""

    place: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.place}:{' '.join(self.words)}"


def shown_lines(text: str) -> Iterator[tuple[int, str]]:
    """(line number, line) in code blocks of a shell, where a backslash at the end joins two, and in code spans."""
    fence, shell, begun = "", False, ""
    for number, line in enumerate(text.splitlines(), 1):
        found = FENCE.match(line)
        if found and not fence:
            fence, shell = found[1], found[2].strip().lower() in LANGUAGES
        elif found and found[1] == fence and not found[2].strip():
            fence = ""
        elif fence and shell:
            begun += line.removesuffix("\\")
            if not line.endswith("\\"):
                yield number, begun
                begun = ""
        elif not fence:
            yield from ((number, span) for span in SPAN.findall(line))


def commands_in(line: str, place: str) -> Iterator[Command]:
    """The calls of `convoy` and `make` in a line of a shell, whatever stands before and between them."""
    for part in re.split(r"&&|\|\||[;|]|\s>>?\s", line.strip().removeprefix("$ ")):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:  # output that holds a lone quote
            continue
        while words and ASSIGNMENT.match(words[0]):
            words.pop(0)
        if words and Path(words[0]).name in ("convoy", "make"):
            yield Command(place, (Path(words[0]).name, *words[1:]))


def commands() -> list[Command]:
    """Of all pages, and of the heads of the configuration files."""
    lines = [(page, number, line) for page in PAGES for number, line in shown_lines(page.read_text(encoding="utf-8"))]
    for config in CONFIGS:
        heads = enumerate(config.read_text(encoding="utf-8").splitlines(), 1)
        lines += [(config, number, line.removeprefix("#").strip()) for number, line in heads if line.startswith("#  ")]
    found = [
        command for page, number, line in lines for command in commands_in(line, f"{page.relative_to(ROOT)}:{number}")
    ]
    return list(dict.fromkeys(found))


def is_placeholder(word: str) -> bool:
    """`CONFIG`, `RUN_OR_EXPORT`, `[--json]`, `...`: stands for something else."""
    return not re.search("[a-z0-9]", word) or word[0] in "[<{" or "VERB" in word


COMMANDS = commands()
CONVOY = [command for command in COMMANDS if command.words[0] == "convoy"]
MAKE = [command for command in COMMANDS if command.words[0] == "make"]


def test_the_pages_show_commands() -> None:
    assert {Path(command.place.split(":")[0]).name for command in CONVOY} >= {"README.md", "command_line.md"}
    assert {command.words[1] for command in MAKE} >= {"demo", "test"}


@pytest.mark.parametrize("command", CONVOY, ids=str)
def test_convoy_knows_the_verb_and_the_options(command: Command) -> None:
    words = [word for word in command.words[1:] if not is_placeholder(word)]
    if not words or words[0].startswith("-"):
        return
    assert words[0] in VERBS
    known = {option for parameter in VERBS[words[0]].params for option in parameter.opts} | {"--help", "-h"}
    assert {word for word in words if word.startswith("-") and word != "-"} <= known


@pytest.mark.parametrize("command", CONVOY, ids=str)
def test_configurations_exist_and_take_the_overrides(command: Command) -> None:
    files = [ROOT / word for word in command.words if word.startswith("configs/")]
    for file in files:
        assert file.is_file()
    if WITH_CONFIGURATION & set(command.words[1:2]):  # of the reader's own file, ours stands for it
        load(next(iter(files), QUICKSTART), [word for word in command.words[2:] if ASSIGNMENT.match(word)])


@pytest.mark.parametrize("command", MAKE, ids=str)
def test_make_knows_the_target(command: Command) -> None:
    targets = set(re.findall(r"^([\w-]+)\s*:(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {word for word in command.words[1:] if not ASSIGNMENT.match(word) and not word.startswith("-")} <= targets


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_loads_and_its_head_says_how_to_run_it(config: Path) -> None:
    load(config)
    here = f"configs/{config.name}"
    assert any(command.words[1] == "run" and here in command.words for command in CONVOY if here in command.place)
