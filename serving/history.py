"""What was done to a production folder, and the one step in which it changes.

A change is noted in `.pending.json`, carried out by writing `models.config`, and moved to `history.jsonl`. Whatever is
killed in between is settled by the next command: `models.config` says whether the change happened.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import RunError
from pipeline.files import write_file
from serving import configs
from serving.configs import Served
from serving.deployment import Deployment, DeploymentSettings

Entry = dict[str, Any]


def read(deployment: Deployment) -> list[Entry]:
    """All changes, oldest first; RunError where the file is damaged."""
    if not deployment.history.exists():
        return []
    entries = []
    for number, line in enumerate(deployment.history.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entries.append(json.loads(line))
        except ValueError as error:
            raise RunError(f"{deployment.history}:{number} is damaged ({error}). Repair or remove the line.") from error
    return entries


def changes(deployment: Deployment) -> list[Entry]:
    """Those that changed what servers are told: they have `before` and `after`."""
    return [entry for entry in read(deployment) if "after" in entry]


def note(deployment: Deployment, verb: str, **facts: Any) -> Entry:
    """Adds a line about something that changed nothing in `models.config`."""
    entry = {"time": _now(), "verb": verb, **facts}
    _append(deployment, entry)
    return entry


def change(
    deployment: Deployment, settings: DeploymentSettings, state: Served, verb: str, **facts: Any
) -> Entry | None:
    """Writes `models.config` so that it says `state`, with a line in the history; None where it says so already.

    The caller holds the folder's lock, and has called `settle`.
    """
    if configs.says(deployment.models_config, settings.name, settings.base_path, state):
        return None
    before = configs.served(configs.read_models(deployment.models_config), settings.name)
    entry = {"time": _now(), "verb": verb, **facts, "before": before.as_document(), "after": state.as_document()}
    write_file(deployment.pending, json.dumps(entry))
    configs.write_models(deployment.models_config, settings.name, settings.base_path, state)
    _append(deployment, entry)
    deployment.pending.unlink()
    return entry


def settle(deployment: Deployment, name: str) -> None:
    """Finishes or forgets what a killed command began. The caller holds the folder's lock."""
    if not deployment.pending.exists():
        return
    entry = json.loads(deployment.pending.read_text(encoding="utf-8"))
    state = configs.served(configs.read_models(deployment.models_config), name)
    if state == configs.served_in(entry["after"]) and entry not in read(deployment):
        _append(deployment, entry)
    deployment.pending.unlink()


def _append(deployment: Deployment, entry: Entry) -> None:
    earlier = deployment.history.read_text(encoding="utf-8") if deployment.history.exists() else ""
    write_file(deployment.history, f"{earlier}{json.dumps(entry, ensure_ascii=False)}\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
