"""Which versions lie in a model's folder, and which of them the model's policy wants."""

from __future__ import annotations

import re

from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from models.stack import tf
from pipeline import console

NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
LIMIT = 2**63
TFLITE = ".tflite"


class BasePathMissing(Exception):
    """The folder of a model is not there; what is loaded stays."""


def wanted(model: ModelConfig) -> dict[int, str]:
    """Version -> folder, for those that the model's policy asks for.

    Raises:
        BasePathMissing: the base path does not exist.
    """
    base = model.base_path.rstrip("/") or "/"
    if not tf.io.gfile.exists(base):
        raise BasePathMissing(
            f"Could not find base path {model.base_path} for servable {model.name} with error NOT_FOUND: "
            f"{model.base_path} not found. Its loaded versions go on; the next look is made at the next poll."
        )
    if base.endswith(TFLITE) and not tf.io.gfile.isdir(base):
        return {1: base}
    chosen = _chosen(model, versions_in(base))
    if not chosen:
        console.warn(
            f"No versions of servable {model.name} found under base path {model.base_path}. Did you forget to name "
            "your leaf directory as a number (eg. '/1/')?"
        )
    return chosen


def versions_in(base: str) -> dict[int, str]:
    """Version -> folder, for every name in `base` that is a 64-bit number (`00000123` is 123)."""
    found: dict[int, str] = {}
    for name in sorted(entry.rstrip("/") for entry in tf.io.gfile.listdir(base)):
        number = _number(name)
        if number is None:
            continue
        if number in found:
            console.warn(
                f"Duplicate version directories detected. Version {number} will be loaded from {name}, "
                f"{found[number]} will be ignored."
            )
        found[number] = f"{base}/{name}"
    return found


def _number(name: str) -> int | None:
    number = int(name) if NUMBER.fullmatch(name) else None
    return number if number is not None and -LIMIT <= number < LIMIT else None


def _chosen(model: ModelConfig, found: dict[int, str]) -> dict[int, str]:
    policy = model.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return found
    if choice == "specific":
        for missing in sorted(set(policy.specific.versions) - set(found)):
            console.warn(
                f"Version {missing} of servable {model.name}, which was requested to be served as a 'specific' version "
                "in the servable's version policy, was not found in the file system"
            )
        return {number: found[number] for number in policy.specific.versions if number in found}
    latest = sorted(found, reverse=True)[: max(policy.latest.num_versions, 1)]
    return {number: found[number] for number in latest}
