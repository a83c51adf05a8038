"""What `convoy predict --server` does: the same pictures and answers as `predict`, given by a model server.

It needs no TensorFlow: `pip install 'convoy[client]'` is enough.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.cli_options import required_files
from pipeline.data.missing import MissingRegions
from pipeline.data.pictures import picture_to_send
from pipeline.predict import Answer, all_files, read
from pipeline.run import Run

if TYPE_CHECKING:
    from serving.client import Client, Description

CONTRACT = "contract.json"


@dataclass(frozen=True)
class Server:
    """A server and how to reach it; see `serving.client.connect`."""

    url: str
    model: str | None = None
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout: float = 30.0
    attempts: int = 6

    def client(self, contract: Path | None) -> Client:
        """A client of the server; ConfigError as `connect`."""
        from serving.client import ClientSettings, Tls, connect

        tls = Tls(self.authority, self.certificate, self.key)
        settings = ClientSettings(timeout=self.timeout, attempts=self.attempts, tls=tls)
        return connect(self.url, self.model, contract=contract, settings=settings)


def predict_on(server: Server, places: Sequence[Path]) -> list[Answer]:
    """The server's answers for pictures, in their order; a picture that cannot be used is an answer with an error.

    Args:
        places: pictures, or folders of them; the first may be a Run, an export folder or a `contract.json`, which then
            says what the answers mean. Without it, an answer is the model's outputs by name.

    Raises:
        ConfigError: the URL or a certificate cannot be used, or the contract is not that of the server's model.
        DataError: a file does not exist, or a folder holds no picture.
        ServerError: the server cannot be reached or refuses.
    """
    contract = places[0] if _says_what_answers_mean(places[0]) else None
    files = all_files(required_files(list(places[1:] if contract else places)))
    regions = _regions(contract)
    pictures = [read(file, regions, picture_to_send) for file in files]
    readable = [data for _, data, error in pictures if not error]
    with server.client(contract) as client:
        answers = iter(_answers(client, readable, contract is not None)) if readable else iter(())
    return [
        Answer(file, data, {}, error) if error else _answer(file, data, next(answers)) for file, data, error in pictures
    ]


def _answers(client: Client, pictures: Sequence[bytes], decoded: bool) -> list[Description | str]:
    """An answer for each picture, or the server's words why there is none."""
    from serving.client import RequestRefused

    ask = client.describe if decoded else functools.partial(_undescribed, client)

    def alone(picture: bytes) -> Description | str:
        try:
            return ask([picture])[0]
        except RequestRefused as error:
            return error.said

    try:
        return list(ask(pictures))
    except RequestRefused:  # one bad picture fails all that are sent with it
        with ThreadPoolExecutor(client.settings.concurrency) as pool:
            return list(pool.map(alone, pictures))


def _undescribed(client: Client, pictures: Sequence[bytes]) -> list[Description]:
    """The outputs by name, where nothing says what they mean."""
    from serving.client import Description

    return [Description(one, {}, ()) for one in plain(client.predict(pictures))]


def plain(predictions: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Outputs by name as plain values, one entry a row."""
    count = len(next(iter(predictions.values())))
    return [{name: _plain(value[row]) for name, value in predictions.items()} for row in range(count)]


def _plain(value: Any) -> Any:
    """Numbers as they are, bytes as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value] if value.dtype == object else value.tolist()
    return value.item()


def _answer(file: Path, picture: bytes, found: Description | str) -> Answer:
    if isinstance(found, str):
        return Answer(file, b"", {}, found)
    return Answer(file, picture, found.answer, marks=found.marks, names=found.names)


def _says_what_answers_mean(place: Path) -> bool:
    return place.name == CONTRACT or (place / CONTRACT).is_file() or Run(place).task.is_file()


def _regions(contract: Path | None) -> MissingRegions:
    if contract is None:
        return MissingRegions()
    from pipeline.config import regions_beside

    return regions_beside(contract)
