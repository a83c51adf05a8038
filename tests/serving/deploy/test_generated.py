"""What is generated, against the schemas and parsers of those who read it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import promql_parser
import pytest
from referencing import Registry, Resource
from ruamel.yaml import YAML

from pipeline.errors import ConfigError
from serving import deploy
from serving.deployment import Deployment, DeploymentSettings, settings_from
from serving.publish import read_export
from tests.serving.deploy.conftest import deployed
from tests.serving.deploy.runs import CLASS_NAMES, MODEL, encoded_picture

KUBERNETES = ("1.25", "1.30", "1.37")
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "gpu": {"gpus": 2, "image": "tensorflow/serving:2.21.0-gpu", "memory_gib": 16},
    "one": {"replicas": 1, "max_replicas": 1, "cpus": 1, "latency_ms": 12.5, "poll_seconds": 1},
    "odd_name": {"name": "9_Flowers.v2", "folder": "/srv/a folder/(x)"},
}
WINDOW = "$__rate_interval"


def settings(**told: Any) -> DeploymentSettings:
    base = {"name": MODEL, "folder": "/deployment", "tensorflow": "2.21.0", "image": "tensorflow/serving:2.21.0"}
    return settings_from({**base, **told})


@pytest.fixture(scope="module", params=SETTINGS)
def files(request: pytest.FixtureRequest, runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that is generated for some settings."""
    folder = tmp_path_factory.mktemp(request.param)
    export = read_export(runs[0])
    made = deploy.generated_files(settings(**SETTINGS[request.param]), export, encoded_picture(1))
    for name, content in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read(file: Path) -> Any:
    return YAML(typ="safe").load(file.read_text(encoding="utf-8"))


def manifests(folder: Path) -> Iterator[dict[str, Any]]:
    return (read(file) for file in sorted((folder / "kubernetes").glob("*.yaml")))


@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_fit_the_schemas_of_kubernetes(files: Path, version: str) -> None:
    kinds = set()
    for manifest in manifests(files):
        kubernetes_validate.validate(manifest, version, strict=True)
        kinds.add(manifest["kind"])
    assert kinds == {
        "Deployment",
        "HorizontalPodAutoscaler",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service",
    }


