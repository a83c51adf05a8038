"""The client of a model server, over gRPC or REST; it needs neither TensorFlow nor the rest of Convoy.

    with connect("grpc://localhost:8500", "flowers", contract=Path("runs/flowers/export")) as client:
        client.wait_until_ready(60)
        client.predict([Path("rose.jpg")])      # {"scores": array([[0.01, 0.97, ...]], dtype=float32)}
        client.answers([Path("rose.jpg")])      # [{"label": "rose", "score": 0.97, ...}]

Both ways give the same arrays and raise the same errors. A Client is a Predictor (`pipeline/predictors.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import ConvoyError, ServerError
from serving.remote.address import Address, parse
from serving.remote.asking import SIGNATURE, Asking, Readiness
from serving.remote.errors import DeadlineExceeded, ModelNotFound, RequestRefused, Unavailable
from serving.remote.retry import repeated
from serving.remote.settings import ClientSettings, Tls
from serving.remote.values import Description, Metadata, ModelTarget, Signature, Size, TensorSpec, VersionStatus

if TYPE_CHECKING:
    import numpy as np

    from serving.remote.inputs import Picture
    from serving.remote.transport import Arrays, Call, Example, Transport

__all__ = [
    "Client",
    "ClientSettings",
    "DeadlineExceeded",
    "Description",
    "Metadata",
    "ModelNotFound",
    "ModelTarget",
    "RequestRefused",
    "ServerError",
    "Signature",
    "TensorSpec",
    "Tls",
    "Unavailable",
    "VersionStatus",
    "connect",
]

Answer = TypeVar("Answer")
Piece = TypeVar("Piece")


def connect(
    url: str,
    model: str | None = None,
    *,
    version: int | None = None,
    label: str | None = None,
    signature: str = SIGNATURE,
    contract: Path | None = None,
    settings: ClientSettings | None = None,
) -> Client:
    """A client of one model. Nothing is sent before the first question.

    Args:
        url: `grpc://HOST:8500`, `grpcs://` with TLS, `http://HOST:8501`, `https://`; behind it, if you like,
            `/v1/models/NAME`, `/v1/models/NAME/versions/N` or `/v1/models/NAME/labels/LABEL`.
        model: its name; goes before the one in the URL. `default` where neither names one.
        version, label: which of its versions; the latest where neither is given.
        signature: that is asked by `predict`, `answers` and calling the client.
        contract: a `contract.json`, an export folder or a Run, which says what the answers mean; only for `answers`.
        settings: time, batches, repetitions, certificates.

    Raises:
        ConfigError: a URL, settings or certificates that cannot be used.
        ConvoyError: a package of the client is missing.
    """
    settings = settings or ClientSettings()
    address, target = parse(url, model, version, label)
    return Client(_transport(address, settings), address, target, signature, contract, settings)


class Client(Asking):
    """Asks one model of one server; thread-safe. `connect` makes it, `close` or `with` ends it."""

    def __init__(
        self,
        transport: Transport,
        address: Address,
        target: ModelTarget,
        signature: str,
        contract: Path | None,
        settings: ClientSettings,
    ):
        super().__init__(address, target, signature, contract, settings)
        self._transport, self._calls = transport, transport.calls

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends all connections."""
        self._transport.close()

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Predictions by name for inputs by name; entries that the signature has no input for are passed over.

        Where the signature takes any number of rows, more than `batch_size` are sent in several requests.

        Args:
            inputs: arrays of the signature's types and shapes; strings as arrays of `bytes`.

        Raises:
            DataError: an input is missing, or its values do not fit the type.
            ServerError: the server cannot be reached or refuses.
        """
        from serving.remote import inputs as fitting

        signature = self.signature
        arrays = fitting.fitted(inputs, signature)
        pieces = fitting.pieces(arrays, signature, self.settings.batch_size)
        return fitting.joined(self._all(pieces, lambda piece: self._predict(signature, piece)))

    def predict(self, pictures: Sequence[Picture]) -> dict[str, np.ndarray]:
        """Predictions [B, ...] by name for B >= 1 pictures, in batches.

        Args:
            pictures: encoded bytes or files of any format that Pillow reads, or uint8 pixels [H, W], [H, W, 1] or
                [H, W, 3]. They are brought to what the model was trained on: upright JPEG or PNG.

        Raises:
            DataError: there is no picture, one cannot be used, or the signature does not take encoded pictures.
            RequestRefused: one of a batch cannot be decoded by the server, which then refuses the whole batch.
            ServerError: the server cannot be reached or refuses.
        """
        return self._of_pictures(pictures)[0]

    def answers(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """What the model says of each picture, in plain values, such as `{"label": "rose", "score": 0.97}`; its places
        are shares of the upright picture that was given.

        Raises:
            ConfigError: no `contract` was given, or the server's model does not answer as it says.
            DataError, ServerError: as `predict`.
        """
        return [one.answer for one in self.describe(pictures)]

    def describe(self, pictures: Sequence[Picture]) -> list[Description]:
        """The same, with what of it can be drawn on the pictures; raises the same."""
        return self._described_as(self.task, *self._of_pictures(pictures))

    def classify(self, examples: Sequence[Example], signature: str = "classify") -> list[list[tuple[str, float]]]:
        """Of each example, the labels with their scores, by TF Serving's Classify.

        Args:
            examples: features by name: a value or a list of bytes or text, whole numbers, or decimals. The models that
                `convoy export` writes take `{"image": BYTES}`.
        """
        return self._ask(self._calls.classify(self.target, signature, examples))

    def regress(self, examples: Sequence[Example], signature: str = "regress") -> list[float]:
        """Of each example, the number, by TF Serving's Regress; see `classify`."""
        return self._ask(self._calls.regress(self.target, signature, examples))

    def status(self) -> list[VersionStatus]:
        """The state of the model's versions, newest first; of one, if one was chosen (a label is passed over)."""
        return self._ask(self._calls.status(self.target))

    def metadata(self) -> Metadata:
        """The version that answers now, and its signatures."""
        return self._ask(self._calls.metadata(self.target))

    @property
    def signature(self) -> Signature:
        """The signature that is asked, as the server describes it; asked once and kept.

        Raises:
            ConfigError: the model has no such signature.
        """
        if self._signature is None:
            self._signature = self._described(self.metadata())
        return self._signature

    def wait_until_ready(self, timeout: float) -> Metadata:
        """Waits until the model, in the version chosen, answers.

        Args:
            timeout: seconds.

        Raises:
            Unavailable: it does not within that time; says what the server answered last.
        """
        call, wait = self._calls.metadata(self.target), Readiness(self, timeout)
        while True:
            try:
                return call.read(self._transport.send(call, wait.seconds))
            except ServerError as error:
                time.sleep(wait.after(error))

    def _of_pictures(self, pictures: Sequence[Picture]) -> tuple[dict[str, np.ndarray], list[Size]]:
        """Predictions, and the pictures' sizes as they were sent."""
        from serving.remote import inputs as fitting

        signature = self.signature
        name = fitting.picture_input(signature, self._signature_name)
        size = self.settings.batch_size
        starts = fitting.starts_of(pictures, size)

        def ask(start: int) -> tuple[dict[str, np.ndarray], list[Size]]:
            sent = fitting.to_send(pictures[start : start + size], start)
            found = self._predict(signature, {name: fitting.encoded(sent)})
            return found, [(one.height, one.width) for one in sent]

        found, sizes = zip(*self._all(starts, ask), strict=True)
        return fitting.joined(found), [one for some in sizes for one in some]

    def _predict(self, signature: Signature, inputs: Arrays) -> dict[str, np.ndarray]:
        return self._ask(self._calls.predict(self.target, self._signature_name, signature, inputs))

    def _ask(self, call: Call[Answer]) -> Answer:
        return call.read(repeated(lambda seconds: self._transport.send(call, seconds), self.settings))

    def _all(self, pieces: Sequence[Piece], ask: Callable[[Piece], Answer]) -> list[Answer]:
        """The answers in order, `concurrency` at once; after an error no further one is begun."""
        if len(pieces) == 1:
            return [ask(pieces[0])]
        pool = ThreadPoolExecutor(min(self.settings.concurrency, len(pieces)))
        try:
            return list(pool.map(ask, pieces))
        finally:
            pool.shutdown(cancel_futures=True)


def _transport(address: Address, settings: ClientSettings) -> Transport:
    """The way to the server; its library is only loaded here."""
    try:
        if address.scheme.startswith("grpc"):
            from serving.remote.grpc_transport import GrpcTransport

            return GrpcTransport(address, settings)
        from serving.remote.rest_transport import RestTransport

        return RestTransport(address, settings)
    except ModuleNotFoundError as error:
        raise ConvoyError(f"{error}. The client needs: pip install 'convoy[client]'") from error
