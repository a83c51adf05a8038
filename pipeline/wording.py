"""How messages put numbers into words."""

from __future__ import annotations


def quantity(number: int, one: str, many: str | None = None) -> str:
    """A number with what it counts: `1 picture`, `2,500 pictures`.

    Args:
        one: what stands behind the number 1, such as `picture` or `class has no picture`.
        many: what stands behind any other; by default `one` with an `s`.
    """
    return f"{number:,} {noun(number, one, many)}"


def noun(number: int, one: str, many: str | None = None) -> str:
    """The same without the number."""
    return one if number == 1 else many or f"{one}s"
