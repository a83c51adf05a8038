"""The JSON schema of a configuration file, with which editors complete and check the YAML."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(settings: type[BaseModel]) -> dict[str, Any]:
    """The schema; it also accepts the short forms that `setting_types.expand` writes out."""
    schema = _one_of_to_any_of(settings.model_json_schema())
    schema["$defs"] = {name: _or_bare_kind(definition) for name, definition in schema.get("$defs", {}).items()}
    return {"$schema": DIALECT, **schema}


def _one_of_to_any_of(node: Any) -> Any:
    """Without the kind, several of a choice may match; `additionalProperties: false` still refuses what fits none."""
    if isinstance(node, list):
        return [_one_of_to_any_of(item) for item in node]
    if not isinstance(node, dict):
        return node
    names = {"oneOf": "anyOf"}
    return {names.get(key, key): _one_of_to_any_of(value) for key, value in node.items() if key != "discriminator"}


def _or_bare_kind(definition: dict[str, Any]) -> dict[str, Any]:
    kind = definition.get("properties", {}).get("kind", {})
    bare = {name: kind[name] for name in ("const", "enum") if name in kind}
    if not bare or set(definition.get("required", ())) - {"kind"}:
        return definition
    return {"anyOf": [{**bare, "description": definition.get("description", "")}, definition]}
