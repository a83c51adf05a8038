"""Version labels: names that requests may use in place of a version's number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import grpc
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from pipeline import console
from serving.errors import ServingError
from serving.local.manager import Manager
from serving.local.settings import ServerOptions


class Labels:
    """Model and label -> version; replaced as a whole with the configuration."""

    def __init__(self, options: ServerOptions):
        self._allow_unavailable = options.allow_labels_for_unavailable
        self._versions: Mapping[tuple[str, str], int] = {}

    def version(self, model: str, label: str) -> int:
        """The version that a label stands for; ServingError where it stands for none."""
        found = self._versions.get((model, label))
        if found is None:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}")
        return found

    def update(self, models: Iterable[ModelConfig], manager: Manager) -> None:
        """Takes the labels of a configuration.

        Raises:
            ServingError: FAILED_PRECONDITION, a label points at a version that does not serve. With the option for it,
                only moving a label there is refused. All labels are then as they were.
        """
        labels: dict[tuple[str, str], int] = {}
        for model in models:
            states = manager.states(model.name)
            for label, number in model.version_labels.items():
                available = number in states and states[number].is_available
                if not available and not self._may_wait(model.name, label, number):
                    _refuse(model.name, label, number)
                labels[model.name, label] = number
        self._versions = labels

    def _may_wait(self, model: str, label: str, number: int) -> bool:
        return self._allow_unavailable and self._versions.get((model, label), number) == number


def _refuse(model: str, label: str, number: int) -> None:
    console.warn(
        f"The label {label} of {model} has to point at a version that is AVAILABLE, and {number} is not (yet). At the "
        "start none is: --allow-version-labels-for-unavailable-models takes new labels all the same."
    )
    raise ServingError(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"Request to assign label to version {number} of model {model}, which is not currently available for inference",
    )
