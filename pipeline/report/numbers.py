"""Numbers as people read them: with a unit, and no more digits than they carry."""

from __future__ import annotations

SPACE = "\u00a0"
MINUS = "\u2212"
NONE = "–"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

SHARES = frozenset(
    {
        "accuracy",
        "agreement",
        "ap",
        "ap_50",
        "ap_50_lost",
        "average_precision",
        "exact_match",
        "expected_calibration_error",
        "f1",
        "macro_f1",
        "map",
        "map_50",
        "map_75",
        "map_large",
        "map_medium",
        "map_small",
        "mean_average_precision",
        "micro_f1",
        "precision",
        "recall",
        "recall_1",
        "recall_10",
        "recall_100",
        "sparsity",
        "top_5",
        "voc_map_50",
        "weighted_f1",
    }
)
"""Measures of 0..1 that are shown in per cent, and whose differences are percentage points."""

NAMES = {
    "ap": "AP 50:95",
    "ap_50": "AP 50",
    "ap_50_lost": "AP 50 lost",
    "by_brightness": "by brightness",
    "by_visible": "by visible share",
    "expected_calibration_error": "calibration error",
    "f1": "F1",
    "macro_f1": "macro F1",
    "map": "mean AP 50:95",
    "map_50": "mean AP 50",
    "map_75": "mean AP 75",
    "map_large": "mean AP, large objects",
    "map_medium": "mean AP, medium objects",
    "map_small": "mean AP, small objects",
    "micro_f1": "micro F1",
    "num_examples": "pictures",
    "num_objects": "objects",
    "pr_auc": "PR AUC",
    "r2": "R²",
    "recall_1": "recall with 1 answer a class",
    "recall_10": "recall with 10 answers a class",
    "recall_100": "recall with 100 answers a class",
    "rmse": "RMSE",
    "roc_auc": "ROC AUC",
    "support": "pictures",
    "top_5": "top-5 accuracy",
    "val_loss": "loss",
    "voc_map_50": "VOC mean AP 50",
    "weighted_f1": "weighted F1",
}


def name(key: str) -> str:
    """A key such as `mean_absolute_error` as words."""
    return NAMES.get(key, key.replace("_", " "))


def title(key: str) -> str:
    """A key as a heading: words, the first letter large."""
    words = name(key)
    return words[:1].upper() + words[1:]


def number(value: object) -> str:
    """Any number: whole ones with thousands apart, others with 4 significant digits; a dash for none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NONE if value is None else str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return _signed(f"{int(value):,}")
    if abs(value) >= 1000:
        return _signed(f"{value:,.0f}")
    digits, _, power = f"{value:.4g}".partition("e")
    return _signed(digits) + (f"{SPACE}×{SPACE}10{str(int(power)).translate(SUPERSCRIPT)}" if power else "")


def measure(value: object, key: str) -> str:
    """A metric's value in its unit: per cent for shares, else the number."""
    if key in SHARES and isinstance(value, int | float):
        return f"{_signed(f'{100 * value:.2f}')}{SPACE}%"
    return number(value)


def drop(value: float | None, key: str) -> str:
    """A metric's drop: percentage points for shares, else in the metric's own unit; negative where it is better."""
    if value is None:
        return NONE
    if key in SHARES:
        return f"{_signed(f'{100 * value:.2f}')}{SPACE}points"
    return number(float(f"{value:.4g}"))


def size(count: float | None) -> str:
    """Bytes in decimal units, such as 1.25 MB."""
    if count is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.3g}{SPACE}{unit}" if count < 1000 else f"{count:,.0f}{SPACE}{unit}"


def milliseconds(value: float | None) -> str:
    """A latency, such as 3.21 ms."""
    return NONE if value is None else f"{value:.3g}{SPACE}ms"


def duration(seconds: float | None) -> str:
    """A time span, such as 2 min 05 s or 3 h 12 min."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.3g}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest:02}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60:02}{SPACE}min"


def _signed(text: str) -> str:
    return MINUS + text[1:] if text.startswith("-") and text.strip("-0.") else text.lstrip("-")
