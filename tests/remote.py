"""A file system that is not the local disk's: TensorFlow's own in memory, `ram://`, made known to `etils.epath`.

This patches etils, since no server of one's own can take the place of a bucket here:

- What pictures and records are read through, `tf.io.gfile`, has `gs://` and `ram://` built in (TensorFlow 2.21). The
  address of `gs://` is compiled in (`https://www.googleapis.com/storage/v1/`) and no setting names another, so an
  emulator is reached only by a proxy that passes itself off as googleapis.com, with a certificate authority of its own.
- `s3://` and `az://` need a plug-in that registers them with `tf.io.gfile`. An S3 server such as moto's would be
  reached by fsspec alone, but where TensorFlow is installed etils 1.15 sends each of its schemes (gs, s3, az, hf)
  through `tf.io.gfile`, and it knows no others, such as fsspec's `memory://`.

So `ram://` goes the way that `gs://` goes, `etils.epath` -> `tf.io.gfile` -> C++, with TensorFlow's own file system at
the end of it; what is patched are the list of schemes, and two things that `ram://` does and no bucket does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from etils.epath import backend, gpath, register

from models.stack import tf
from pipeline.locations import location

NUMBERS = itertools.count()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in memory. It lasts as long as the process."""
    monkeypatch.setattr(gpath, "_URI_PREFIXES", (*gpath._URI_PREFIXES, "ram://"))
    monkeypatch.setattr(gpath, "_URI_SCHEMES", gpath._URI_SCHEMES | {"ram"})
    monkeypatch.setitem(gpath._URI_MAP_ROOT, "ram://", "/ram/")
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "ram", gpath._PREFIX_TO_BACKEND["gs"])
    monkeypatch.setitem(register._URI_PREFIXES_TO_CLS, "ram://", gpath.PosixGPath)
    monkeypatch.setattr(type(backend.tf_backend), "open", _replacing(type(backend.tf_backend).open))
    monkeypatch.setattr(type(backend.tf_backend), "listdir", _listed)
    folder = f"ram://bucket{next(NUMBERS)}/team"
    tf.io.gfile.makedirs(folder)
    yield location(folder)
    with suppress(tf.errors.NotFoundError):  # see `_listed`
        tf.io.gfile.rmtree(folder)


def _listed(self: Any, path: str) -> list[str]:
    """What is in a folder: `ram://` adds `.extra` to the list of `assets` where an `assets.extra` stands beside it."""
    return [name for name in tf.io.gfile.listdir(path) if tf.io.gfile.exists(f"{path}/{name}")]


def _replacing(open_file: Callable[..., Any]) -> Callable[..., Any]:
    """Opens to write a file that is empty: `ram://` would go on behind what is there, as no bucket does."""

    def opened(self: Any, path: str, mode: str) -> Any:
        if "w" in mode and tf.io.gfile.exists(path):
            tf.io.gfile.remove(path)
        return open_file(self, path, mode)

    return opened
