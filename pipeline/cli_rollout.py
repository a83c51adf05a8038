"""The verbs that bring a version into production and out again: deploy, publish, canary, promote, rollback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import cli_rollout_options as given
from pipeline import console
from pipeline.cli_options import Authority, Certificate, Key
from pipeline.command import verb
from pipeline.console import terminal
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from serving.client import ClientSettings
    from serving.comparison import Comparison, ComparisonLimits
    from serving.deployment import Deployment
    from serving.live import LiveServer
    from serving.publish import Export
    from serving.rollout import Outcome, Rollout


@verb
def deploy(
    run: given.RunToServe,
    to: given.To,
    name: given.Name = None,
    at: given.At = None,
    image: given.Image = None,
    cpus: given.Cpus = None,
    gpus: given.Gpus = None,
    memory_gib: given.MemoryGib = None,
    replicas: given.Replicas = None,
    max_replicas: given.MaxReplicas = None,
    latency_ms: given.LatencyMs = None,
    poll_seconds: given.PollSeconds = None,
    force: given.Force = False,
    replace: given.Replace = False,
) -> None:
    """Write all that TF Serving needs: the model, its configuration, Docker Compose, Kubernetes, alerts, examples."""
    told: dict[str, Any] = {"name": name, "folder": at, "image": image}
    told |= {"cpus": cpus, "gpus": gpus, "memory_gib": memory_gib}
    told |= {"replicas": replicas, "max_replicas": max_replicas, "latency_ms": latency_ms, "poll_seconds": poll_seconds}
    from pipeline.mirror import mirrored
    from serving import deploy as deployment_of
    from serving.deployment import Deployment
    from serving.publish import read_export, require_blessed

    with mirrored(run) as local:
        export, deployment = read_export(local), Deployment(to)
        require_blessed(f"The export of {run}", blessed=export.blessed, why=export.why, force=force)
        settings = deployment_of.settings_for(export, deployment, _model_name(local), _given(told))
        picture = _picture(local, export)
        outcome = deployment_of.deploy(export, deployment, settings, picture, force=force, replace=replace)
    _tell(outcome, deployment)


@verb
def publish(
    run: given.RunToServe,
    to: given.To,
    version: given.VersionNumber = None,
    keep: given.Keep = None,
    force: given.Force = False,
) -> None:
    """Put a new version beside those in a production folder. It is not served before `canary` or `promote`."""
    from pipeline.mirror import mirrored
    from serving.publish import read_export

    with mirrored(run) as local, _opened(to, force=force) as (rollout, _):
        outcome = rollout.publish(read_export(local), version, keep)
    _tell(outcome, rollout.deployment)


@verb
def canary(
    folder: given.ProductionFolder,
    version: given.VersionNumber = None,
    server: given.Servers = None,
    pictures: given.Pictures = None,
    count: given.Count = 200,
    min_agreement: given.MinAgreement = 0.9,
    max_latency_ratio: given.MaxLatencyRatio = 1.5,
    max_drop: given.MaxDrop = 0.01,
    max_failed: given.MaxFailed = 0.0,
    wait: given.Wait = 300.0,
    authority: Authority = None,
    certificate: Certificate = None,
    key: Key = None,
    force: given.Force = False,
    end: given.End = False,
) -> None:
    """Give a version the label `canary`, and compare it with the stable one; exit code 6 where it misses limits."""
    from serving.comparison import ComparisonLimits

    if end:
        _end_canary(folder, version, pictures)
        return
    limits = ComparisonLimits(
        min_agreement=min_agreement, max_latency_ratio=max_latency_ratio, max_drop=max_drop, max_failed=max_failed
    )
    if pictures is not None and not server:
        raise ConfigError("--pictures are sent to a running server: give --server URL as well.")
    with _opened(folder, server, _client(authority, certificate, key), wait=wait, force=force) as (rollout, servers):
        outcome = rollout.canary(version)
        if pictures is None:
            _tell(outcome, rollout.deployment)
            return
        comparison = _compared(rollout, servers[0], pictures, count, limits)
        rollout.note_comparison(outcome.version, comparison.as_document())
    _tell(outcome, rollout.deployment, comparison)
    comparison.require_passed()


@verb
def promote(
    folder: given.ProductionFolder,
    version: given.VersionNumber = None,
    server: given.Servers = None,
    wait: given.Wait = 300.0,
    authority: Authority = None,
    certificate: Certificate = None,
    key: Key = None,
    force: given.Force = False,
) -> None:
    """Give the label `stable` to the canary (or to --version N). The version that had it stays loaded."""
    with _opened(folder, server, _client(authority, certificate, key), wait=wait, force=force) as (rollout, _):
        _tell(rollout.promote(version), rollout.deployment)


@verb
def rollback(
    folder: given.ProductionFolder,
    version: given.VersionNumber = None,
    server: given.Servers = None,
    wait: given.Wait = 300.0,
    authority: Authority = None,
    certificate: Certificate = None,
    key: Key = None,
    force: given.Force = False,
) -> None:
    """Give the label `stable` back to the version that had it before (or to --version N)."""
    with _opened(folder, server, _client(authority, certificate, key), wait=wait, force=force) as (rollout, _):
        _tell(rollout.rollback(version), rollout.deployment)


@contextmanager
def _opened(
    folder: Path,
    urls: Sequence[str] | None = None,
    client: ClientSettings | None = None,
    *,
    wait: float = 0.0,
    force: bool = False,
) -> Iterator[tuple[Rollout, list[LiveServer]]]:
    from serving.deployment import Deployment
    from serving.live import live_servers
    from serving.rollout import Rollout

    deployment = Deployment(folder)
    settings = deployment.settings()
    with live_servers(urls or (), settings.name, client) as servers:
        yield Rollout(deployment, settings, servers, wait_seconds=wait, force=force), servers


def _client(authority: Path | None, certificate: Path | None, key: Path | None) -> ClientSettings:
    from serving.client import ClientSettings, Tls

    return ClientSettings(tls=Tls(authority, certificate, key))


def _end_canary(folder: Path, version: int | None, pictures: Path | None) -> None:
    if version is not None or pictures is not None:
        raise ConfigError("--end takes the label away: it goes with neither --version nor --pictures.")
    with _opened(folder) as (rollout, _):
        _tell(rollout.end_canary(), rollout.deployment)


def _compared(rollout: Rollout, server: LiveServer, place: Path, count: int, limits: ComparisonLimits) -> Comparison:
    """Sends the pictures to both labels' versions."""
    from pipeline.labelled_pictures import TaskJudge, pictures_of
    from pipeline.trained import task_of
    from serving import comparison
    from serving.rollout import CANARY, STABLE

    labels = rollout.state.labels
    if STABLE not in labels:
        raise ConfigError(f"No version is {STABLE}, so there is nothing to compare with. Run `convoy promote` first.")
    task = task_of(rollout.base_path / str(labels[CANARY]))
    pictures = pictures_of(place, task, count)
    stable, canary = ((labels[label], server.client(label)) for label in (STABLE, CANARY))
    with console.progress("compare") as progress:
        return comparison.compare(
            stable, canary, pictures, TaskJudge(task), limits, lambda done: progress(done, len(pictures))
        )


def _picture(run: Path, export: Export) -> bytes:
    """An encoded picture of the Run's data: of the warm-up requests, else of the prepared data."""
    from serving.examples import warm_up_picture

    picture = warm_up_picture(export.version_folder)
    if picture is not None:
        return picture
    from pipeline.data.example import TRAIN
    from pipeline.data.input import encoded_pictures
    from pipeline.data.store import Store
    from pipeline.run import Run

    return encoded_pictures(Store.open(Run(run).store), TRAIN, 1)[0]


def _model_name(run: Path) -> str:
    """What the configuration of a Run, or of an export folder, calls the model."""
    from pipeline.config import load
    from pipeline.opening import config_file

    return load(config_file(run)).export.model_name


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _tell(outcome: Outcome, deployment: Deployment, comparison: Comparison | None = None) -> None:
    document = {"folder": str(deployment.path), **outcome.as_document()}
    if comparison is None:
        terminal.answer(document, outcome.text)
        return
    terminal.answer({**document, "comparison": comparison.as_document()}, f"{outcome.text}\n{comparison.as_text()}")
