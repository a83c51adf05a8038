"""The client of a model server for asyncio: the same questions, answers and errors as `serving.client`.

    async with connect("grpc://localhost:8500", "flowers") as client:
        await client.wait_until_ready(60)
        await client.predict([Path("rose.jpg")])    # {"scores": array([[0.01, 0.97, ...]], dtype=float32)}

It asks as many questions at once as it is asked to, without threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import ConvoyError, ServerError
from serving.remote.address import Address, parse
from serving.remote.asking import SIGNATURE, Asking, Readiness
from serving.remote.retry import repeated_async
from serving.remote.settings import ClientSettings
from serving.remote.values import Description, Metadata, ModelTarget, Signature, Size, VersionStatus

if TYPE_CHECKING:
    import numpy as np

    from serving.remote.inputs import Picture
    from serving.remote.transport import Arrays, AsyncTransport, Call, Example

__all__ = ["AsyncClient", "ClientSettings", "connect"]

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
) -> AsyncClient:
    """A client of one model, with the arguments and errors of `serving.client.connect`. REST needs `convoy[async]`."""
    settings = settings or ClientSettings()
    address, target = parse(url, model, version, label)
    return AsyncClient(_transport(address, settings), address, target, signature, contract, settings)


class AsyncClient(Asking):
    """Asks one model of one server, in one event loop; `connect` makes it, `close` or `async with` ends it.

    The methods are those of `serving.client.Client`, and raise the same errors.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        address: Address,
        target: ModelTarget,
        signature: str,
        contract: Path | None,
        settings: ClientSettings,
    ):
        super().__init__(address, target, signature, contract, settings)
        self._transport, self._calls = transport, transport.calls

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all connections."""
        await self._transport.close()

    async def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Predictions by name for inputs by name, in batches; see `Client`."""
        from serving.remote import inputs as fitting

        signature = await self.signature()
        pieces = fitting.pieces(fitting.fitted(inputs, signature), signature, self.settings.batch_size)
        return fitting.joined(await self._all(pieces, lambda piece: self._predict(signature, piece)))

    async def predict(self, pictures: Sequence[Picture]) -> dict[str, np.ndarray]:
        """Predictions [B, ...] by name for B >= 1 pictures, in batches; see `Client`."""
        return (await self._of_pictures(pictures))[0]

    async def answers(self, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
        """What the model says of each picture, in plain values; see `Client`."""
        return [one.answer for one in await self.describe(pictures)]

    async def describe(self, pictures: Sequence[Picture]) -> list[Description]:
        """The same, with what of it can be drawn on the pictures; see `Client`."""
        return self._described_as(self.task, *await self._of_pictures(pictures))

    async def classify(self, examples: Sequence[Example], signature: str = "classify") -> list[list[tuple[str, float]]]:
        """Of each example, the labels with their scores, by TF Serving's Classify; see `Client`."""
        return await self._ask(self._calls.classify(self.target, signature, examples))

    async def regress(self, examples: Sequence[Example], signature: str = "regress") -> list[float]:
        """Of each example, the number, by TF Serving's Regress; see `Client`."""
        return await self._ask(self._calls.regress(self.target, signature, examples))

    async def status(self) -> list[VersionStatus]:
        """The state of the model's versions, newest first; of one, if one was chosen (a label is passed over)."""
        return await self._ask(self._calls.status(self.target))

    async def metadata(self) -> Metadata:
        """The version that answers now, and its signatures."""
        return await self._ask(self._calls.metadata(self.target))

    async def signature(self) -> Signature:
        """The signature that is asked, as the server describes it; asked once and kept.

        Raises:
            ConfigError: the model has no such signature.
        """
        if self._signature is None:
            self._signature = self._described(await self.metadata())
        return self._signature

    async def wait_until_ready(self, timeout: float) -> Metadata:
        """Waits until the model, in the version chosen, answers.

        Args:
            timeout: seconds.

        Raises:
            Unavailable: it does not within that time; says what the server answered last.
        """
        call, wait = self._calls.metadata(self.target), Readiness(self, timeout)
        while True:
            try:
                return call.read(await self._transport.send(call, wait.seconds))
            except ServerError as error:
                await asyncio.sleep(wait.after(error))

    async def prepared(self, inputs: Arrays) -> Call[dict[str, np.ndarray]]:
        """The bytes of one request for inputs by name, made once; for `send`.

        Raises:
            DataError: an input is missing, or its values do not fit the type.
        """
        from serving.remote import inputs as fitting

        signature = await self.signature()
        return self._calls.predict(self.target, self._signature_name, signature, fitting.fitted(inputs, signature))

    async def send(self, call: Call[Any], seconds: float) -> bytes:
        """The bytes that answer a `prepared` request, of which `call.read` makes arrays; sent once.

        Raises:
            ServerError: as the server answers; nothing is asked again.
        """
        return await self._transport.send(call, seconds)

    async def _of_pictures(self, pictures: Sequence[Picture]) -> tuple[dict[str, np.ndarray], list[Size]]:
        """Predictions, and the pictures' sizes as they were sent."""
        from serving.remote import inputs as fitting

        signature = await self.signature()
        name = fitting.picture_input(signature, self._signature_name)
        size = self.settings.batch_size
        starts = fitting.starts_of(pictures, size)

        async def ask(start: int) -> tuple[dict[str, np.ndarray], list[Size]]:
            # In a thread: a picture that has to be converted takes the loop's time.
            sent = await asyncio.to_thread(fitting.to_send, pictures[start : start + size], start)
            found = await self._predict(signature, {name: fitting.encoded(sent)})
            return found, [(one.height, one.width) for one in sent]

        found, sizes = zip(*await self._all(starts, ask), strict=True)
        return fitting.joined(found), [one for some in sizes for one in some]

    async def _predict(self, signature: Signature, inputs: Arrays) -> dict[str, np.ndarray]:
        return await self._ask(self._calls.predict(self.target, self._signature_name, signature, inputs))

    async def _ask(self, call: Call[Answer]) -> Answer:
        return call.read(await repeated_async(lambda seconds: self._transport.send(call, seconds), self.settings))

    async def _all(self, pieces: Sequence[Piece], ask: Callable[[Piece], Awaitable[Answer]]) -> list[Answer]:
        """The answers in order, `concurrency` at once; after an error no further one is begun."""
        gate = asyncio.Semaphore(self.settings.concurrency)

        async def one(piece: Piece) -> Answer:
            async with gate:
                return await ask(piece)

        tasks = [asyncio.ensure_future(one(piece)) for piece in pieces]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()


def _transport(address: Address, settings: ClientSettings) -> AsyncTransport:
    """The way to the server; its library is only loaded here."""
    from serving.remote.async_transports import AsyncGrpcTransport, AsyncRestTransport

    try:
        kind = AsyncGrpcTransport if address.scheme.startswith("grpc") else AsyncRestTransport
        return kind(address, settings)
    except ModuleNotFoundError as error:
        raise ConvoyError(f"{error}. The client for asyncio needs: pip install 'convoy[async]'") from error
