"""What a client of one model knows and decides without a connection; the blocking one and that for asyncio share it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError, ServerError, nearest
from serving.remote.address import Address
from serving.remote.errors import DeadlineExceeded, ModelNotFound, RequestRefused, Unavailable
from serving.remote.settings import ClientSettings
from serving.remote.values import Description, Metadata, ModelTarget, Signature, Size

if TYPE_CHECKING:
    from serving.remote.transport import Arrays

SIGNATURE = "serving_default"
LONGEST_POLL = 1.0
"""Seconds between two looks at a server that is not ready."""


class Asking:
    """One model of one server, and what its answers mean."""

    def __init__(
        self, address: Address, target: ModelTarget, signature: str, contract: Path | None, settings: ClientSettings
    ):
        self.address, self.target, self.settings = address, target, settings
        self._signature_name, self._contract = signature, contract
        self._signature: Signature | None = None
        self._task: Any = None

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

    def _described(self, metadata: Metadata) -> Signature:
        """The signature that is asked; ConfigError where the model has none of that name."""
        found = metadata.signatures
        if self._signature_name not in found:
            hint = nearest(self._signature_name, [name for name in found if not name.startswith("__")])
            raise ConfigError(f"{self.target} has no signature {self._signature_name!r}. {hint}")
        return found[self._signature_name]

    def _described_as(self, task: Any, predictions: Arrays, sizes: Sequence[Size]) -> list[Description]:
        """Predictions [B, ...] of the pictures of these sizes as they were sent, in the task's words."""
        return [self._description(task, predictions, row, size) for row, size in enumerate(sizes)]

    def _description(self, task: Any, predictions: Arrays, row: int, size: Size) -> Description:
        try:
            one = {name: value[row] for name, value in predictions.items()}
            placed = task.placed(one, task.picture.window(*size))
            return Description(task.answer(placed), task.drawing(placed), task.output_names)
        except (KeyError, ValueError) as error:
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in predictions.items())
            raise ConfigError(
                f"{self.target} at {self.address} answers with {shapes}, which does not fit the contract "
                f"{self._contract} ({error}). Give the contract of the model that is served there."
            ) from error


class Readiness:
    """The waits of a client until its model answers.

    Args:
        asking: the client.
        timeout: seconds in all.
    """

    def __init__(self, asking: Asking, timeout: float):
        self._asking, self._timeout = asking, timeout
        self._deadline, self._pause = time.monotonic() + timeout, asking.settings.first_wait
        self._last: ServerError | None = None

    @property
    def seconds(self) -> float:
        """For the next look."""
        return max(min(self._asking.settings.timeout, self._deadline - time.monotonic()), 0.001)

    def after(self, error: ServerError) -> float:
        """Seconds to wait after a look that failed.

        Raises:
            Unavailable: no time is left; says what the server answered last.
            ServerError: `error` itself, where waiting does not help.
        """
        if not isinstance(error, Unavailable | ModelNotFound | RequestRefused | DeadlineExceeded):
            raise error
        if self._last is None or not isinstance(error, DeadlineExceeded):  # which says less than an answer
            self._last = error
        if time.monotonic() + self._pause >= self._deadline:
            asking, last = self._asking, self._last
            said = f"{asking.target} at {asking.address} was not ready within {self._timeout:g} seconds. {last}"
            raise Unavailable(said, last.code, last.said) from last
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_POLL)
        return pause
