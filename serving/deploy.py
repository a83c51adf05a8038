"""`convoy deploy`: the whole production folder, made or brought up to date."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.errors import ConfigError
from pipeline.files import write_file
from serving import configs, examples, history
from serving.configs import Served
from serving.deployment import Deployment, DeploymentSettings, settings_from
from serving.docker.compose import compose, prometheus
from serving.kubernetes.kserve import inference_service
from serving.kubernetes.manifests import manifests
from serving.monitoring.alerts import alerts
from serving.monitoring.dashboard import dashboard, providers, sources
from serving.publish import Export
from serving.rollout import STABLE, Outcome, Rollout

NOTE = "Written by convoy deploy. A file that you change is kept as it is from then on."


def deploy(
    export: Export,
    deployment: Deployment,
    settings: DeploymentSettings,
    picture: bytes,
    *,
    force: bool = False,
    replace: bool = False,
) -> Outcome:
    """Publishes an export and writes everything that serves it.

    The first version is `stable` at once; a later one waits for `canary` and `promote`.

    Killed at any point, it can be run again. `models.config` is written last: before it is there, nothing is served.

    Args:
        picture: encoded, of the Run's data, for the examples.
        force: also an export that is not blessed.
        replace: also files that were changed by hand.

    Raises:
        VerificationError: the export is not blessed.
        RunError: its files differ from its contract.
        ConfigError: the folder holds another model.
        StorageError: the disk is full or cannot be written.
    """
    with deployment.locked():
        _require_same_model(deployment, settings)
        rollout = Rollout(deployment, settings, force=force)
        history.settle(deployment, settings.name)
        before = rollout.state
        there, new = rollout.put(export)
        generated = deployment.document().get("generated", {})
        files = generated_files(settings, export, picture)
        deployment.write_document(settings, _write_all(deployment.path, files, generated, replace=replace))
        _write_configs(deployment, settings, export)
        after = before if STABLE in before.labels else _first(before, there.version)
        rollout.change(after, "deploy", there)
    return Outcome(
        "deploy", there.version, new or before != after, before, after, _told(there.version, after, deployment)
    )


def settings_for(
    export: Export, deployment: Deployment, model_name: str, told: Mapping[str, Any]
) -> DeploymentSettings:
    """The settings of a deployment: what is told, else what was told before, else what suits the export.

    Args:
        model_name: where no name was told.
        told: fields of DeploymentSettings.

    Raises:
        ConfigError: a setting is wrong.
        RunError: the folder's earlier settings are damaged.
    """
    earlier = deployment.settings().model_dump(mode="json") if deployment.about.is_file() else {}
    version = export.tensorflow
    suiting = {"name": model_name, "folder": str(deployment.path.resolve()), "tensorflow": version}
    chosen = {**suiting, **earlier, **told, "tensorflow": version}
    was = earlier and image_for(earlier["tensorflow"], earlier["gpus"])
    if "image" not in told and chosen.get("image") in (None, was):
        chosen["image"] = image_for(version, chosen.get("gpus", 0))
    return settings_from(chosen)


def image_for(tensorflow: str, gpus: int) -> str:
    """TF Serving's image for a version of TensorFlow: one that is older may not know the model's operations."""
    return f"tensorflow/serving:{tensorflow}{'-gpu' if gpus else ''}"


def generated_files(settings: DeploymentSettings, export: Export, picture: bytes) -> dict[str, bytes]:
    """File within the production folder -> content, of all that is not TF Serving's own configuration."""
    documents = {
        "docker-compose.yml": compose(settings),
        "monitoring/prometheus.yml": prometheus(settings),
        "monitoring/alerts.yml": alerts(settings),
        "monitoring/grafana/datasources/prometheus.yml": sources(),
        "monitoring/grafana/dashboards/convoy.yml": providers(),
        "kubernetes/kserve/inference_service.yaml": inference_service(settings),
        **{f"kubernetes/{name}.yaml": content for name, content in manifests(settings).items()},
    }
    board = json.dumps(dashboard(settings), indent=2) + "\n"
    return {
        **{name: as_yaml(content) for name, content in documents.items()},
        "monitoring/dashboards/serving.json": board.encode(),
        **examples.files(settings, export.contract, picture),
    }


