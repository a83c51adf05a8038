"""Floats as TF Serving writes them: six significant digits where these are exact, else 9 (float32) or 17 (float64).

Whole numbers end in `.0`, so that a client never takes a float for an integer; what is not finite is NaN, Infinity or
-Infinity.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_ALL_DIGITS = {np.dtype(np.float32): "%.9g", np.dtype(np.float64): "%.17g"}
_NEAR = {np.dtype(np.float32): 1e-7, np.dtype(np.float64): 1e-15}
"""How far, relatively, six digits may be off and still round to the same float: generous, since it is checked."""
_FEW = 32
"""Values up to which numpy's start costs more than it saves."""
_SPECIAL = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def decimal(value: np.floating[Any]) -> str:
    """One float."""
    few = f"{value:.6g}"
    if few in _SPECIAL:
        return _SPECIAL[few]
    return _with_point(few if type(value)(few) == value else _ALL_DIGITS[value.dtype] % value)


def decimals(values: np.ndarray[Any, Any]) -> list[str]:
    """Every float of a flat array of float32 or float64."""
    if len(values) <= _FEW:
        return [decimal(value) for value in values]
    wide = values.astype(np.float64)
    digits = _ALL_DIGITS[values.dtype]
    texts = [digits % value for value in wide.tolist()]
    short = np.flatnonzero(_perhaps_short(wide, _NEAR[values.dtype]))
    few = [f"{value:.6g}" for value in wide[short].tolist()]
    exact = np.array(few, values.dtype) == values[short]
    for place, text, holds in zip(short.tolist(), few, exact.tolist(), strict=True):
        if holds:
            texts[place] = text
    return [_with_point(text) for text in texts] if np.isfinite(wide).all() else [_special(text) for text in texts]


def _perhaps_short(wide: np.ndarray[Any, Any], near: float) -> np.ndarray[Any, Any]:
    """Which values six digits may be exact for. Beyond the normal numbers all may: few digits are left there."""
    with np.errstate(all="ignore"):
        scale = 10.0 ** (5 - np.floor(np.log10(np.abs(wide))))
        off = np.abs(np.rint(wide * scale) / scale - wide)
        return ~(off > near * np.abs(wide)) | (np.abs(wide) < 1e-30)


def _with_point(text: str) -> str:
    return text if "." in text or "e" in text else text + ".0"


def _special(text: str) -> str:
    return _SPECIAL.get(text) or _with_point(text)
