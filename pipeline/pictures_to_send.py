"""Real pictures for a server to be asked: of a folder, of a Run's data, or the examples that come with a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.data.store import CONTENT
from pipeline.errors import DataError
from pipeline.predict import all_files
from pipeline.run import Run

EXAMPLES = "examples/picture.*"
"""In a folder of `convoy deploy`."""


def pictures_in(places: Sequence[Path], most: int) -> list[bytes]:
    """At most `most` encoded pictures, spread evenly over the places and the files in them.

    Args:
        places: pictures and folders of them; a Run or a prepared data set (the first of its evaluation split), an
            export or a SavedModel (its first warm-up requests), a production folder (its example).

    Raises:
        DataError: there is none.
    """
    found = [picture for place in places for picture in _of(place, most)]
    return [
        found[number] for number in sorted({int(at) for at in np.linspace(0, len(found) - 1, min(most, len(found)))})
    ]


def _of(place: Path, most: int) -> list[bytes]:
    if Run(place).data.is_file() or (place / CONTENT).is_file():
        return _of_store(Run(place).store if Run(place).data.is_file() else place, most)
    if examples := sorted(place.glob(EXAMPLES)):
        return [file.read_bytes() for file in examples]
    for folder in (place, place / "saved_model", place / "export" / "saved_model"):
        if warm_up := _warm_up(folder):
            return warm_up[:most]
    files = all_files([place])
    if len(files) > most:
        files = [files[int(at)] for at in np.linspace(0, len(files) - 1, most)]
    try:
        return [file.read_bytes() for file in files]
    except OSError as error:
        raise DataError(f"A picture in {place} cannot be read: {error}.") from error


def _of_store(folder: Path, most: int) -> list[bytes]:
    from pipeline.data.input import encoded_pictures, evaluation_split
    from pipeline.data.store import Store

    store = Store.open(folder)
    return encoded_pictures(store, evaluation_split(store.info), most)


def _warm_up(folder: Path) -> list[bytes]:
    """Of a SavedModel, or of the newest one in a folder of versions."""
    versions = sorted((int(one.name), one) for one in folder.glob("[0-9]*") if one.name.isdigit())
    folders = [folder, *(one for _, one in reversed(versions))]
    saved = next((one for one in folders if (one / "saved_model.pb").is_file()), None)
    if saved is None:
        return []
    from serving.examples import warm_up_pictures

    return warm_up_pictures(saved)
