"""Manifests for Kubernetes: the servers, their address, how many there are, the volume with the production folder."""

from __future__ import annotations

from typing import Any

from serving.configs import METRICS_PATH
from serving.deployment import DeploymentSettings
from serving.server_flags import GRPC_PORT, REST_PORT, readiness_path, server_flags

DRAIN_SECONDS = 20
"""Between a pod's removal from the addresses and its end: TF Serving itself does not drain, it ignores SIGTERM."""
START_SECONDS = 600
CPU_PERCENT = 70
VOLUME = "deployment"
USER = 1000


def manifests(settings: DeploymentSettings) -> dict[str, dict[str, Any]]:
    """File name without suffix -> manifest."""
    return {
        "volume_claim": volume_claim(settings),
        "deployment": deployment(settings),
        "service": service(settings),
        "autoscaler": autoscaler(settings),
        "disruption_budget": disruption_budget(settings),
    }


def labels(settings: DeploymentSettings) -> dict[str, str]:
    """What the objects of one deployment have in common."""
    return {"app.kubernetes.io/name": "tensorflow-serving", "app.kubernetes.io/instance": settings.slug}


def volume_claim(settings: DeploymentSettings) -> dict[str, Any]:
    """The volume that holds the production folder: read by all servers, written where `convoy` runs."""
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10Gi"}}}
    return _object("v1", "PersistentVolumeClaim", settings, spec)


def deployment(settings: DeploymentSettings) -> dict[str, Any]:
    """The servers; how many is the autoscaler's matter."""
    spec = {
        "selector": {"matchLabels": labels(settings)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            "metadata": {"labels": labels(settings), "annotations": _scraped()},
            "spec": _pod(settings),
        },
    }
    return _object("apps/v1", "Deployment", settings, spec)


def service(settings: DeploymentSettings) -> dict[str, Any]:
    """One address for both ports. gRPC keeps its connections: its clients need a balancing of their own, or a mesh."""
    ports = [
        {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"},
        {"name": "rest", "port": REST_PORT, "targetPort": "rest", "appProtocol": "http"},
    ]
    return _object("v1", "Service", settings, {"selector": labels(settings), "ports": ports})


def autoscaler(settings: DeploymentSettings) -> dict[str, Any]:
    """More servers where processors are busy. Shrinks slowly: a new server has to load and warm up first."""
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": CPU_PERCENT}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": settings.slug},
        "minReplicas": settings.replicas,
        "maxReplicas": settings.max_replicas,
        "metrics": [{"type": "Resource", "resource": metric}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    }
    return _object("autoscaling/v2", "HorizontalPodAutoscaler", settings, spec)


def disruption_budget(settings: DeploymentSettings) -> dict[str, Any]:
    """Nodes are emptied one server at a time."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": labels(settings)}}
    return _object("policy/v1", "PodDisruptionBudget", settings, spec)


def resources(settings: DeploymentSettings) -> dict[str, Any]:
    """No limit of processors: throttling would show as latency. Memory is limited to what is asked for."""
    memory = f"{settings.memory_gib}Gi"
    gpus = {"nvidia.com/gpu": str(settings.gpus)} if settings.gpus else {}
    return {"requests": {"cpu": str(settings.cpus), "memory": memory, **gpus}, "limits": {"memory": memory, **gpus}}


def probes(settings: DeploymentSettings, port: int | str) -> dict[str, Any]:
    """Ready while the stable version is AVAILABLE; alive while the port answers, as it does once models are loaded."""
    ready = {"httpGet": {"path": readiness_path(settings), "port": port}, "periodSeconds": 5, "timeoutSeconds": 3}
    return {
        "startupProbe": {**ready, "failureThreshold": START_SECONDS // 5},
        "readinessProbe": {**ready, "failureThreshold": 2},
        "livenessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 10, "failureThreshold": 6},
    }


def mounts(settings: DeploymentSettings) -> list[dict[str, Any]]:
    """The production folder, and room for temporary files."""
    folder = {"name": VOLUME, "mountPath": settings.folder, "readOnly": True}
    return [folder, {"name": "scratch", "mountPath": "/tmp"}]


def volumes(settings: DeploymentSettings) -> list[dict[str, Any]]:
    """Behind `mounts`."""
    claim = {"name": VOLUME, "persistentVolumeClaim": {"claimName": settings.slug, "readOnly": True}}
    return [claim, {"name": "scratch", "emptyDir": {}}]


def container_security() -> dict[str, Any]:
    """No rights beyond reading the model and answering."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _pod(settings: DeploymentSettings) -> dict[str, Any]:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels(settings)},
    }
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": DRAIN_SECONDS + 10,
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"}},
        "topologySpreadConstraints": [spread],
        "containers": [_container(settings)],
        "volumes": volumes(settings),
    }


def _container(settings: DeploymentSettings) -> dict[str, Any]:
    return {
        "name": "serving",
        "image": settings.image,
        "command": ["/usr/bin/tensorflow_model_server"],
        "args": server_flags(settings),
        "ports": [{"name": "grpc", "containerPort": GRPC_PORT}, {"name": "rest", "containerPort": REST_PORT}],
        **probes(settings, "rest"),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN_SECONDS)]}}},
        "resources": resources(settings),
        "securityContext": container_security(),
        "volumeMounts": mounts(settings),
    }


def _scraped() -> dict[str, str]:
    """By which a Prometheus in the cluster finds the pods."""
    return {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(REST_PORT),
        "prometheus.io/path": METRICS_PATH,
    }


def _object(version: str, kind: str, settings: DeploymentSettings, spec: dict[str, Any]) -> dict[str, Any]:
    about = {"name": settings.slug, "labels": labels(settings)}
    return {"apiVersion": version, "kind": kind, "metadata": about, "spec": spec}
