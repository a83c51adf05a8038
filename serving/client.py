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

from pipeline.errors import ConfigError, ConvoyError, ServerError, nearest
from serving.remote.address import Address, parse
from serving.remote.errors import DeadlineExceeded, ModelNotFound, RequestRefused, Unavailable
from serving.remote.retry import repeated
from serving.remote.settings import ClientSettings, Tls
from serving.remote.values import Metadata, ModelTarget, Signature, TensorSpec, VersionStatus

if TYPE_CHECKING:
    import numpy as np

    from serving.remote.inputs import Picture
    from serving.remote.transport import Arrays, Example, Transport

__all__ = [
    "Client",
    "ClientSettings",
    "DeadlineExceeded",
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

SIGNATURE = "serving_default"
LONGEST_POLL = 1.0
"""Seconds between two looks at a server that is not ready."""

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


class Client:
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
        self.address, self.target, self.settings = address, target, settings
        self._transport, self._signature_name, self._contract = transport, signature, contract
        self._signature: Signature | None = None
        self._task: Any = None

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
        from serving.remote import inputs as fitting

        signature = self.signature
        name = fitting.picture_input(signature, self._signature_name)
        size = self.settings.batch_size
        starts = fitting.starts_of(pictures, size)

        def ask(start: int) -> dict[str, np.ndarray]:
            encoded = fitting.encoded(pictures[start : start + size], start)
            return self._predict(signature, {name: encoded})

        return fitting.joined(self._all(starts, ask))

    def answers(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """What the model says of each picture, in plain values, such as `{"label": "rose", "score": 0.97}`.

        Raises:
            ConfigError: no `contract` was given, or the server's model does not answer as it says.
            DataError, ServerError: as `predict`.
        """
        task = self.task
        predictions = self.predict(pictures)
        return [self._answer(task, predictions, row) for row in range(len(pictures))]

    def classify(self, examples: Sequence[Example], signature: str = "classify") -> list[list[tuple[str, float]]]:
        """Of each example, the labels with their scores, by TF Serving's Classify.

        Args:
            examples: features by name: a value or a list of bytes or text, whole numbers, or decimals. The models that
                `convoy export` writes take `{"image": BYTES}`.
        """
        return self._ask(lambda seconds: self._transport.classify(self.target, signature, examples, seconds))

    def regress(self, examples: Sequence[Example], signature: str = "regress") -> list[float]:
        """Of each example, the number, by TF Serving's Regress; see `classify`."""
        return self._ask(lambda seconds: self._transport.regress(self.target, signature, examples, seconds))

    def status(self) -> list[VersionStatus]:
        """The state of the model's versions, newest first; of one, if one was chosen (a label is passed over)."""
        return self._ask(lambda seconds: self._transport.status(self.target, seconds))

    def metadata(self) -> Metadata:
        """The version that answers now, and its signatures."""
        return self._ask(lambda seconds: self._transport.metadata(self.target, seconds))

    @property
    def signature(self) -> Signature:
        """The signature that is asked, as the server describes it; asked once and kept.

        Raises:
            ConfigError: the model has no such signature.
        """
        if self._signature is None:
            found = self.metadata().signatures
            if self._signature_name not in found:
                hint = nearest(self._signature_name, [name for name in found if not name.startswith("__")])
                raise ConfigError(f"{self.target} has no signature {self._signature_name!r}. {hint}")
            self._signature = found[self._signature_name]
        return self._signature

    @property
    def task(self) -> Any:
        """The task that the contract names; ConfigError where none was given."""
        if self._task is None:
            if self._contract is None:
                raise ConfigError(
                    "Nothing says what the answers mean. Give `contract`: a contract.json, an export folder or a Run; "
                    "or ask for the plain arrays with `predict`."
                )
            from serving.remote.contract import task_of

            self._task = task_of(self._contract)
        return self._task

    def wait_until_ready(self, timeout: float) -> Metadata:
        """Waits until the model, in the version chosen, answers.

        Args:
            timeout: seconds.

        Raises:
            Unavailable: it does not within that time; says what the server answered last.
        """
        deadline, pause = time.monotonic() + timeout, self.settings.first_wait
        last: ServerError | None = None
        while True:
            seconds = max(min(self.settings.timeout, deadline - time.monotonic()), 0.001)
            try:
                return self._transport.metadata(self.target, seconds)
            except DeadlineExceeded as error:  # says less than what the server answered before
                last = last or error
            except (Unavailable, ModelNotFound, RequestRefused) as error:
                last = error
            if time.monotonic() + pause >= deadline:
                said = f"{self.target} at {self.address} was not ready within {timeout:g} seconds. {last}"
                raise Unavailable(said, last.code, last.said) from last
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_POLL)

    def _predict(self, signature: Signature, inputs: Arrays) -> dict[str, np.ndarray]:
        name = self._signature_name
        return self._ask(lambda seconds: self._transport.predict(self.target, name, signature, inputs, seconds))

    def _ask(self, question: Callable[[float], Answer]) -> Answer:
        return repeated(question, self.settings)

    def _all(self, pieces: Sequence[Piece], ask: Callable[[Piece], Answer]) -> list[Answer]:
        """The answers in order, `concurrency` at once; after an error no further one is begun."""
        if len(pieces) == 1:
            return [ask(pieces[0])]
        pool = ThreadPoolExecutor(min(self.settings.concurrency, len(pieces)))
        try:
            return list(pool.map(ask, pieces))
        finally:
            pool.shutdown(cancel_futures=True)

    def _answer(self, task: Any, predictions: Arrays, row: int) -> dict[str, Any]:
        try:
            found: dict[str, Any] = task.answer({name: value[row] for name, value in predictions.items()})
        except (KeyError, ValueError) as error:
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in predictions.items())
            raise ConfigError(
                f"{self.target} at {self.address} answers with {shapes}, which does not fit the contract "
                f"{self._contract} ({error}). Give the contract of the model that is served there."
            ) from error
        return found


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
