"""What `convoy doctor` does: look at the machine; say what is missing or differs from what was tested, what to do."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from packaging.requirements import Requirement

from pipeline.errors import ConvoyError
from pipeline.processors import multiplies_bfloat16

if TYPE_CHECKING:
    from rich.console import RenderableType

GIB = 2**30
FREE_DISK_GIB = 5
TESTED_PYTHON = "3.11"
WHOLE = "full"
"""The extra of all that the client does not need."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

State = Literal["ok", "note", "wrong"]
MARKS = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "wrong": "[red]wrong[/red]"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: of the thing.
        state: `wrong` keeps Convoy from working, `note` only from some of it.
        found: what is there.
        advice: what to do about it; empty where nothing is to be done.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Looks at everything; needs a few seconds, for TensorFlow is started."""
    return [finding for check in CHECKS for finding in check()]


def require_healthy(findings: Sequence[Finding]) -> None:
    """Raises ConvoyError where something keeps Convoy from working."""
    wrong = [f"{finding.name}: {finding.found}. {finding.advice}" for finding in findings if finding.state == "wrong"]
    if wrong:
        raise ConvoyError("Convoy cannot work here.\n" + "\n".join(wrong))


def as_document(findings: Sequence[Finding]) -> dict[str, Any]:
    """Plain JSON values."""
    return {"findings": [asdict(finding) for finding in findings]}


def as_table(findings: Sequence[Finding]) -> RenderableType:
    """The findings for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table("", "", "found", "advice", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for finding in findings:
        mark = Text.from_markup(MARKS[finding.state])
        table.add_row(mark, Text(finding.name), Text(finding.found), Text(finding.advice))
    return table


def _python() -> Iterator[Finding]:
    found = platform.python_version()
    same = found.startswith(f"{TESTED_PYTHON}.")
    yield Finding("Python", "ok" if same else "note", found, "" if same else f"Tested with {TESTED_PYTHON}.")


def _packages() -> Iterator[Finding]:
    """Convoy's own requirements, and those of its extras, as its installed metadata names them."""
    try:
        wanted = [Requirement(text) for text in requires("convoy") or ()]
        by_name = {requirement.name: requirement for requirement in reversed(wanted)}  # an extra may repeat a package
    except PackageNotFoundError:
        yield Finding(
            "convoy", "note", "not installed, run from its folder", "pip install -e . --constraint constraints.txt"
        )
        return
    yield Finding("convoy", "ok", version("convoy"))
    by_name.pop("convoy", None)  # extras ask for each other by this name
    whole = _installed("tensorflow") is not None
    for requirement in reversed(by_name.values()):
        if whole or _extra(requirement) != WHOLE:
            yield _package(requirement)


def _package(requirement: Requirement) -> Finding:
    name, extra = requirement.name, _extra(requirement)
    found = _installed(name)
    if found is None and extra in ("", WHOLE):
        return Finding(name, "wrong", "not installed", f"pip install '{name}{requirement.specifier}'")
    if found is None:
        advice = f"Only for the extra `{extra}`: pip install 'convoy[{extra}]'"
        return Finding(name, "note", "not installed", advice)
    if not requirement.specifier.contains(found, prereleases=True):
        return Finding(
            name, "note", found, f"Tested with {requirement.specifier}: pip install '{name}{requirement.specifier}'"
        )
    return Finding(name, "ok", found)


def _extra(requirement: Requirement) -> str:
    """The extra that asks for a package, or empty where Convoy always needs it."""
    found = re.search(r"extra == [\"'](\w+)", str(requirement.marker or ""))
    return found[1] if found else ""


def _keras() -> Iterator[Finding]:
    if _installed("tensorflow") is None:
        advice = f"Without it only the client works, and `convoy predict --server`: pip install 'convoy[{WHOLE}]'"
        yield Finding("TensorFlow", "wrong", "not installed", advice)
        return
    from models.stack import keras, require_legacy_keras

    try:
        require_legacy_keras()
        yield Finding("Keras 2", "ok", keras.__version__)
    except ImportError as error:
        yield Finding("Keras 2", "wrong", str(error), "Unset TF_USE_LEGACY_KERAS, or set it to 1.")


def _devices() -> Iterator[Finding]:
    if _installed("tensorflow") is None:
        return
    from models.stack import tf

    try:
        gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    except ImportError as error:
        yield Finding("TensorFlow", "wrong", str(error), "pip install tensorflow")
        return
    advice = "" if gpus else "Training uses the processor. For NVIDIA cards: pip install 'tensorflow[and-cuda]'"
    yield Finding("GPU", "ok" if gpus else "note", ", ".join(gpus) or "none", advice)


def _machine() -> Iterator[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    yield Finding("processors", "ok", str(os.cpu_count()))
    faster = "Without a GPU, training may be faster by a third and more: train.devices.precision=auto"
    own = multiplies_bfloat16()
    yield Finding("bfloat16", "ok", "by the processor" if own else "not by the processor", faster if own else "")
    yield Finding(
        "memory", "ok" if memory >= 4 else "note", f"{memory:.0f} GiB", "" if memory >= 4 else "4 GiB are needed."
    )
    free = shutil.disk_usage(Path.cwd()).free / GIB
    enough = free >= FREE_DISK_GIB
    advice = "" if enough else f"Free some space: a Run and its data may need {FREE_DISK_GIB} GiB."
    yield Finding("disk, here", "ok" if enough else "note", f"{free:.0f} GiB free", advice)


def _browser() -> Iterator[Finding]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    advice = "" if found else "Only for testing the report: install your distribution's chromium package."
    yield Finding("browser", "ok" if found else "note", found or "none", advice)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (_python, _packages, _keras, _devices, _machine, _browser)
