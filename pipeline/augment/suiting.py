"""Operations as they are right for the data: what would tear labels from pictures is left out of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pipeline.augment.base import Augmentation
from pipeline.augment.mixing import check_fields
from pipeline.errors import ConfigError


def suited(operations: Sequence[Augmentation], fields: Collection[str]) -> tuple[Augmentation, ...]:
    """The operations, each as it is right for examples that hold these fields.

    Raises:
        ConfigError: nothing of one is.
    """
    return tuple(_suited(place, operation, fields) for place, operation in enumerate(operations))


def check_data(operations: Sequence[Augmentation], fields: Collection[str]) -> None:
    """Raises ConfigError where examples that hold these fields lack what an operation needs, or nothing of one suits
    them."""
    check_fields(operations, fields)
    suited(operations, fields)


def _suited(place: int, operation: Augmentation, fields: Collection[str]) -> Augmentation:
    try:
        return operation.suited(fields)
    except ConfigError as error:
        raise ConfigError(f"`augment.{place}`: {error}", ("augment", place)) from error


def changes(operations: Sequence[Augmentation], fields: Collection[str]) -> list[str]:
    """A sentence for each operation that is not carried out as it is set, with the settings that count instead."""
    pairs = zip(operations, suited(operations, fields), strict=True)
    return [_change(place, one, other) for place, (one, other) in enumerate(pairs) if one != other]


def _change(place: int, before: Augmentation, after: Augmentation) -> str:
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    other = ", ".join(f"{name}: {_listed(value)}" for name, value in new.items() if value != old[name])
    return f"augment.{place} ({new['kind']}) leaves out what would tear marks from the pictures; {other}"


def _listed(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)
