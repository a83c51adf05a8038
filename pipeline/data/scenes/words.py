"""A scene in words: its digits in reading order, a caption, a question with its answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from pipeline.data.scenes.digits import INKS
from pipeline.data.scenes.handwriting import CLASS_NAMES
from pipeline.data.scenes.render import Layout, Seen

Generator = np.random.Generator
Asked = tuple[str, str]
"""A question and its answer."""

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
SAME_LINE = 0.5
"""Digits belong to a line whose middles are less than this share of a digit's height apart."""
HOW_MANY = "how many digits are there?"
NONE_THERE = (HOW_MANY, "0")
ANSWERS = (*CLASS_NAMES, "yes", "no", *INKS)
"""All that a question may be answered with."""


def reading_order(digits: Sequence[Seen]) -> list[list[Seen]]:
    """Lines from the top, in each the digits from the left.

    The topmost digit that is left begins a line; those join it whose middle is within half of its height of its own.
    """
    left = sorted(digits, key=_middle)
    lines = []
    while left:
        first = left[0]
        near = SAME_LINE * (first.box[3] - first.box[1])
        line = [one for one in left if _middle(one) - _middle(first) < near]
        lines.append(sorted(line, key=lambda one: one.box[0]))
        left = [one for one in left if _middle(one) - _middle(first) >= near]
    return lines


def read(digits: Sequence[Seen]) -> str:
    """The digits in reading order, lines apart by a space: `37 8`."""
    return " ".join("".join(one.label for one in line) for line in reading_order(digits))


def caption(digits: Sequence[Seen], layout: Layout) -> str:
    """Such as `two digits: a red 3 at the top left, a blue 7 at the bottom right`."""
    named = [f"{_article(one)} at the {_where(one, layout)}" for line in reading_order(digits) for one in line]
    return f"{_number(len(named))} digit{'' if len(named) == 1 else 's'}: {', '.join(named)}"


def question(generator: Generator, digits: Sequence[Seen]) -> Asked:
    """One of the questions that the scene has a clear answer to."""
    if not digits:
        return NONE_THERE
    asked = [ask(generator, digits) for ask in QUESTIONS]
    clear = [one for one in asked if one is not None]
    return clear[generator.integers(len(clear))]


def _how_many(generator: Generator, digits: Sequence[Seen]) -> Asked | None:
    """Up to nine: the answers are digits."""
    return (HOW_MANY, str(len(digits))) if len(digits) < 10 else None


def _how_many_of(generator: Generator, digits: Sequence[Seen]) -> Asked | None:
    label = digits[int(generator.integers(len(digits)))].label
    count = sum(one.label == label for one in digits)
    return (f"how many times is {label} there?", str(count)) if count < 10 else None


def _is_there(generator: Generator, digits: Sequence[Seen]) -> Asked | None:
    """`yes` half of the time."""
    there = sorted({one.label for one in digits})
    absent = [name for name in CLASS_NAMES if name not in there]
    names, answer = (there, "yes") if generator.random() < 0.5 or not absent else (absent, "no")
    return f"is {names[generator.integers(len(names))]} there?", answer


def _which_ink(generator: Generator, digits: Sequence[Seen]) -> Asked | None:
    """Of a digit that is there once."""
    counts = Counter(one.label for one in digits)
    alone = [one for one in digits if counts[one.label] == 1]
    if not alone:
        return None
    one = alone[generator.integers(len(alone))]
    return f"what colour is {one.label}?", one.digit.ink


def _leftmost(generator: Generator, digits: Sequence[Seen]) -> Asked | None:
    return "which digit is furthest left?", min(digits, key=lambda one: one.box[0]).label


def _largest(generator: Generator, digits: Sequence[Seen]) -> Asked | None:
    return "which digit is tallest?", max(digits, key=lambda one: one.box[3] - one.box[1]).label


QUESTIONS: tuple[Callable[[Generator, Sequence[Seen]], Asked | None], ...] = (
    _how_many,
    _how_many_of,
    _is_there,
    _which_ink,
    _leftmost,
    _largest,
)


def _middle(one: Seen) -> float:
    return (one.box[1] + one.box[3]) / 2


def _number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def _article(one: Seen) -> str:
    return f"{'an' if one.digit.ink[0] in 'aeiou' else 'a'} {one.digit.ink} {one.label}"


def _where(one: Seen, layout: Layout) -> str:
    """The third of the picture that its middle is in, across and down: `top left`, `centre`."""
    column = COLUMNS[min(int(3 * (one.box[0] + one.box[2]) / 2 / layout.width), 2)]
    row = ROWS[min(int(3 * _middle(one) / layout.height), 2)]
    return " ".join(word for word in (row, column) if word not in ("middle", "centre")) or "centre"
