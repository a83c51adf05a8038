"""A Run that lies in a bucket is worked on in a local copy, which is kept the same as the original.

Keras, TensorBoard, HDF5 and the TFLite tools write to local files only, some of them by renaming or in the middle of a
file, which no object store can. So the Run is copied here, changed files are copied back while a stage runs and once
it ends, and the local copy is removed. What is killed loses at most the last seconds.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline import console
from pipeline.errors import RunError
from pipeline.files import PARTIAL, storage_errors
from pipeline.locations import is_remote

SECONDS = 20.0
"""Between two copies of what changed, while a stage runs."""

CONTRACT = "contract.json"
"""Says what the files of an export folder take and answer."""
PARTS = {"model/task.json": "model", CONTRACT: "saved_model"}
"""A file that a Run and an export folder hold -> the folder in them that answers pictures."""

State = dict[str, tuple[int, int]]
"""File within the Run -> time of change, size."""


@contextmanager
def mirrored(folder: Path) -> Iterator[Path]:
    """A local folder to work in for a Run that may lie anywhere; for a local one, the Run folder itself.

    Raises:
        StorageError: the bucket cannot be written.
    """
    if not is_remote(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="convoy-") as scratch, storage_errors(folder):
        local = Path(scratch) / folder.name
        download(folder, local)
        mirror = Mirror(local, folder)
        try:
            with mirror.in_background():
                yield local
        finally:
            mirror.upload()


@contextmanager
def fetched(model: Path) -> Iterator[Path]:
    """A local copy of what answers pictures, for a Run, an export folder, a SavedModel or a `.tflite` that may lie
    anywhere; for a local one, itself. Of a Run and of an export folder only the parts that are needed are copied.

    Raises:
        RunError: nothing is there.
    """
    if not is_remote(model):
        yield model
        return
    if not model.exists():
        raise RunError(f"There is no {model}. Give a Run, an export folder, a SavedModel or a .tflite file.")
    with tempfile.TemporaryDirectory(prefix="convoy-") as scratch:
        local = Path(scratch)
        for folder in (model.parent.parent, model.parent):
            local = local / (folder.name or "bucket")
            _download_file(folder, local, CONTRACT)
        local = local / model.name
        if model.is_dir():
            _download_model(model, local)
        else:
            local.write_bytes(model.read_bytes())
        yield local


def _download_model(folder: Path, local: Path) -> None:
    parts = [folder / part for file, part in PARTS.items() if (folder / file).is_file()]
    if not parts:
        download(folder, local)
        return
    _download_file(folder, local, CONTRACT)
    for part in parts:
        download(part, local / part.name)


def _download_file(folder: Path, local: Path, name: str) -> None:
    local.mkdir(parents=True, exist_ok=True)
    if (folder / name).is_file():
        (local / name).write_bytes((folder / name).read_bytes())


class Mirror:
    """Copies what changed in a local folder to a remote one.

    Args:
        local: changed by others.
        remote: as `local` is now.
    """

    def __init__(self, local: Path, remote: Path):
        self.local, self.remote = local, remote
        self.copied = _state(local)
        self.lock = threading.Lock()

    def upload(self) -> None:
        """Copies new and changed files, those that changed first before others, and removes what is no longer there.

        In that order, because a file that names others (TensorFlow's `checkpoint`) is written after them.
        """
        with self.lock:
            now = _state(self.local)
            for name in sorted(now, key=lambda name: now[name]):
                if self.copied.get(name) != now[name]:
                    _copy_to(self.local / name, self.remote / name)
                    self.copied[name] = now[name]
            for name in self.copied.keys() - now.keys():
                (self.remote / name).unlink(missing_ok=True)
                del self.copied[name]

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Uploads every few seconds as long as the block runs; a failure is left to the upload at the end."""
        stop = threading.Event()

        def repeat() -> None:
            while not stop.wait(SECONDS):
                try:
                    self.upload()
                except Exception as error:  # any library's; the next upload tries again, the last one raises
                    console.detail(f"{self.remote}: not copied yet ({error})")

        thread = threading.Thread(target=repeat, name="mirror", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def download(remote: Path, local: Path) -> None:
    """Copies a folder with all that is in it; nothing where it is not there."""
    local.mkdir(parents=True, exist_ok=True)
    if not remote.is_dir():
        return
    for entry in remote.iterdir():
        if entry.is_dir():
            download(entry, local / entry.name)
        else:
            (local / entry.name).write_bytes(entry.read_bytes())


def _state(folder: Path) -> State:
    """The finished files below a folder."""
    found = {}
    for file in folder.rglob("*"):
        name = file.relative_to(folder)
        if file.is_file() and not any(PARTIAL in part for part in name.parts):
            status = file.stat()
            found[name.as_posix()] = (status.st_mtime_ns, status.st_size)
    return found


def _copy_to(file: Path, target: Path) -> None:
    try:
        content = file.read_bytes()
    except FileNotFoundError:  # an old checkpoint, removed since the folder was listed
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