def test_a_wrong_manifest_does_not_fit(files: Path) -> None:
    manifest = read(files / "kubernetes" / "deployment.yaml")
    manifest["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(manifest, "1.37", strict=True)


def test_manifests_belong_together(files: Path) -> None:
    by_kind = {manifest["kind"]: manifest for manifest in manifests(files)}
    pod = by_kind["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert by_kind["Service"]["spec"]["selector"] == labels
    assert by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert (
        by_kind["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        == by_kind["Deployment"]["metadata"]["name"]
    )
    claim = pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim == by_kind["PersistentVolumeClaim"]["metadata"]["name"]
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in by_kind["Service"]["spec"]["ports"]} == ports


def test_servers_are_ready_while_the_stable_version_answers(made: Path) -> None:
    server = read(made / "kubernetes" / "deployment.yaml")["spec"]["template"]["spec"]["containers"][0]
    probe = {"path": f"/v1/models/{MODEL}/labels/stable/metadata", "port": "rest"}
    assert server["readinessProbe"]["httpGet"] == server["startupProbe"]["httpGet"] == probe
    assert f"--model_config_file={made}/models.config" in server["args"]
    # Else no server starts: it looks at the labels before it has loaded anything.
    assert "--allow_version_labels_for_unavailable_models=true" in server["args"]


def kserve_validator() -> jsonschema.Draft202012Validator:
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / "v1.37.0-local-strict"
    kubernetes = json.loads((folder / "_definitions.json").read_text())
    schema = json.loads((Path(__file__).parent / "kserve_schema.json").read_text())
    registry: Registry[Any] = Resource.from_contents(kubernetes) @ Registry()
    return jsonschema.Draft202012Validator(schema, registry=registry)


def test_the_inference_service_fits_kserve(files: Path) -> None:
    service = read(files / "kubernetes" / "kserve" / "inference_service.yaml")
    kserve_validator().validate(service)
    model = service["spec"]["predictor"]["model"]
    assert model["runtimeVersion"] == read(files / "docker-compose.yml")["services"]["serving"]["image"].split(":")[1]
    model["volumeMounts"][0]["mountpath"] = "/x"
    with pytest.raises(jsonschema.ValidationError, match="mountpath"):
        kserve_validator().validate(service)


def compose_check(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_compose_fits_its_schema(files: Path) -> None:
    done = compose_check(files / "docker-compose.yml")
    assert done.returncode == 0, done.stdout


def test_a_wrong_compose_file_does_not_fit(made: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text((made / "docker-compose.yml").read_text().replace("healthcheck:", "healthchek:"))
    assert compose_check(wrong).returncode == 1


def test_the_image_is_that_of_the_exporter(runs: list[Path], tmp_path: Path) -> None:
    folder = deployed(runs[0], tmp_path / "production")
    export = read_export(runs[0])
    assert folder.settings().image == "tensorflow/serving:2.21.0"
    newer = {**export.contract, "environment": {"versions": {"tensorflow": "2.22.1"}}}
    changed = type(export)(**{**vars(export), "contract": newer})
    assert deploy.settings_for(changed, folder, MODEL, {}).image == "tensorflow/serving:2.22.1"
    assert deploy.settings_for(changed, folder, MODEL, {"gpus": 1}).image == "tensorflow/serving:2.22.1-gpu"
    assert deploy.settings_for(changed, folder, MODEL, {"image": "mine:1"}).image == "mine:1"


def expressions(folder: Path) -> list[str]:
    board = json.loads((folder / "monitoring" / "dashboards" / "serving.json").read_text())
    shown = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = [rule["expr"] for group in read(folder / "monitoring" / "alerts.yml")["groups"] for rule in group["rules"]]
    return [expression.replace(WINDOW, "5m") for expression in (*shown, *rules)]


def test_promql_is_understood(files: Path) -> None:
    found = expressions(files)
    assert len(found) > 20
    for expression in found:
        promql_parser.parse(expression)
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        promql_parser.parse(found[-1].replace(")", "", 1).replace(")", ""))


def test_the_dashboard_is_whole(files: Path) -> None:
    board = json.loads((files / "monitoring" / "dashboards" / "serving.json").read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert {variable["name"] for variable in board["templating"]["list"]} == {"datasource"}
    assert len(board["uid"]) <= 40


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool of Debian's package `prometheus` is not installed")
def test_prometheus_takes_its_files(files: Path) -> None:
    done = subprocess.run(
        [str(PROMTOOL), "check", "config", "prometheus.yml"],
        cwd=files / "monitoring",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


RULE_TESTS = """
rule_files: [alerts.yml]
evaluation_interval: 1m
tests:
- interval: 1m
  input_series:
  - {series: 'up{job="flowers",instance="a"}', values: '1x10 0x20'}
  - {series: ':tensorflow:serving:request_count{model_name="flowers",status="OK"}', values: '0+100x30'}
  - {series: ':tensorflow:serving:request_count{model_name="flowers",status="INTERNAL"}', values: '0x10 0+5x20'}
  - series: ':tensorflow:serving:request_latency_bucket{model_name="flowers",le="100000"}'
    values: '0+100x10 1000+10x20'
  - {series: ':tensorflow:serving:request_latency_bucket{model_name="flowers",le="400000"}', values: '0+100x30'}
  - {series: ':tensorflow:serving:request_latency_bucket{model_name="flowers",le="+Inf"}', values: '0+100x30'}
  - series: >-
      :tensorflow:cc:saved_model:load_attempt_count{instance="a",model_path="/deployment/models/flowers/2",status="fail"}
    values: '0x10 1x20'
  alert_rule_test:
  - {eval_time: 9m, alertname: ServingDown}
  - {eval_time: 9m, alertname: ServingErrors}
  - {eval_time: 9m, alertname: ServingVersionDoesNotLoad}
  - eval_time: 14m
    alertname: ServingDown
    exp_alerts:
    - exp_labels: {severity: critical, job: flowers, instance: a}
      exp_annotations: {summary: 'A server does not answer, or Prometheus does not find any.'}
  - eval_time: 20m
    alertname: ServingErrors
    exp_alerts:
    - exp_labels: {severity: critical}
      exp_annotations: {summary: "4.762% of the requests fail by the server's fault."}
  - eval_time: 29m
    alertname: ServingSlow
    exp_alerts:
    - exp_labels: {severity: warning}
      exp_annotations: {summary: 'One request in a hundred takes over 200 ms: 396.7 ms.'}
  - eval_time: 12m
    alertname: ServingVersionDoesNotLoad
    exp_alerts:
    - exp_labels: {severity: critical, instance: a, model_path: /deployment/models/flowers/2}
      exp_annotations:
        summary: >-
          /deployment/models/flowers/2 cannot be loaded; servers that start now do not come up. Run convoy rollback.
"""


@pytest.mark.skipif(PROMTOOL is None, reason="promtool of Debian's package `prometheus` is not installed")
def test_alerts_go_off_when_they_should(tmp_path: Path) -> None:
    from serving.monitoring.alerts import alerts

    (tmp_path / "alerts.yml").write_bytes(deploy.as_yaml(alerts(settings())))
    (tmp_path / "tests.yml").write_text(RULE_TESTS)
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_examples_hold_a_real_picture(made: Path) -> None:
    request = json.loads((made / "examples" / "request.json").read_text())
    picture = (made / "examples" / "picture.jpg").read_bytes()
    assert base64.b64decode(request["instances"][0]["b64"], validate=True) == picture == encoded_picture(1)
    program = (made / "examples" / "predict.py").read_text(encoding="utf-8")
    compile(program, "predict.py", "exec")
    assert all(json.dumps(name) in program for name in CLASS_NAMES)


def test_what_was_changed_by_hand_stays(
    folder: Deployment, runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    compose, readme = folder.path / "docker-compose.yml", folder.path / "README.md"
    compose.write_text("services: {}\n")
    readme.unlink()
    before = folder.settings()
    deploy.deploy(read_export(runs[0]), folder, before, encoded_picture(1))
    assert compose.read_text() == "services: {}\n"
    assert readme.is_file()
    assert "kept as you changed them: docker-compose.yml" in capsys.readouterr().err.replace("\n", "")
    deploy.deploy(read_export(runs[0]), folder, before, encoded_picture(1), replace=True)
    assert "tensorflow/serving" in compose.read_text()


def test_measured_batching_stays(folder: Deployment, runs: list[Path]) -> None:
    measured = "# Measured by `convoy tune`\nmax_batch_size { value: 7 }\n"
    folder.batching_config.write_text(measured)
    deploy.deploy(read_export(runs[0]), folder, folder.settings(), encoded_picture(1))
    assert folder.batching_config.read_text() == measured


def test_a_second_deploy_changes_nothing_and_a_new_model_waits(folder: Deployment, runs: list[Path]) -> None:
    again = deploy.deploy(read_export(runs[0]), folder, folder.settings(), encoded_picture(1))
    assert not again.changed
    new = deploy.deploy(read_export(runs[1]), folder, folder.settings(), encoded_picture(1))
    assert (new.version, dict(new.after.labels)) == (2, {"stable": 1})


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"name": "a/b"}, r"name='a/b'.*letters, digits"),
        ({"folder": "relative"}, "absolute path"),
        ({"replicas": 5, "max_replicas": 2}, "At most 2 servers are fewer than the least, 5"),
    ],
)
def test_wrong_settings_are_named(told: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(**told)


def test_one_folder_serves_one_model(folder: Deployment, runs: list[Path]) -> None:
    export = read_export(runs[0])
    other = deploy.settings_for(export, folder, MODEL, {"name": "other"})
    with pytest.raises(ConfigError, match="serves the model 'flowers', not 'other'"):
        deploy.deploy(export, folder, other, encoded_picture(1))
