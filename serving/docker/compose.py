"""`docker-compose.yml`: TF Serving with a health check, and Prometheus with Grafana for those who want them."""

from __future__ import annotations

from typing import Any

from serving.configs import METRICS_PATH
from serving.deployment import DeploymentSettings
from serving.server_flags import GRPC_PORT, REST_PORT, readiness_path, server_flags

PROMETHEUS = "prom/prometheus:v3.5.0"
GRAFANA = "grafana/grafana:12.1.0"
PROFILE = "monitoring"
ACCELERATOR = {"driver": "nvidia", "capabilities": ["gpu"]}


def compose(settings: DeploymentSettings) -> dict[str, Any]:
    """The Compose file. Ports are published on loopback: TF Serving asks nobody who they are."""
    return {
        "name": settings.slug,
        "services": {
            "serving": _serving(settings),
            "prometheus": _prometheus(),
            "grafana": _grafana(),
        },
    }


def prometheus(settings: DeploymentSettings) -> dict[str, Any]:
    """`prometheus.yml`: what is asked how often, and the alerts."""
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": [
            {
                "job_name": settings.slug,
                "metrics_path": METRICS_PATH,
                "static_configs": [{"targets": [f"serving:{REST_PORT}"]}],
            }
        ],
    }


def health_check(settings: DeploymentSettings) -> str:
    """A line of bash, since the image has neither curl nor wget."""
    request = rf"GET {readiness_path(settings)} HTTP/1.0\r\nHost: localhost\r\n\r\n"
    return f"exec 3<>/dev/tcp/127.0.0.1/{REST_PORT} && printf '{request}' >&3 && head -n 1 <&3 | grep -q ' 200 '"


def _serving(settings: DeploymentSettings) -> dict[str, Any]:
    return {
        "image": settings.image,
        "entrypoint": ["/usr/bin/tensorflow_model_server"],
        "command": server_flags(settings),
        "ports": [f"127.0.0.1:{port}:{port}" for port in (GRPC_PORT, REST_PORT)],
        # The folder, never its files: a file that is mounted alone stays the old one when another is renamed over it.
        "volumes": [_mounted(".", settings.folder)],
        "healthcheck": {
            "test": ["CMD", "bash", "-c", health_check(settings)],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "120s",
        },
        "init": True,
        "restart": "unless-stopped",
        "security_opt": ["no-new-privileges:true"],
        "cap_drop": ["ALL"],
        "deploy": {"resources": _resources(settings)},
    }


def _resources(settings: DeploymentSettings) -> dict[str, Any]:
    limits = {"limits": {"cpus": str(settings.cpus), "memory": f"{settings.memory_gib}G"}}
    if not settings.gpus:
        return limits
    return {**limits, "reservations": {"devices": [{**ACCELERATOR, "count": settings.gpus}]}}


def _prometheus() -> dict[str, Any]:
    return {
        "image": PROMETHEUS,
        "profiles": [PROFILE],
        "ports": ["127.0.0.1:9090:9090"],
        "volumes": [_mounted("./monitoring", "/etc/prometheus")],
        "depends_on": ["serving"],
        "restart": "unless-stopped",
    }


def _grafana() -> dict[str, Any]:
    return {
        "image": GRAFANA,
        "profiles": [PROFILE],
        "ports": ["127.0.0.1:3000:3000"],
        "volumes": [
            _mounted("./monitoring/grafana", "/etc/grafana/provisioning"),
            _mounted("./monitoring/dashboards", "/var/lib/grafana/dashboards"),
        ],
        "depends_on": ["prometheus"],
        "restart": "unless-stopped",
    }


def _mounted(source: str, target: str) -> dict[str, Any]:
    return {"type": "bind", "source": source, "target": target, "read_only": True}
