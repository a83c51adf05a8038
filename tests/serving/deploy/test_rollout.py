"""Publish, canary, promote, rollback on a folder that no server reads (see test_end_to_end.py for one that does)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, RunError, ServerError, VerificationError
from serving import configs, history
from serving.configs import Served
from serving.deployment import Deployment
from serving.publish import read_export
from serving.rollout import Rollout

Verbs = Callable[..., Rollout]
COMPARED = {"passed": True, "why": "all limits are kept"}


@pytest.fixture
def published(rollout: Verbs, runs: list[Path]) -> Rollout:
    """Versions 1 (stable), 2 and 3; the history says that all happened long ago."""
    verbs = rollout()
    for run in runs[1:]:
        verbs.publish(read_export(run))
    return verbs


def age(deployment: Deployment) -> None:
    """Lets an hour pass, as the history sees it."""
    entries = history.read(deployment)
    for entry in entries:
        entry["time"] = (datetime.fromisoformat(entry["time"]) - timedelta(hours=1)).isoformat()
    deployment.history.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="utf-8")


def twice(verb: Callable[[], Any]) -> Any:
    """Runs a verb two times: the second one changes nothing."""
    first = verb()
    again = verb()
    assert not again.changed
    assert again.after == first.after
    return first


def test_the_first_version_is_stable_at_once(rollout: Verbs) -> None:
    assert rollout().state == Served((1,), {"stable": 1})


def test_a_published_version_is_not_served(published: Rollout) -> None:
    assert published.state == Served((1,), {"stable": 1})


def test_the_whole_way_forth_and_back(published: Rollout) -> None:
    assert twice(lambda: published.canary(2)).after == Served((1, 2), {"stable": 1, "canary": 2})
    age(published.deployment)
    assert twice(published.promote).after == Served((1, 2), {"stable": 2})
    assert twice(published.rollback).after == Served((1,), {"stable": 1})


def test_the_version_before_stays_loaded_and_the_one_before_that_goes(published: Rollout) -> None:
    for version in (2, 3):
        published.canary(version)
        age(published.deployment)
        published.promote()
    assert published.state == Served((2, 3), {"stable": 3})
    assert published.rollback().after == Served((2,), {"stable": 2})


def test_a_canary_can_be_ended(published: Rollout) -> None:
    with pytest.raises(ConfigError, match="there is nothing to end"):
        published.end_canary()
    published.canary(2)
    assert twice(published.end_canary).after == Served((1,), {"stable": 1})
    age(published.deployment)
    published.canary(2)
    age(published.deployment)
    published.promote()
    published.canary(3)
    assert published.end_canary().after == Served((1, 2), {"stable": 2})  # 1 is the way back


def test_the_newest_is_the_canary(published: Rollout) -> None:
    assert published.canary().after == Served((1, 3), {"stable": 1, "canary": 3})


def test_a_canary_keeps_the_way_back(published: Rollout) -> None:
    published.canary(2)
    age(published.deployment)
    published.promote()
    assert published.canary(3).after == Served((1, 2, 3), {"stable": 2, "canary": 3})
    age(published.deployment)
    assert published.rollback().after == Served((1, 3), {"stable": 1, "canary": 3})


def test_without_a_server_a_label_does_not_move_to_what_may_not_be_loaded(published: Rollout) -> None:
    """TF Serving would refuse the whole file again and again, and never load the version."""
    with pytest.raises(ConfigError, match="Give --server URL, so that 2 is loaded first"):
        published.promote(2)
    published.canary(2)
    with pytest.raises(ConfigError, match=r"listed a moment ago.* in \d+ s"):
        published.promote()
    with pytest.raises(ConfigError, match="canary names version 2"):
        published.canary(3)
    assert published.state == Served((1, 2), {"stable": 1, "canary": 2})


def test_rolling_back_twice_goes_back_once(published: Rollout) -> None:
    with pytest.raises(ConfigError, match="No version was stable before 1"):
        published.rollback()
    published.canary(2)
    age(published.deployment)
    published.promote()
    published.rollback()
    assert "already" in published.rollback().text


def test_the_stable_version_is_no_canary(published: Rollout) -> None:
    with pytest.raises(ConfigError, match="Version 1 is stable already"):
        published.canary(1)


def test_nothing_is_promoted_without_a_canary(published: Rollout) -> None:
    with pytest.raises(ConfigError, match="No version is labelled canary"):
        published.promote()
    with pytest.raises(RunError, match=r"no published version 9 \(published: 1, 2, 3\)"):
        published.promote(9)


def test_a_version_that_lost_its_comparison_is_promoted_by_force_only(published: Rollout, rollout: Verbs) -> None:
    published.canary(2)
    age(published.deployment)
    published.note_comparison(2, {**COMPARED, "passed": False, "why": "latency ratio 3.00 (limit 1.5)"})
    with pytest.raises(VerificationError, match=r"latency ratio 3\.00"):
        published.promote()
    assert rollout(force=True).promote().after.labels == {"stable": 2}


def test_the_last_comparison_counts(published: Rollout) -> None:
    published.canary(2)
    age(published.deployment)
    published.note_comparison(2, {**COMPARED, "passed": False, "why": "agreement 0.1 (limit 0.9)"})
    published.note_comparison(2, COMPARED)
    assert published.promote().changed


def test_the_history_has_a_line_for_each_change(published: Rollout) -> None:
    published.canary(2)
    age(published.deployment)
    published.promote()
    published.rollback()
    lines = history.changes(published.deployment)
    assert [(one["verb"], one["version"]) for one in lines] == [
        ("deploy", 1),
        ("canary", 2),
        ("promote", 2),
        ("rollback", 1),
    ]
    assert [one["before"] for one in lines[1:]] == [one["after"] for one in lines[:-1]]
    times = [datetime.fromisoformat(one["time"]) for one in lines]
    assert times == sorted(times) and times[-1] <= datetime.now(UTC)


def test_a_damaged_history_is_named_with_its_line(published: Rollout) -> None:
    published.deployment.history.write_text('{"verb": "x"}\n{"ver\n')
    with pytest.raises(RunError, match=r"history\.jsonl:2 is damaged"):
        published.rollback()


def test_other_models_and_labels_in_the_file_stay(published: Rollout) -> None:
    file = published.deployment.models_config
    configs.write_models(file, "other", "/other", Served((5,), {"live": 5}))
    configs.write_models(file, "flowers", published.settings.base_path, Served((1, 2), {"stable": 1, "blue": 2}))
    published.canary(3)
    assert published.state == Served((1, 2, 3), {"stable": 1, "blue": 2, "canary": 3})
    assert configs.served(configs.read_models(file), "other") == Served((5,), {"live": 5})


@dataclass
class Told:
    """A server that has loaded what it is told; a stand-in for one that this folder's file is not read by."""

    states_of: Mapping[int, tuple[str, str]]
    label: int = 0
    seen: list[Served] = field(default_factory=list)
    rollout: Rollout | None = None

    def __str__(self) -> str:
        return "grpc://there:8500"

    def states(self) -> Mapping[int, tuple[str, str]]:
        if self.rollout is not None:
            self.seen.append(self.rollout.state)
        return self.states_of

    def version_of(self, label: str) -> int | None:
        return self.label


