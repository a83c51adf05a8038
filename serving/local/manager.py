"""Keeps the loaded versions equal to what the folders hold and the policies ask for, while requests go on.

The rules are TF Serving's availability-preserving ones: a version that is not wanted any more stays until a wanted one
serves; the highest new version is loaded first; a version is closed once its last request is answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from pipeline import console
from pipeline.wording import quantity
from serving.errors import ServingError
from serving.local import versions
from serving.local.inference import Setting
from serving.local.loading import Loader
from serving.local.servable import give_memory_back
from serving.local.settings import ServerOptions
from serving.local.version_state import Version, next_action

LOADERS = 2
"""Versions that are loaded at once: more would only take the processor from those that serve."""
PAUSE_SECONDS = 0.1
"""Between two looks at what is to be done, where nothing calls for one earlier."""


class Manager:
    """The versions of all models.

    Args:
        loader: loads one version.
        options: how often folders are looked at, and loading is tried again.
    """

    def __init__(self, loader: Loader, options: ServerOptions):
        self._loader, self._options = loader, options
        self._changed = threading.Condition(threading.RLock())
        self._models: dict[str, ModelConfig] = {}
        self._versions: dict[str, dict[int, Version]] = {}
        self._missing: dict[str, str] = {}
        self._loads = ThreadPoolExecutor(LOADERS, "load")
        self._unloads = ThreadPoolExecutor(thread_name_prefix="unload")
        self._closing = threading.Event()
        self._poll_now = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._poll, self._manage)]

    def start(self) -> None:
        """Begins to look at folders and to load."""
        for thread in self._threads:
            thread.start()

    def configure(self, models: Sequence[ModelConfig]) -> None:
        """Serves these models from now on, and no others."""
        with self._changed:
            self._models = {model.name: model for model in models}
            self._missing = {name: why for name, why in self._missing.items() if name in self._models}
            for name, known in self._versions.items():
                if name not in self._models:
                    _aspire(known, {}, name)
        self._poll_now.set()

    def models(self) -> Mapping[str, ModelConfig]:
        """What is configured now."""
        with self._changed:
            return dict(self._models)

    @contextmanager
    def use(self, name: str, number: int | None = None) -> Iterator[Setting]:
        """A version that stays loaded while a request uses it; the highest one where no number is given.

        Raises:
            ServingError: NOT_FOUND, none is available.
        """
        version = self._taken(name, number)
        try:
            yield version.setting  # type: ignore[misc]
        finally:
            with self._changed:
                version.users -= 1
                if version.state == ModelVersionStatus.UNLOADING:
                    self._changed.notify_all()

    def states(self, name: str) -> Mapping[int, Version]:
        """Every version of a model that there was since the start, the newest first."""
        with self._changed:
            return dict(sorted(self._versions.get(name, {}).items(), reverse=True))

    def wait_until_available(self, names: Sequence[str], what: str, stop: threading.Event) -> None:
        """Waits until each model has a version that serves, and each of its other versions was tried to load as well.

        Args:
            names: of models.
            what: they are called in the error.
            stop: ends the waiting.

        Raises:
            ServingError: UNKNOWN, for one of them all versions failed to load.
        """
        with self._changed:
            while not (stop.is_set() or self._closing.is_set()):
                waiting = [name for name in names if not self._is_settled(name)]
                failed = [name for name in waiting if self._has_failed(name)]
                if failed and len(failed) == len(waiting):
                    raise ServingError(grpc.StatusCode.UNKNOWN, self._describe_failures(failed, what))
                if not waiting:
                    return
                self._changed.wait(PAUSE_SECONDS)

    def missing(self, names: Sequence[str]) -> Mapping[str, str]:
        """Those of `names` whose base path was not there at the last look, and the message about it."""
        with self._changed:
            return {name: self._missing[name] for name in names if name in self._missing}

    def look(self) -> None:
        """Looks at all folders now, rather than at the next poll."""
        for model in self.models().values():
            try:
                self._look_at(model)
            except Exception as error:  # a folder on a share can fail in any way: the next poll looks again
                console.warn(f"FileSystemStoragePathSource encountered a filesystem access error: {error}")

    def close(self) -> None:
        """Ends the threads and gives every version back, once its requests are answered."""
        self._closing.set()
        self._poll_now.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        with self._changed:
            for known in self._versions.values():
                for version in known.values():
                    version.cancelled.set()
        self._loads.shutdown(cancel_futures=True)
        with self._changed:
            loaded = [one for known in self._versions.values() for one in known.values() if one.is_available]
            for version in loaded:
                version.state = ModelVersionStatus.UNLOADING
        for version in loaded:
            self._unloads.submit(self._unload, version)
        self._unloads.shutdown()

    def _taken(self, name: str, number: int | None) -> Version:
        with self._changed:
            known = self._versions.get(name, {})
            chosen = self._latest(known) if number is None else known.get(number)
            if chosen is None or not chosen.is_available:
                asked = f"Latest({name})" if number is None else f"Specific({name}, {number})"
                raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
            chosen.users += 1
            return chosen

    @staticmethod
    def _latest(known: Mapping[int, Version]) -> Version | None:
        return max((one for one in known.values() if one.is_available), key=lambda one: one.number, default=None)

    def _is_settled(self, name: str) -> bool:
        known = self._versions.get(name, {})
        return self._latest(known) is not None and all(one.tried for one in known.values() if one.aspired)

    def _has_failed(self, name: str) -> bool:
        wanted = [one for one in self._versions.get(name, {}).values() if one.aspired]
        return bool(wanted) and all(one.has_failed for one in wanted)

    def _describe_failures(self, names: Sequence[str], what: str) -> str:
        failed = [one for name in names for one in self._versions[name].values() if one.aspired and one.error]
        about = "".join(
            f"{{{{name: {one.model} version: {one.number}}} due to error: {one.error}}}, " for one in failed
        )
        return f"{len(failed)} {what}(s) did not become available: {{{about}}}"

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._poll_now.clear()
            self.look()
            self._poll_now.wait(self._options.file_poll_seconds or None)

    def _look_at(self, model: ModelConfig) -> None:
        try:
            wanted = versions.wanted(model)
        except versions.BasePathMissing as error:
            console.warn(str(error))
            with self._changed:
                self._missing[model.name] = str(error)
                self._changed.notify_all()
            return
        with self._changed:
            # It may have been replaced while its folder was looked at.
            if all(one is not model for one in self._models.values()):
                return
            self._missing.pop(model.name, None)
            _aspire(self._versions.setdefault(model.name, {}), wanted, model.name)
            self._changed.notify_all()

    def _manage(self) -> None:
        while not self._closing.is_set():
            with self._changed:
                for known in self._versions.values():
                    while self._act(known):
                        pass
                self._changed.wait(PAUSE_SECONDS)

    def _act(self, known: Mapping[int, Version]) -> bool:
        """Starts the next load or unload of a model; whether there was one."""
        version = next_action(list(known.values()))
        if version is None:
            return False
        if version.aspired:
            version.state = ModelVersionStatus.LOADING
            self._loads.submit(self._load, version)
        else:
            version.state = ModelVersionStatus.UNLOADING
            self._unloads.submit(self._unload, version)
        return True

    def _load(self, version: Version) -> None:
        for left in reversed(range(1 + self._options.max_load_retries)):
            loaded = self._attempt(version, left)
            if isinstance(loaded, Setting) or not left:
                break
            with self._changed:
                version.tried = True
                self._changed.notify_all()
            if version.cancelled.wait(self._options.load_retry_seconds):
                break
        self._finish(version, loaded)

    def _attempt(self, version: Version, left: int) -> Setting | ServingError:
        begun = time.perf_counter()
        try:
            setting = self._loader.load(version.folder, version.number)
        except Exception as raised:  # any fault of a model's own files has to leave the server alive
            error = _as_serving_error(raised)
            console.warn(
                f"Loading servable: {{name: {version.model} version: {version.number}}} failed: {error} "
                f"({quantity(left, 'more attempt')}, {self._options.load_retry_seconds:g} s apart)"
            )
            return error
        console.say(f"{version} is AVAILABLE after {time.perf_counter() - begun:.2f} s")
        return setting

    def _finish(self, version: Version, loaded: Setting | ServingError) -> None:
        with self._changed:
            version.tried = True
            if isinstance(loaded, Setting):
                version.setting, version.state = loaded, ModelVersionStatus.AVAILABLE
            else:
                version.error, version.state = loaded, ModelVersionStatus.END
            self._changed.notify_all()

    def _unload(self, version: Version) -> None:
        with self._changed:
            while version.users:
                self._changed.wait()
            setting, version.setting = version.setting, None
        if setting is not None:
            setting.servable.close()
        del setting
        if not self._closing.is_set():
            give_memory_back()
            console.say(f"{version} is unloaded")
        with self._changed:
            version.state = ModelVersionStatus.END
            self._changed.notify_all()


def _aspire(known: dict[int, Version], wanted: Mapping[int, str], model: str) -> None:
    """Marks which versions are wanted; one that ended is loaded anew when it is wanted again."""
    for number, old in known.items():
        if number not in wanted and old.aspired:
            old.aspired = False
            old.cancelled.set()
            if old.state == ModelVersionStatus.START:
                old.state = ModelVersionStatus.END
    for number, folder in wanted.items():
        version = known.get(number)
        if version is None or (version.has_ended and not version.aspired):
            known[number] = Version(model, number, folder)
        elif version.state != ModelVersionStatus.UNLOADING:
            version.aspired = True
            version.cancelled.clear()


def _as_serving_error(error: Exception) -> ServingError:
    if isinstance(error, ServingError):
        return error
    return ServingError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")
