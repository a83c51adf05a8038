"""The production folder: all that TF Serving needs for one model, and the verbs that change it one at a time.

```
FOLDER/
  models.config  batching.config  monitoring.config     what TF Serving reads
  models/NAME/VERSION/                                  SavedModels, each with contract.json and publication.json
  deployment.json                                       settings of this folder, and checksums of what was generated
  history.jsonl                                         a line for each change of the labels or versions
  docker-compose.yml  kubernetes/  monitoring/  examples/  README.md
```
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from models.settings import Settings
from pipeline import console
from pipeline.errors import ConfigError, ConvoyError, RunError
from pipeline.files import PARTIAL, storage_errors, write_file
from pipeline.locations import is_remote

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
ABOUT = "deployment.json"
MODELS_CONFIG = "models.config"
LOCK_SECONDS = 600.0
"""How long a verb waits for another one that works on the same folder."""


class DeploymentSettings(Settings):
    """What `convoy deploy` was told; kept in `deployment.json`, so that every later verb knows it."""

    name: str = Field(max_length=50)
    """Under which the model is served: part of every request's address."""
    folder: str
    """The production folder as the servers see it: TF Serving takes absolute paths only."""
    tensorflow: str
    """Version of TensorFlow that exported the model; the server's should not be older."""
    image: str
    """Of TensorFlow Serving."""
    gpus: int = Field(default=0, ge=0)
    """Of one server."""
    cpus: int = Field(default=2, ge=1)
    """Of one server: Kubernetes' request, Docker's limit, and the threads that run batches."""
    memory_gib: int = Field(default=4, ge=1)
    """Of one server, in GiB. Up to three versions of the model are loaded at once, four while one is exchanged."""
    replicas: int = Field(default=2, ge=1)
    """Servers in Kubernetes at the least."""
    max_replicas: int = Field(default=10, ge=1)
    """Servers in Kubernetes at the most."""
    latency_ms: float = Field(default=200.0, gt=0)
    """What 99 of 100 requests should stay below; batching and alerts go by it."""
    poll_seconds: int = Field(default=10, ge=1)
    """After which servers look at `models.config` again."""

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not MODEL_NAME.fullmatch(name):
            raise ValueError("expected letters, digits, '_', '.' and '-', the first one a letter or digit")
        return name

    @field_validator("folder")
    @classmethod
    def _absolute(cls, folder: str) -> str:
        if not folder.startswith("/"):
            raise ValueError("expected an absolute path, since TF Serving refuses others")
        return folder.rstrip("/") or "/"

    @property
    def base_path(self) -> str:
        """Of the model's versions, as the servers see it."""
        return f"{self.folder}/models/{self.name}"

    @property
    def slug(self) -> str:
        """The name as Kubernetes takes it: a lower case letter, then also digits and '-'."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        return plain if plain[0].isalpha() else f"model-{plain}"


class Deployment:
    """Where everything in a production folder lies.

    Args:
        path: the folder, on this machine (or mounted on it): a bucket can neither rename nor lock.
    """

    def __init__(self, path: Path):
        if is_remote(path):
            raise ConfigError(
                f"{path} is a bucket, where no version can be put in place at once. Give a folder of a file system, "
                "and let the servers mount it."
            )
        self.path = path.absolute()
        self.models = self.path / "models"
        self.models_config = self.path / MODELS_CONFIG
        self.batching_config = self.path / "batching.config"
        self.monitoring_config = self.path / "monitoring.config"
        self.about = self.path / ABOUT
        self.history = self.path / "history.jsonl"
        self.pending = self.path / ".pending.json"
        self.lock_file = self.path / ".lock"

    def base_path(self, name: str) -> Path:
        """The folder of a model's versions, on this machine."""
        return self.models / name

    def settings(self) -> DeploymentSettings:
        """What `deploy` was told; RunError where the folder is no production folder or is damaged."""
        if not self.about.is_file():
            raise RunError(f"{self.path} is no production folder. Make one with `convoy deploy RUN --to {self.path}`.")
        try:
            return DeploymentSettings.model_validate(self.document()["settings"])
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise RunError(f"{self.about} is damaged ({error}). Run `convoy deploy` again.") from error

    def document(self) -> dict[str, Any]:
        """The content of `deployment.json`; empty where there is none."""
        if not self.about.is_file():
            return {}
        content: dict[str, Any] = json.loads(self.about.read_text(encoding="utf-8"))
        return content

    def write_document(self, settings: DeploymentSettings, generated: dict[str, str]) -> None:
        """Writes `deployment.json`: the settings, and file -> SHA-256 of everything that was generated."""
        content = {"settings": settings.model_dump(mode="json"), "generated": generated}
        write_file(self.about, json.dumps(content, indent=2) + "\n")

    def server_options(self) -> dict[str, Any]:
        """What `convoy serve` takes from here where nothing else is said: the flags that the containers have."""
        settings = self.settings()
        if not Path(settings.base_path).is_dir():
            console.warn(
                f"the servers of {self.path} see it as {settings.folder} (--at), which is not here. Link it there, or "
                "give `convoy deploy` another --at."
            )
        return {
            "allow_labels_for_unavailable": True,
            "config_poll_seconds": float(settings.poll_seconds),
            "batching": self.batching_config,
            "monitoring": self.monitoring_config,
        }

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other verbs out of the folder. The system opens the lock of a process that dies.

        Raises:
            StorageError: the folder cannot be written.
            ConvoyError: another verb works here for longer than ten minutes.
        """
        with storage_errors(self.lock_file):
            self.path.mkdir(parents=True, exist_ok=True)
            stream = self.lock_file.open("a")
        with stream:
            self._wait_for(stream.fileno())
            self._clear_unfinished()
            yield

    def _clear_unfinished(self) -> None:
        """Removes what killed commands left: with the lock held, nobody is still writing it."""
        for path in list(self.path.rglob(f".*{PARTIAL}*")):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _wait_for(self, descriptor: int) -> None:
        give_up, told = time.monotonic() + LOCK_SECONDS, False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise ConvoyError(f"Another command has been working on {self.path} for too long.") from None
            if not told:
                console.say(f"waiting for another command that works on {self.path}")
                told = True
            time.sleep(0.05)


def production_folder(place: Path) -> Deployment | None:
    """The production folder that is meant by its path, or by that of its models.config; None for anything else."""
    folder = place.parent if place.name == MODELS_CONFIG else place
    return Deployment(folder) if (folder / ABOUT).is_file() else None


def settings_from(values: dict[str, Any]) -> DeploymentSettings:
    """Settings of the command line; ConfigError names what is wrong in them."""
    try:
        settings = DeploymentSettings.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}={one['input']!r}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"Settings of the deployment are wrong: {wrong}.") from error
    if settings.max_replicas < settings.replicas:
        raise ConfigError(
            f"At most {settings.max_replicas} servers are fewer than the least, {settings.replicas}. Raise "
            "--max-replicas or lower --replicas."
        )
    return settings
