"""The same servers through KServe: an InferenceService on its TensorFlow runtime."""

from __future__ import annotations

from typing import Any

from serving.deployment import DeploymentSettings
from serving.kubernetes import manifests
from serving.server_flags import server_flags

GRPC_PORT, REST_PORT = 9000, 8080
"""Of KServe's TensorFlow runtime."""


def inference_service(settings: DeploymentSettings) -> dict[str, Any]:
    """An InferenceService that reads the production folder from the same volume, so that the roll-out works there too.

    There is no `storageUri`: KServe would serve the highest version of a copy, canaries and all. Its runtime has flags
    for that, which a `--model_config_file` overrules.
    """
    model = {
        "modelFormat": {"name": "tensorflow", "version": "2"},
        "protocolVersion": "v1",
        "runtimeVersion": settings.image.rpartition(":")[2],
        "args": server_flags(settings, GRPC_PORT, REST_PORT),
        "resources": manifests.resources(settings),
        "readinessProbe": manifests.probes(settings, REST_PORT)["readinessProbe"],
        "securityContext": manifests.container_security(),
        "volumeMounts": manifests.mounts(settings),
    }
    predictor = {
        "minReplicas": settings.replicas,
        "maxReplicas": settings.max_replicas,
        "model": model,
        "volumes": manifests.volumes(settings),
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": settings.slug, "labels": manifests.labels(settings)},
        "spec": {"predictor": predictor},
    }
