"""One version of a model in its life from START to END, and which step comes next."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.errors import ServingError
from serving.local.inference import Setting


@dataclass
class Version:
    """What is known of one version; read and written under the manager's lock.

    Args:
        model: its name.
        number: of the version.
        folder: where it lies.
        state: a `ModelVersionStatus.State`.
        aspired: whether the folders and the policy ask for it.
        tried: whether it was tried to load it, with whatever result.
        users: requests that run on it.
        setting: how it is asked, while it is loaded.
        error: why it could not be loaded.
        cancelled: set when it is not wanted any more, so that loading is not tried again.
    """

    model: str
    number: int
    folder: str
    state: int = ModelVersionStatus.START
    aspired: bool = True
    tried: bool = False
    users: int = 0
    setting: Setting | None = None
    error: ServingError | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __str__(self) -> str:
        return f"{self.model} version {self.number}"

    @property
    def is_available(self) -> bool:
        """Whether it answers new requests."""
        return self.state == ModelVersionStatus.AVAILABLE

    @property
    def has_ended(self) -> bool:
        """Whether it was unloaded, or could not be loaded."""
        return self.state == ModelVersionStatus.END

    @property
    def has_failed(self) -> bool:
        """Whether it could not be loaded."""
        return self.has_ended and self.error is not None


def next_action(versions: Sequence[Version]) -> Version | None:
    """The version to load (it is wanted) or to unload (it is not) now; None where there is nothing to do."""
    unwanted = [one for one in versions if one.is_available and not one.aspired]
    wanted = [one for one in versions if one.aspired]
    serving = any(one.is_available for one in wanted)
    if unwanted and (not wanted or serving or len(unwanted) > 1):
        return min(unwanted, key=lambda one: one.number)
    new = [one for one in wanted if one.state == ModelVersionStatus.START]
    return max(new, key=lambda one: one.number, default=None)
