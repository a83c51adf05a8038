"""What an answer of any task says, read from its plain values: classes, how sure they are, numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SAME_NUMBER = 0.05
"""How far two numbers may lie apart, as a share of the larger, and still be the same answer."""
HOW_SURE = ("score", "best")
"""Entries of an answer that say how sure it is, not what it is."""


@dataclass(frozen=True)
class Said:
    """What one answer says.

    Args:
        labels: the classes that it names.
        scores: how sure it is of each.
        numbers: name -> value, of an answer that is numbers.
        is_list: whether it may name any number of classes.
    """

    labels: tuple[str, ...]
    scores: tuple[float, ...]
    numbers: Mapping[str, float]
    is_list: bool


def said(answer: Mapping[str, Any]) -> Said:
    """Reads an answer, as `Task.answer` gives it."""
    what = {name: value for name, value in answer.items() if name != "best"}
    named = list(_named(what))
    numbers = dict(_numbers(what, ""))
    return Said(
        labels=tuple(str(one["label"]) for one in named),
        scores=tuple(float(one["score"]) for one in named if "score" in one),
        numbers=numbers if not named else {},
        is_list=any(isinstance(value, list) and not _is_numbers(value) for value in what.values()),
    )


def same_answer(one: Any, other: Any) -> bool:
    """Whether two answers in plain values are the same: names exactly, numbers within 5 %, sets in any order, a box
    in its own."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = {*one, *other} - set(HOW_SURE)
        return all(name in one and name in other and same_answer(one[name], other[name]) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        if _is_numbers(one) and _is_numbers(other):
            return len(one) == len(other) and all(map(same_answer, one, other))
        return len(one) == len(other) and all(any(same_answer(a, b) for b in other) for a in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=SAME_NUMBER, abs_tol=1e-9)
    return bool(one == other)


def _is_numbers(values: list[Any]) -> bool:
    """Whether a list holds numbers, as a box does, and at least one."""
    return bool(values) and all(isinstance(value, float) for value in values)


def _named(answer: Any) -> Iterator[Mapping[str, Any]]:
    """The parts of an answer that name a class."""
    if isinstance(answer, Mapping):
        if "label" in answer:
            yield answer
        else:
            for value in answer.values():
                yield from _named(value)
    elif isinstance(answer, list):
        for value in answer:
            yield from _named(value)


def _numbers(answer: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(answer, Mapping):
        for key, value in answer.items():
            yield from _numbers(value, str(key))
    elif isinstance(answer, float):
        yield name, answer