def test_a_version_is_listed_and_loaded_before_a_label_names_it(published: Rollout, rollout: Verbs) -> None:
    server = Told({1: ("AVAILABLE", ""), 2: ("AVAILABLE", "")}, label=2)
    verbs = rollout(servers=[server])
    server.rollout = verbs
    assert verbs.promote(2).after == Served((1, 2), {"stable": 2})
    assert server.seen == [Served((1,), {"stable": 1}), Served((1, 2), {"stable": 1})]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({2: ("END", "Could not find variable")}, "cannot load version 2: Could not find variable"),
        ({2: ("LOADING", "")}, "has not loaded version 2 after 0 s"),
        ({}, "has not loaded version 2 after 0 s"),
    ],
)
def test_a_version_that_does_not_load_is_taken_off_the_list(
    published: Rollout, rollout: Verbs, state: Mapping[int, tuple[str, str]], message: str
) -> None:
    """Else every server that starts later would end with it."""
    with pytest.raises(ServerError, match=message):
        rollout(servers=[Told(state)], wait_seconds=0.0).canary(2)
    assert published.state == Served((1,), {"stable": 1})
    assert [one["verb"] for one in history.changes(published.deployment)] == ["deploy", "list", "withdraw"]


def test_a_server_that_does_not_read_the_file_is_named(published: Rollout, rollout: Verbs) -> None:
    server = Told({2: ("AVAILABLE", "")}, label=1)
    with pytest.raises(ServerError, match="gives stable to version 2, but grpc://there:8500 does not"):
        rollout(servers=[server], wait_seconds=0.0).promote(2)
    server.label = 2
    assert not rollout(servers=[server]).promote(2).changed


class Away(Told):
    """A server that cannot be reached."""

    def states(self) -> Mapping[int, tuple[str, str]]:
        raise ServerError("Status of flowers at grpc://there:8500: UNAVAILABLE", "UNAVAILABLE")


def test_nothing_changes_where_a_server_cannot_be_reached(published: Rollout, rollout: Verbs) -> None:
    with pytest.raises(ServerError, match="UNAVAILABLE"):
        rollout(servers=[Told({2: ("AVAILABLE", "")}), Away({})]).canary(2)
    assert [one["verb"] for one in history.changes(published.deployment)] == ["deploy"]
