"""What is tuned: an exported Run, or a production folder; and where the result goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, RunError
from pipeline.locations import is_remote
from serving import configs
from serving.deployment import Deployment, production_folder
from serving.publish import read_export
from serving.rollout import STABLE


@dataclass(frozen=True)
class TuningPlace:
    """A model that can be served.

    Args:
        name: under which it is served.
        base_path: of its versions, on this machine.
        version: that is served; the newest where it is None.
        picture_ms: median for one picture as `convoy verify` measured it; None where nothing says so.
        output: folder of the result.
        latency_ms, cpus: that a deployment was told; None of a Run.
        deployment: whose folder is locked while the result is written.
    """

    name: str
    base_path: Path
    version: int | None
    picture_ms: float | None
    output: Path
    latency_ms: float | None = None
    cpus: int | None = None
    deployment: Deployment | None = None

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """The folder of the result, while no other verb works there."""
        with self.deployment.locked() if self.deployment else nullcontext():
            yield self.output


def place_of(folder: Path) -> TuningPlace:
    """What a path means: a production folder, a Run, or an export folder.

    Raises:
        RunError: there is nothing to serve.
        ConfigError: it lies in a bucket.
    """
    if is_remote(folder):
        raise ConfigError(f"{folder} is a bucket. Copy it to this machine, where its servers are to be tried.")
    deployment = production_folder(folder)
    if deployment is None:
        export = read_export(folder)
        output = configs.measured_of(folder).parent
        return TuningPlace(folder.resolve().name, export.version_folder.parent, None, export.picture_ms, output)
    settings = deployment.settings()
    state = configs.served(configs.read_models(deployment.models_config), settings.name)
    if STABLE not in state.labels:
        raise RunError(f"No version is {STABLE} in {deployment.path}. Run `convoy deploy` or `convoy promote` first.")
    return TuningPlace(
        settings.name,
        deployment.base_path(settings.name),
        state.labels[STABLE],
        None,
        deployment.path,
        settings.latency_ms,
        settings.cpus,
        deployment,
    )
