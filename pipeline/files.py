"""Files and folders that are either whole or absent.

Everything is written beside its target under a name that says so, flushed to the disk, and renamed; a failure removes
what was written and leaves what was there before. The temporary name never parses as a number: TensorFlow Serving takes
every numeric folder for a version, and serves a half-copied one (tensorflow/serving issues 1086, 572, 631).

In a bucket nothing is renamed: an object is there once it is whole, so a file is written locally and copied. A folder
is filled where it is, and has to hold a file that says it is whole, written last.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.stack import tf
from pipeline.errors import StorageError
from pipeline.locations import is_remote

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
PARTIAL = ".partial"
"""In the name of what is not whole yet."""


def write_file(path: Path, content: bytes | str) -> None:
    """Writes a whole file at once; text as UTF-8. Folders above it are made, an earlier file is replaced.

    Raises:
        StorageError: the disk is full or cannot be written; an earlier file is as it was.
    """
    data = content.encode() if isinstance(content, str) else content
    with new_file(path) as temporary:
        try:
            temporary.write_bytes(data)
        except FileNotFoundError as error:  # the folder is there, but of a kind that takes no files, as /proc
            raise StorageError(f"Cannot write {path}: {path.parent} takes no new files. Give another place.") from error


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path with the same suffix to write to; afterwards it is flushed and renamed to `path`.

    Raises:
        StorageError: the disk is full or cannot be written; an earlier file is as it was.
    """
    if is_remote(path):
        with storage_errors(path), tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch) / path.name
            path.parent.mkdir(parents=True, exist_ok=True)
            tf.io.gfile.copy(str(Path(scratch) / path.name), str(path), overwrite=True)
        return
    temporary = _temporary(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            flush(temporary)
            temporary.replace(path)
            flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder to fill; afterwards it is flushed and renamed to `path`, replacing an earlier one.

    In a bucket it gives `path` itself: what fills it writes the file that says it is whole last.

    Raises:
        StorageError: the disk is full or cannot be written; an earlier folder is as it was.
    """
    if is_remote(path):
        with storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            yield path
        return
    temporary = _temporary(path)
    with storage_errors(path):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            flush_tree(temporary)
            _put(temporary, path)
            flush(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def require_writable(folder: Path) -> None:
    """Raises StorageError where a folder could neither be made nor written; makes nothing. Buckets are not asked."""
    if is_remote(folder):
        return
    with storage_errors(folder):
        there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise StorageError(f"Cannot write into {folder}: {there} is a file. Give a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StorageError(f"Cannot write into {folder}: {there} may not be written. Give another one.")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns the system's refusals to write `path` into a StorageError that says what to do.

    TensorFlow and HDF5 report a full disk as errors of their own classes, which are known by their message only.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:  # any library's class may carry the system's message
        advice = _advice_of_bucket(error) if is_remote(path) else _advice(error, path)
        if advice is None:
            raise
        raise StorageError(f"Cannot write {path}: {advice} Nothing half-written was left there.") from error


def flush(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """`flush`es every file and folder under `folder`, and itself."""
    for path in folder.rglob("*"):
        flush(path)
    flush(folder)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}{PARTIAL}{path.suffix}")


def _put(temporary: Path, path: Path) -> None:
    """Renames into place; a folder that is there steps aside first, and comes back when that fails."""
    if not path.exists():
        temporary.rename(path)
        return
    earlier = _temporary(path)
    path.rename(earlier)
    try:
        temporary.rename(path)
    except OSError:
        earlier.rename(path)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def _advice(error: Exception, path: Path) -> str | None:
    number = _error_number(error)
    if number in FULL:
        return f"{os.strerror(number)}. Free some space (or raise the quota), then run the command again."
    named = getattr(error, "filename", None)
    elsewhere = named is not None and path.absolute().parent not in Path(str(named)).absolute().parents
    if number in REFUSED and not elsewhere:
        return f"{os.strerror(number)}. Choose a folder that may be written, or change its permissions."
    return None


def _advice_of_bucket(error: Exception) -> str | None:
    if not isinstance(error, tf.errors.OpError | OSError):
        return None
    return f"{str(error).splitlines()[0]}. Check the bucket's name, your credentials and the network."


def _error_number(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    return next((number for number in FULL + REFUSED if os.strerror(number) in text), 0)
