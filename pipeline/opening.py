"""What a verb works on: a configuration and its Run, from the arguments of the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError, RunError, VerificationError

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.run import Run
    from pipeline.team import Team


@dataclass(frozen=True)
class Job:
    """What a stage works on."""

    config: Config
    run: Run
    team: Team


def location(place: str | os.PathLike[str]) -> Path:
    """A path of this machine, or the URL of a folder in a bucket."""
    from pipeline import locations

    return locations.location(place)


def joint_job(
    name: str, source: Path, overrides: list[str] | None, run_folder: Path | None
) -> AbstractContextManager[Job]:
    """The same as `finished_job`, for what all hosts do together that the environment names."""
    from pipeline.team import team_of

    return finished_job(name, source, overrides, run_folder, team_of())


@contextmanager
def finished_job(
    name: str, source: Path, overrides: list[str] | None, run_folder: Path | None, team: Team | None = None
) -> Iterator[Job]:
    """Opens what a stage works on, and afterwards shows what came out of it, blessed or not."""
    from pipeline import outcome

    with opened(source, overrides, run_folder, team) as job:
        try:
            yield job
        except VerificationError:
            outcome.show(name, job.run)
            raise
        job.team.answer(lambda: outcome.show(name, job.run))


@contextmanager
def opened(
    source: Path, overrides: list[str] | None, run_folder: Path | None, team: Team | None = None
) -> Iterator[Job]:
    """Opens a configuration and its Run, by default for this host alone."""
    from pipeline.data.store import record_errors
    from pipeline.files import storage_errors
    from pipeline.run import Run
    from pipeline.team import ALONE

    team = team or ALONE
    config, folder = configuration(source, overrides or [], run_folder)
    with team.folder(folder) as local:
        run = Run(local, home=folder)
        # What a library meets on its own, such as TensorBoard at a full disk, or tf.data at a damaged record.
        with located_errors(source, overrides or []), storage_errors(folder), record_errors(run.data), team.errors():
            yield Job(config, run, team)


@contextmanager
def located_errors(source: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Adds file and line to a ConfigError that only the data brings up, such as an operation that needs masks."""
    try:
        yield
    except ConfigError as error:
        from pipeline.config import located

        raise located(error, config_file(source), overrides) from error


def configuration(source: Path, overrides: Sequence[str], run_folder: Path | None) -> tuple[Config, Path]:
    """The Config in a YAML file or in an earlier Run, and the Run folder that goes with it."""
    from pipeline.config import load

    config = load(config_file(source), overrides)
    return config, run_folder_of(config.run, source, run_folder)


def run_folder_of(setting: str | None, source: Path, given: Path | None) -> Path:
    """Where the Run is: where the command line says, else the Run given as its configuration, else as that says."""
    if given or source.is_dir():
        return given or source
    return location(setting) if setting else _default_run(source)


def config_file(source: Path) -> Path:
    """The YAML file that is meant: a Run's own where its folder is given."""
    saved = source / "config.yaml"
    if source.is_dir() and not saved.is_file():
        raise RunError(
            f"{source} is a folder without a config.yaml, so it is no Run. Give a YAML file or the folder of a Run."
        )
    return saved if source.is_dir() else source


def _default_run(source: Path) -> Path:
    return Path("runs") / source.stem
