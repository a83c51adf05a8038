"""The base of everything that can be set."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen settings: unknown keys are refused, every field has a description that `convoy describe` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)


def names_as_text(value: Any) -> Any:
    """A mapping whose keys are names, with those that YAML reads as numbers (`{7: 0.5}`) as text again."""
    if not isinstance(value, dict):
        return value
    return {str(name) if isinstance(name, int | float) else name: item for name, item in value.items()}
