"""The roll-out of a new version: published beside the old, tried under the label `canary`, promoted, rolled back.

TF Serving carries out a changed `models.config` in one order: labels first, then versions. So

- a label that moves to a version which is not loaded yet gets the whole file refused, again at every look, and the
  version never loads. A version is therefore listed first, and named by a label once servers say it is AVAILABLE;
- a label and the version that it leaves may go in the same change: requests have moved before it is unloaded.

Clients that ask for neither version nor label get the highest loaded version: canaries too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from packaging.version import Version

from pipeline import console
from pipeline.errors import ConfigError, ConvoyError, VerificationError
from serving import configs, history
from serving import publish as versions
from serving.configs import Served
from serving.deployment import Deployment, DeploymentSettings
from serving.live import Server, await_available, await_label
from serving.publish import Export, Published

STABLE = "stable"
CANARY = "canary"
LOOKS = 3
"""How often servers should have looked at `models.config` before a version counts as loaded without asking them."""


@dataclass(frozen=True)
class Outcome:
    """What a verb did.

    Args:
        version: that it was about.
        changed: whether anything was changed; false where all was so already.
        before, after: what servers were and are told.
        text: the same for people.
    """

    verb: str
    version: int
    changed: bool
    before: Served
    after: Served
    text: str

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        states = {"before": self.before.as_document(), "after": self.after.as_document()}
        return {"verb": self.verb, "version": self.version, "changed": self.changed, **states}


class Rollout:
    """The verbs on one production folder. Each of them locks it, and can be run again after it was killed.

    Args:
        servers: to be asked whether a version is AVAILABLE; without any, labels name versions whose folder is whole.
        wait_seconds: for a version to be loaded.
        force: also what is not blessed, or lost a comparison.
    """

    def __init__(
        self,
        deployment: Deployment,
        settings: DeploymentSettings,
        servers: Sequence[Server] = (),
        *,
        wait_seconds: float = 300.0,
        force: bool = False,
    ):
        self.deployment, self.settings = deployment, settings
        self.base_path = deployment.base_path(settings.name)
        self._servers, self._wait, self._force = tuple(servers), wait_seconds, force

    @property
    def state(self) -> Served:
        """What servers are told at present."""
        return configs.served(configs.read_models(self.deployment.models_config), self.settings.name)

    @contextmanager
    def changing(self) -> Iterator[Served]:
        """Locks the folder, settles what a killed command left, and gives what servers are told."""
        with self.deployment.locked():
            history.settle(self.deployment, self.settings.name)
            yield self.state

    def publish(self, export: Export, version: int | None = None, keep: int | None = None) -> Outcome:
        """Puts an export beside the versions that are there. Nobody serves it before `canary` or `promote`.

        Args:
            version: its number; by default the next.
            keep: how many versions stay; what labels name or servers load stays anyway. None removes nothing.

        Raises:
            VerificationError: it is not blessed, and not forced.
            RunError: its files differ from its contract.
            StorageError: the disk is full or cannot be written.
        """
        with self.changing() as state:
            there, changed = self.put(export, version)
            self._warn_of_changes(there, export, state)
            removed = [] if keep is None else self._prune(keep, {there.version, *state.versions})
        text = f"version {there.version} {'is published' if changed else 'was published already'}: {there.folder}"
        gone = f"; removed: {', '.join(map(str, removed))}" if removed else ""
        return Outcome("publish", there.version, changed or bool(removed), state, state, text + gone)

    def put(self, export: Export, version: int | None = None) -> tuple[Published, bool]:
        """A published version of an export, and whether it is new. The caller is `changing`."""
        versions.require_blessed(
            f"The export of {export.run}", blessed=export.blessed, why=export.why, force=self._force
        )
        used = {one["version"] for one in history.read(self.deployment) if "version" in one}
        there, new = versions.publish(export, self.base_path, used, version)
        if new or there.version not in used:  # a killed command may have put it there without a line
            history.note(self.deployment, "publish", version=there.version, digest=there.digest, **self._merit(there))
        return there, new

    def _warn_of_changes(self, there: Published, export: Export, state: Served) -> None:
        """Says what clients and servers may stumble over."""
        stable = state.labels.get(STABLE)
        if stable is not None and (self.base_path / str(stable)).is_dir():
            changed = versions.changes(self.base_path / str(stable), there.folder)
            if changed:
                console.warn(f"version {there.version} has other {', '.join(changed)} than {STABLE}: tell its clients")
        if Version(export.tensorflow) > Version(self.settings.tensorflow):
            console.warn(
                f"version {there.version} was exported by TensorFlow {export.tensorflow}, the servers are of "
                f"{self.settings.tensorflow} ({self.settings.image}); `convoy deploy` brings their image up to date"
            )

    def _prune(self, keep: int, needed: Collection[int]) -> list[int]:
        """Removes old versions, each with one line in the history, however often the command is killed."""
        removed = versions.surplus(self.base_path, keep, needed)
        noted = {number for one in history.read(self.deployment) for number in one.get("removed", ())}
        if set(removed) - noted:
            history.note(self.deployment, "prune", removed=sorted(set(removed) - noted))
        versions.remove(self.base_path, removed)
        return removed

    def canary(self, version: int | None = None) -> Outcome:
        """Loads a version beside the stable one and gives it the label `canary`.

        Args:
            version: by default the newest published one.

        Raises:
            VerificationError: it is not blessed, and not forced.
            ServerError: a server does not load it; it is not listed any more then.
        """
        with self.changing() as before:
            there = self._to_serve(self._newest() if version is None else version)
            if before.labels.get(STABLE) == there.version:
                raise ConfigError(
                    f"Version {there.version} is {STABLE} already. Publish another to try it as a canary."
                )
            others = {one for label, one in before.labels.items() if label != CANARY}
            after = self._label("canary", CANARY, there, keep={*others, *self._way_back(before)})
        return _outcome("canary", CANARY, there, before, after)

    def end_canary(self) -> Outcome:
        """Takes the label `canary` away, and unloads its version unless something else needs it.

        Raises:
            ConfigError: there never was a canary.
        """
        with self.changing() as before:
            there = versions.published_in(self.base_path).get(self._last_canary(before))
            if there is None:
                raise ConfigError(f"No version is labelled {CANARY}, and none was: there is nothing to end.")
            labels = {label: one for label, one in before.labels.items() if label != CANARY}
            keep = {*labels.values(), *self._way_back(before)}
            after = Served(tuple(one for one in before.versions if one in keep), labels)
            self.change(after, "end_canary", there)
            text = f"no version is {CANARY} (loaded: {', '.join(map(str, after.versions))})"
        return Outcome("end_canary", there.version, before != after, before, after, text)

    def promote(self, version: int | None = None) -> Outcome:
        """Gives a version the label `stable`. The one that had it stays loaded, so that `rollback` is instant.

        Args:
            version: by default the one that `canary` names.

        Raises:
            VerificationError: it is not blessed, or lost the last comparison, and not forced.
            ServerError: a server does not load it.
        """
        with self.changing() as before:
            there = self._to_serve(self._canary_of(before) if version is None else version)
            self._require_won(there.version)
            ended = {label for label in (CANARY,) if before.labels.get(label) == there.version}
            keep = set(before.labels.values())
            if before.labels.get(STABLE) == there.version:
                keep |= self._way_back(before)
            after = self._label("promote", STABLE, there, keep=keep, ended=ended)
        return _outcome("promote", STABLE, there, before, after)

    def rollback(self, version: int | None = None) -> Outcome:
        """Gives `stable` back to the version that had it before, and unloads the one that had it.

        Args:
            version: by default the one before; running it twice goes back once.

        Raises:
            ConfigError: there is nothing to go back to.
        """
        with self.changing() as before:
            there = self._to_serve(self._earlier(before) if version is None else version)
            others = {one for label, one in before.labels.items() if label != STABLE}
            after = self._label("rollback", STABLE, there, keep=others)
        return _outcome("rollback", STABLE, there, before, after)

    def note_comparison(self, version: int, facts: Mapping[str, Any]) -> None:
        """Keeps in the history how a version did beside the stable one."""
        with self.changing():
            history.note(self.deployment, "compare", version=version, **facts)

    def _label(
        self, verb: str, label: str, there: Published, *, keep: Collection[int], ended: Collection[str] = ()
    ) -> Served:
        """The version is listed and loaded, then the label names it; of the other versions, those in `keep` stay."""
        before, version = self.state, there.version
        if self._servers:
            self._list(there, before)
        elif before.labels.get(label) not in (None, version):
            self._require_settled(version, label, before)
        labels = {name: one for name, one in before.labels.items() if name not in ended}
        stay = {one for one in before.versions if one in keep}
        after = Served(tuple(sorted({*stay, version})), {**labels, label: version})
        self._require_there(after)
        self.change(after, verb, there)
        await_label(self._servers, label, version, self._wait)
        return after

    def _list(self, there: Published, before: Served) -> None:
        """Has servers load a version; one that does not load is taken off the list again."""
        for server in self._servers:
            server.states()  # one that cannot be reached ends this before anything is changed
        self.change(replace(before, versions=tuple(sorted({*before.versions, there.version}))), "list", there)
        try:
            await_available(self._servers, there.version, self._wait, self.settings.base_path)
        except ConvoyError as error:
            self.change(before, "withdraw", there, why=str(error))
            raise

    def _require_settled(self, version: int, label: str, before: Served) -> None:
        """Without a server to ask, a label moves only to what servers have had the time to load."""
        if version not in before.versions:
            raise ConfigError(
                f"{label} names version {before.labels[label]}, and servers refuse a models.config that moves a label "
                f"to a version that they have not loaded. Give --server URL, so that {version} is loaded first."
            )
        passed = datetime.now(UTC) - self._listed_since(version)
        wait = timedelta(seconds=LOOKS * self.settings.poll_seconds) - passed
        if wait > timedelta():
            raise ConfigError(
                f"Version {version} was listed a moment ago, and without --server URL nobody is asked whether it is "
                f"loaded. Give one, or run this again in {wait.total_seconds():.0f} s, once all servers have loaded it."
            )
        console.warn(f"without --server URL nobody was asked whether version {version} is loaded")

    def _listed_since(self, version: int) -> datetime:
        """When the version was last put on the list; long ago where the history does not say."""
        for entry in reversed(history.read(self.deployment)):
            if (
                "after" in entry
                and version in entry["after"]["versions"]
                and version not in entry["before"]["versions"]
            ):
                return datetime.fromisoformat(entry["time"])
        return datetime.min.replace(tzinfo=UTC)

    def _to_serve(self, version: int) -> Published:
        there = versions.find(self.base_path, version)
        versions.require_blessed(f"Version {version}", blessed=there.blessed, why=there.why, force=self._force)
        return there

    def _require_won(self, version: int) -> None:
        compared = [
            one for one in history.read(self.deployment) if one["verb"] == "compare" and one["version"] == version
        ]
        if compared and not compared[-1]["passed"] and not self._force:
            raise VerificationError(
                f"Version {version} missed its limits as a canary: {compared[-1]['why']}. Publish a better one, "
                "compare it again, or give --force."
            )

    def _newest(self) -> int:
        there = versions.published_in(self.base_path)
        if not there:
            raise ConfigError(f"{self.deployment.path} holds no published version. Run `convoy publish` first.")
        return max(there)

    def _last_canary(self, state: Served) -> int:
        """The version that is the canary, or was the last one; 0 where there was none."""
        earlier = [one["after"]["labels"] for one in history.changes(self.deployment)]
        return next((labels[CANARY] for labels in (state.labels, *reversed(earlier)) if CANARY in labels), 0)

    def _canary_of(self, state: Served) -> int:
        """What is to be promoted: the canary, or what was promoted last, so that promoting twice changes nothing."""
        if CANARY in state.labels:
            return state.labels[CANARY]
        last = next((one for one in reversed(history.read(self.deployment)) if one["verb"] == "promote"), None)
        if last is not None and last["version"] == state.labels.get(STABLE):
            return int(last["version"])
        raise ConfigError(f"No version is labelled {CANARY}. Run `convoy canary` first, or give --version N.")

    def _earlier(self, state: Served) -> int:
        """What `rollback` goes to; the present one where it has been run already."""
        moved = self._last_move()
        if moved is None or moved["before"]["labels"].get(STABLE) is None:
            raise ConfigError(
                f"No version was {STABLE} before {state.labels.get(STABLE)}. Give --version N to choose one."
            )
        side = "after" if moved["verb"] == "rollback" else "before"
        return int(moved[side]["labels"][STABLE])

    def _way_back(self, state: Served) -> set[int]:
        """The version that stays loaded for a roll-back, if there is one."""
        moved = self._last_move()
        if moved is None or moved["verb"] == "rollback":
            return set()
        return (
            {moved["before"]["labels"][STABLE]} & set(state.versions) if STABLE in moved["before"]["labels"] else set()
        )

    def _last_move(self) -> history.Entry | None:
        """The last change of what `stable` names."""
        for entry in reversed(history.changes(self.deployment)):
            if entry["before"]["labels"].get(STABLE) != entry["after"]["labels"].get(STABLE):
                return entry
        return None

    def _require_there(self, state: Served) -> None:
        missing = {
            label: one for label, one in state.labels.items() if one not in versions.published_in(self.base_path)
        }
        if missing:
            raise ConfigError(f"Labels would name versions that are not there: {missing}. Give them others first.")

    def change(self, state: Served, verb: str, there: Published, **facts: Any) -> None:
        """Tells servers a new state, with a line in the history. The caller is `changing`."""
        merit = self._merit(there)
        history.change(self.deployment, self.settings, state, verb, version=there.version, **merit, **facts)

    def _merit(self, there: Published) -> dict[str, bool]:
        return {"blessed": there.blessed, "forced": self._force and not there.blessed}


def _outcome(verb: str, label: str, there: Published, before: Served, after: Served) -> Outcome:
    already = "" if before != after else " already"
    loaded = ", ".join(map(str, after.versions))
    text = f"{label} names version {there.version}{already} (loaded: {loaded})"
    return Outcome(verb, there.version, before != after, before, after, text)
