"""The command line of `tensorflow_model_server`, the same in every container."""

from __future__ import annotations

from serving.deployment import DeploymentSettings

GRPC_PORT, REST_PORT = 8500, 8501


def server_flags(settings: DeploymentSettings, grpc_port: int = GRPC_PORT, rest_port: int = REST_PORT) -> list[str]:
    """Flags of TF Serving; everything else it reads from the production folder.

    Labels in the first configuration are refused unless labels of unavailable models are allowed: a server looks at the
    labels before it loads anything.
    """
    folder = settings.folder
    return [
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_config_file={folder}/models.config",
        f"--model_config_file_poll_wait_seconds={settings.poll_seconds}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file={folder}/batching.config",
        f"--monitoring_config_file={folder}/monitoring.config",
    ]


def readiness_path(settings: DeploymentSettings) -> str:
    """Answers 200 only while the version that `stable` names is AVAILABLE, as the model's status alone does not."""
    return f"/v1/models/{settings.name}/labels/stable/metadata"
