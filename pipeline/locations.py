"""Places of stores and Runs: a path of this machine, or the URL of a folder in a bucket.

A URL becomes an `etils.epath.Path`, which has the methods of `pathlib.Path` that are used here and goes through
`tf.io.gfile`. Which schemes that knows is TensorFlow's matter: 2.21 has `gs://` built in; `s3://` and `az://` need a
TensorFlow plug-in that registers them. Import costs nothing until a URL is met.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import IO, Annotated, Any, Literal, cast

from pydantic import BeforeValidator

import models as models  # chooses Keras 2 before etils imports TensorFlow
from pipeline.errors import ConfigError

URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://")


def _as_text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


Location = Annotated[str, BeforeValidator(_as_text)]
"""A setting that names a place; text, because `pathlib` would make one slash of the two in a URL."""


def location(place: str | os.PathLike[str]) -> Path:
    """The folder or file that a text names; `~` is filled in.

    Raises:
        ConfigError: it is a URL of a scheme that nothing here knows.
    """
    text = os.fspath(place)
    found = URL.match(text)
    if found is None:
        return Path(text).expanduser()
    from etils import epath

    try:
        # Not a pathlib.Path by class, but by its methods.
        return cast(Path, epath.Path(text))
    except KeyError as error:
        raise ConfigError(
            f"{text}: no file system is known for {found['scheme']}://. "
            "Expected a path of this machine, or a URL such as gs://BUCKET/FOLDER."
        ) from error


def is_remote(path: Path) -> bool:
    """Whether a path lies outside this machine's file systems: no atomic rename, no locks, no appending."""
    return URL.match(str(path)) is not None


def resolved(path: Path) -> Path:
    """The absolute path, without `..` and links."""
    if not is_remote(path):
        return path.resolve()
    scheme, _, rest = str(path).partition("://")
    return location(f"{scheme}://{posixpath.normpath(rest)}")


def size_of(file: Path) -> int:
    """Bytes of a file."""
    status: Any = file.stat()
    return int(status.length if is_remote(file) else status.st_size)


def text_stream(file: Path, mode: Literal["r", "w"]) -> IO[str]:
    """A file opened as UTF-8 text, without any change of line ends, as `csv` asks for."""
    return file.open(mode) if is_remote(file) else file.open(mode, encoding="utf-8", newline="")
