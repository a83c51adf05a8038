"""A dashboard for Grafana, and the files by which Grafana finds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.deployment import DeploymentSettings
from serving.monitoring import metrics

WINDOW = "$__rate_interval"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, COLUMNS = 12, 8, 2
QUANTILES = (0.5, 0.9, 0.99)


def dashboard(settings: DeploymentSettings) -> dict[str, Any]:
    """The dashboard's JSON model."""
    panels = [
        _requests(settings),
        _faults(settings),
        _latency(settings),
        _runtime(settings),
        _queuing(),
        _at_work(settings),
        _loading(settings),
        _warm_up(settings),
    ]
    return {
        "uid": f"convoy-{settings.slug}"[:40],
        "title": f"TensorFlow Serving: {settings.name}",
        "tags": ["tensorflow-serving"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [_placed(panel, number) for number, panel in enumerate(panels)],
    }


def sources() -> dict[str, Any]:
    """Grafana's data source: the Prometheus beside it."""
    prometheus = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "url": "http://prometheus:9090"}
    return {"apiVersion": 1, "datasources": [{**prometheus, "isDefault": True}]}


def providers() -> dict[str, Any]:
    """Where Grafana finds dashboards."""
    folder = {"path": "/var/lib/grafana/dashboards"}
    return {"apiVersion": 1, "providers": [{"name": "convoy", "type": "file", "options": folder}]}


def _requests(settings: DeploymentSettings) -> dict[str, Any]:
    expression = metrics.rate(metrics.REQUESTS, WINDOW, ["status"], model_name=settings.name)
    return _panel("Requests", "reqps", {"{{status}}": expression})


def _faults(settings: DeploymentSettings) -> dict[str, Any]:
    faults = metrics.any_of(metrics.SERVER_FAULTS)
    lines = {
        "the server's fault": metrics.share_of_requests(settings.name, faults, WINDOW),
        "all errors": metrics.share_of_requests(settings.name, "!=OK", WINDOW),
    }
    return _panel("Share of requests that fail", "percentunit", lines)


def _latency(settings: DeploymentSettings) -> dict[str, Any]:
    return _panel("Latency of requests", "ms", _quantiles(metrics.REQUEST_LATENCY, model_name=settings.name))


def _runtime(settings: DeploymentSettings) -> dict[str, Any]:
    return _panel("Of which TensorFlow computes", "ms", _quantiles(metrics.RUNTIME_LATENCY, model_name=settings.name))


def _queuing() -> dict[str, Any]:
    return _panel("Waiting for a batch", "ms", _quantiles(metrics.QUEUING_LATENCY))


def _at_work(settings: DeploymentSettings) -> dict[str, Any]:
    lines = {
        "requests in flight (mean)": metrics.rate(f"{metrics.REQUEST_LATENCY}_sum", WINDOW, model_name=settings.name)
        + " / 1e6"
    }
    return _panel("Requests that are worked on at once", "short", lines)


def _loading(settings: DeploymentSettings) -> dict[str, Any]:
    chosen = metrics.selected(metrics.LOAD_ATTEMPTS, model_path=f"=~.*/{settings.name}/.*")
    return _panel("Versions loaded", "short", {"{{model_path}} {{status}}": f"sum by (model_path, status) ({chosen})"})


def _warm_up(settings: DeploymentSettings) -> dict[str, Any]:
    chosen: dict[str, Any] = {"by": ["model_path"], "model_path": f"=~.*/{settings.name}/.*"}
    total, count = (metrics.rate(f"{metrics.WARM_UP_LATENCY}_{part}", "1h", **chosen) for part in ("sum", "count"))
    expression = f"{total} / {count} / 1e6"
    return _panel("Warm-up", "s", {"{{model_path}}": expression})


def _quantiles(metric: str, **matching: str) -> dict[str, str]:
    lines = {f"p{share * 100:g}": metrics.quantile_ms(share, metric, WINDOW, **matching) for share in QUANTILES}
    return {**lines, "mean": metrics.mean_ms(metric, WINDOW, **matching)}


def _panel(title: str, unit: str, lines: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend, "datasource": SOURCE}
            for number, (legend, expression) in enumerate(lines.items())
        ],
    }


def _placed(panel: dict[str, Any], number: int) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    place = {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT}
    return {"id": number + 1, "gridPos": place, **panel}
