"""Kills a verb before each step that changes the file system, looks what is left, and runs the verb again.

    python -m tests.serving.deploy.killed VERB RUN FOLDER SCRATCH STRIDE

FOLDER is copied for each trial; every STRIDE-th step is tried. Prints how many there are; ends with a traceback where
anything was half-written.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving import configs, history
from serving.configs import Served
from serving.deploy import deploy, settings_for
from serving.deployment import Deployment
from serving.publish import PUBLICATION, read_export, read_publication, require_whole, version_folders
from serving.rollout import Rollout
from tests.serving.deploy.runs import MODEL, encoded_picture

STEPS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
LONG_AGO = "2020-01-01T00:00:00+00:00"


def run_deploy(run: Path, folder: Path) -> None:
    deployment, export = Deployment(folder), read_export(run)
    deploy(export, deployment, settings_for(export, deployment, MODEL, {}), encoded_picture(1))


def run_publish(run: Path, folder: Path) -> None:
    verbs(folder).publish(read_export(run), keep=1)


def run_canary(run: Path, folder: Path) -> None:
    verbs(folder).canary()


def run_promote(run: Path, folder: Path) -> None:
    verbs(folder).promote()


def run_rollback(run: Path, folder: Path) -> None:
    verbs(folder).rollback()


VERBS: dict[str, Callable[[Path, Path], None]] = {
    "deploy": run_deploy,
    "publish": run_publish,
    "canary": run_canary,
    "promote": run_promote,
    "rollback": run_rollback,
}


def verbs(folder: Path) -> Rollout:
    deployment = Deployment(folder)
    return Rollout(deployment, deployment.settings())


def kill_before(step: int) -> None:
    """From now on, the process dies before its step number `step` (0: the first)."""
    left = step

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in STEPS or writes:
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(look)


def in_a_process(work: Callable[[], None], step: int | None = None) -> int:
    """The exit code, or less the signal, of a copy of this process that does `work`."""
    child = os.fork()
    if child == 0:
        try:
            if step is not None:
                kill_before(step)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check(folder: Path, before: Served) -> None:
    """Whatever was killed: versions are whole, and servers are told what they were told or all that is new."""
    deployment = Deployment(folder)
    base_path = deployment.base_path(MODEL)
    for version in version_folders(base_path).values():
        assert (version / PUBLICATION).is_file(), f"{version} is half a version"
        require_whole(read_publication(version))
    state = configs.served(configs.read_models(deployment.models_config), MODEL)
    assert {*state.versions, *state.labels.values()} <= version_folders(base_path).keys(), state
    assert set(state.labels.values()) <= set(state.versions), state
    history.read(deployment)
    for file in folder.rglob("*"):
        assert not file.is_file() or file.stat().st_size or file.name == ".lock", f"{file} is empty"


def told(folder: Path) -> Served:
    return configs.served(configs.read_models(Deployment(folder).models_config), MODEL)


def facts(folder: Path) -> tuple[Any, ...]:
    """What the end must be, however it was reached."""
    deployment = Deployment(folder)
    lines = [(one["verb"], one.get("version"), one.get("after")) for one in history.read(deployment)]
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != ".lock")
    return told(folder), lines, left


def main() -> None:
    name, stride = sys.argv[1], int(sys.argv[5])
    run, folder, scratch = map(Path, sys.argv[2:5])
    place = scratch / "trial"  # the same for all trials: it stands in models.config

    def begin() -> None:
        shutil.rmtree(place, ignore_errors=True)
        if folder.exists():
            shutil.copytree(folder, place)

    begin()
    VERBS[name](run, place)
    expected, before = facts(place), told(folder)
    step = 0
    while True:
        begin()
        code = in_a_process(lambda: VERBS[name](run, place), step)
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
        check(place, before)
        assert in_a_process(lambda: VERBS[name](run, place)) == 0
        check(place, before)
        assert facts(place) == expected, f"step {step}: {facts(place)} instead of {expected}"
        step += stride
    assert facts(place) == expected
    print(step)


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.1f} s", file=sys.stderr)
