"""ModelServerConfig: which models are served, which of their versions, under which labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlparse

import grpc
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from pipeline.errors import ConfigError
from serving.errors import ServingError
from serving.protos.server_configs import read_text

PLATFORM = "tensorflow"
DEFAULT_NAME = "default"
LIST = "model_config_list"


def read_config(file: Path) -> ModelServerConfig:
    """A `models.config`; ConfigError where it cannot be read."""
    return read_text(file, ModelServerConfig)


def base_path_of(folder: Path) -> Path:
    """The folder of versions that a user means: an export folder holds it, and one version lies in it.

    A folder that does not exist is taken as it is: the server waits for it, as TF Serving does.

    Raises:
        ConfigError: it is a SavedModel, but not named by a number.
    """
    folder = folder.resolve()
    if (folder / "contract.json").is_file():
        return folder / "saved_model"
    if not (folder / "saved_model.pb").is_file():
        return folder
    if not folder.name.isdigit():
        raise ConfigError(
            f"{folder} is a SavedModel, but its name is no version number. Servers look for BASE_PATH/NUMBER/: put it "
            f"into a folder of its own, such as {folder.parent / 'model' / '1'}, and serve {folder.parent / 'model'}."
        )
    return folder.parent


def one_model(base_path: str, name: str = DEFAULT_NAME) -> ModelServerConfig:
    """The configuration of a server with one model, as TF Serving's `--model_base_path` makes it."""
    config = ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return config


def check(config: ModelServerConfig, earlier: Iterable[ModelConfig]) -> None:
    """Raises ServingError, as TF Serving words it, where `config` is wrong or cannot follow the `earlier` models."""
    if config.WhichOneof("config") != LIST:
        raise _invalid("ModelServer does not yet support custom model config.")
    models = config.model_config_list.config
    names: set[str] = set()
    for model in models:
        if model.name in names:
            raise _invalid(f"Illegal to list model {model.name} multiple times in config list")
        names.add(model.name)
    for model in models:
        if not _is_absolute(model.base_path):
            raise _invalid(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
    _check_platforms(models, {model.name: _platform(model) for model in earlier})


def _check_platforms(models: Iterable[ModelConfig], earlier: dict[str, str]) -> None:
    for model in models:
        platform = _platform(model)
        if earlier.get(model.name, platform) != platform:
            raise _invalid(
                f"Illegal to change a model's platform. For model {model.name} platform was {earlier[model.name]} and "
                f"new platform requested is {platform}"
            )
    for model in models:
        if _platform(model) != PLATFORM:
            raise _invalid(f"Model {model.name} requests unsupported platform {_platform(model)}")


def _platform(model: ModelConfig) -> str:
    """The deprecated `model_type: TENSORFLOW` (1) stands for the platform of that name."""
    if model.model_type and model.model_platform:
        raise _invalid(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
        )
    if model.model_type == 1:
        return PLATFORM
    if model.model_type:
        raise _invalid(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
    if not model.model_platform:
        raise _invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
        )
    return str(model.model_platform)


def _is_absolute(path: str) -> bool:
    return path.startswith("/") or bool(urlparse(path).scheme and "://" in path)


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)
