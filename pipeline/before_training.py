"""What looks at a training before it is run: the pictures it would learn from (`convoy preview`), and how fast it would
be (`convoy profile`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import console, stages, strategy
from pipeline.config import Config
from pipeline.data.store import Store
from pipeline.errors import ConfigError, StorageError
from pipeline.files import require_writable, write_file
from pipeline.run import Run

if TYPE_CHECKING:
    from pipeline.profile import Profile


def preview(config: Config, run: Run, output: Path | None, count: int) -> Path:
    """Training pictures beside their augmented versions -> `preview.png`, or another file.

    Raises:
        ConfigError: the other file is a folder, or not called a PNG.
        StorageError: the file cannot be written.
    """
    file = output or run.preview
    if file.is_dir():
        raise ConfigError(f"Got the folder {file} as --output, expected a file, such as {file / run.preview.name}.")
    if file.suffix.lower() != ".png":
        raise ConfigError(f"Got {file} as --output, but the sheet is a PNG. Call it {file.with_suffix('.png')}.")
    require_writable(file.parent)
    store = prepared(config, run)
    from pipeline import drawing
    from pipeline.preview import contact_sheet

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"Cannot make the folder {file.parent} ({error.strerror}). Give another --output."
        ) from error
    write_file(file, drawing.png(contact_sheet(config, store, config.task.resolve(store.info), count)))
    return file


def profile(config: Config, run: Run, seconds: float) -> Profile:
    """The speed of every stage of a training, measured without writing anything to the Run but its data."""
    store = prepared(config, run)
    from pipeline.measuring import measure

    task = config.task.resolve(store.info)
    with console.progress("profile", unit="measurement") as progress:
        return measure(stages.training_job(config, run, store, task, progress), seconds, progress)


def prepared(config: Config, run: Run) -> Store:
    """The prepared data of the Run, made where it is not there; nothing else in the Run is changed."""
    if run.data.exists():
        strategy.configure(config.train.devices, config.seed)
    else:
        stages.prepare(config, run)
    return stages.open_store(run)