def as_yaml(content: Mapping[str, Any]) -> bytes:
    """YAML with a comment that says who wrote it."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 1000
    yaml.representer.ignore_aliases = lambda _: True
    stream = io.StringIO(f"# {NOTE}\n")
    stream.seek(0, io.SEEK_END)
    yaml.dump(content, stream)
    return stream.getvalue().encode()


def _require_same_model(deployment: Deployment, settings: DeploymentSettings) -> None:
    if deployment.about.is_file() and (name := deployment.settings().name) != settings.name:
        raise ConfigError(
            f"{deployment.path} serves the model {name!r}, not {settings.name!r}. Give --name {name}, or another "
            "folder."
        )


def _write_all(
    folder: Path, files: Mapping[str, bytes], generated: Mapping[str, str], *, replace: bool
) -> dict[str, str]:
    """Writes what is new or unchanged by hand; gives file -> checksum of what was generated."""
    kept = []
    checksums = dict(generated)
    for name, content in files.items():
        path, digest = folder / name, hashlib.sha256(content).hexdigest()
        there = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        if there is not None and there not in (digest, generated.get(name)) and not replace:
            kept.append(name)
            continue
        if there != digest:
            write_file(path, content)
        checksums[name] = digest
    if kept:
        console.warn(f"kept as you changed them: {', '.join(kept)}. --replace writes them anew.")
    return checksums


def _write_configs(deployment: Deployment, settings: DeploymentSettings, export: Export) -> None:
    """batching.config and monitoring.config. What `convoy tune` measured stays, or comes along from the Run."""
    configs.write_monitoring(deployment.monitoring_config)
    measured = configs.measured_of(export.run)
    if not configs.is_measured(deployment.batching_config) and configs.is_measured(measured):
        _bring(measured, deployment.batching_config)
    if configs.is_measured(deployment.batching_config):
        _warn_of_other_conditions(deployment, settings)
        return
    parameters, notes = configs.default_batching(settings.cpus, settings.latency_ms, export.picture_ms)
    configs.write_text(deployment.batching_config, parameters, notes)


def _bring(measured: Path, target: Path) -> None:
    """Copies what was measured, after what says under which conditions."""
    evidence = measured.with_name(configs.EVIDENCE)
    if evidence.is_file():
        write_file(target.with_name(configs.EVIDENCE), evidence.read_bytes())
    write_file(target, measured.read_bytes())


def _warn_of_other_conditions(deployment: Deployment, settings: DeploymentSettings) -> None:
    conditions, told = configs.conditions_of(deployment.batching_config), settings.model_dump()
    others = [
        f"--{name.replace('_', '-')} {conditions[name]:g} (here {told[name]:g})"
        for name in ("latency_ms", "cpus")
        if isinstance(conditions.get(name), int | float) and conditions[name] != told[name]
    ]
    if others:
        console.warn(
            f"{deployment.batching_config} was measured for {', '.join(others)}. Measure it again: convoy tune "
            f"{deployment.path}"
        )


def _first(before: Served, version: int) -> Served:
    """No server has a label yet, so each of them takes this one, whether or not it has loaded the version."""
    return Served(tuple(sorted({*before.versions, version})), {**before.labels, STABLE: version})


def _told(version: int, after: Served, deployment: Deployment) -> str:
    stable = after.labels[STABLE]
    if version == stable:
        return f"version {version} is {STABLE} in {deployment.path}. Next: convoy serve {deployment.path}"
    return f"version {version} is published; {STABLE} stays {stable}. Next: convoy canary {deployment.path}"
