"""What `verify` finds: the form of `verification.json`, documented in `docs/verification.md`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import VerificationError
from pipeline.metrics.base import Arrays
from pipeline.wording import quantity


@dataclass(frozen=True)
class VariantResult:
    """What was found of one exported file.

    Args:
        file: the `.tflite`, or the SavedModel's folder.
        bytes: size, of all its files.
        zipped_bytes: the same after deflate.
        metrics: the evaluator's result.
        drop: how much worse the task's metric is than the trained model's, in its own unit; negative where better.
        agreement: share of the pictures with the trained model's answer.
        max_difference, mean_difference: of all numbers in the predictions, absolutely.
        latency_ms: median for one picture.
        float_ops: operators that compute in float inside the network; None for a SavedModel.
        decode_ops: float operators of the task's decoding that stand behind a quantized network on purpose.
        dtypes: number type -> count of tensors (`.tflite`) or of weights (SavedModel).
        operators: name -> count; empty for a SavedModel.
        slow_operators: those with weights that have no fast kernel on this host: name -> count.
        weight_bytes: number type -> bytes of the stored weights, as packed; empty for a SavedModel.
        sparsity: share of the kernels' values that are zero; None for a SavedModel.
        distinct_values: most different values in a channel of the largest kernel; None for a SavedModel.
        blessed: whether it keeps its limits.
        why: the reasons, for either.
    """

    file: Path
    bytes: int
    zipped_bytes: int
    metrics: dict[str, Any]
    drop: float
    agreement: float
    max_difference: float
    mean_difference: float
    latency_ms: float
    float_ops: int | None
    decode_ops: int
    dtypes: dict[str, int]
    operators: dict[str, int]
    slow_operators: dict[str, int]
    weight_bytes: dict[str, int]
    sparsity: float | None
    distinct_values: int | None
    blessed: bool
    why: str

    def held_to(self, parity: ParityResult | None) -> VariantResult:
        """The result with what was found of its preparation; without parity it is not blessed."""
        if parity is None or parity.passed:
            return self
        reasons = [parity.refusal] if self.blessed else [self.why, parity.refusal]
        return replace(self, blessed=False, why="; ".join(reasons))


@dataclass(frozen=True)
class PartsResult:
    """What was found of one file that is called in parts; the fields as of `VariantResult`, but that `latency_ms` is
    the median of each part by its signature, for one picture of it."""

    file: Path
    bytes: int
    zipped_bytes: int
    metrics: dict[str, Any]
    drop: float
    agreement: float
    max_difference: float
    mean_difference: float
    latency_ms: dict[str, float]
    blessed: bool
    why: str


@dataclass(frozen=True)
class ParityResult:
    """One file's answers to the same encoded pictures, prepared in two ways.

    Args:
        way: how they were prepared the second time; the first time it was as for training.
        pictures: how many.
        agreement: share with the same answer both times.
        max_difference: of all numbers in the predictions.
        pixel_difference: mean difference between the pixels, 0..255; None where a file decodes by itself.
        passed: whether the agreement is large enough.
    """

    way: str
    pictures: int
    agreement: float
    max_difference: float
    pixel_difference: float | None
    passed: bool

    @property
    def refusal(self) -> str:
        """What is wrong where it did not pass."""
        return (
            f"the same answer for {self.agreement:.1%} of {quantity(self.pictures, 'picture')} when prepared by "
            f"{self.way}, {self.max_difference:.3g} apart at most"
        )


@dataclass(frozen=True)
class Verification:
    """Everything that `verify` found.

    Args:
        split, examples: what the files were asked.
        trained: the trained model's metrics.
        variants: name -> result.
        parity: name -> result.
        host: where latency was measured, and with how many threads.
        parts: name -> result, of what is called in parts.
    """

    split: str
    examples: int
    trained: dict[str, Any]
    variants: dict[str, VariantResult]
    parity: dict[str, ParityResult]
    host: dict[str, Any]
    parts: dict[str, PartsResult] = field(default_factory=dict)

    @property
    def judged(self) -> dict[str, VariantResult | PartsResult]:
        """All files."""
        return {**self.variants, **self.parts}

    @property
    def refusals(self) -> list[str]:
        """Why files are not blessed, one sentence each; empty where all are."""
        return [f"{name}: {result.why}" for name, result in self.judged.items() if not result.blessed]

    def require_blessed(self) -> None:
        """Raises VerificationError naming every file that is not blessed."""
        if self.refusals:
            raise VerificationError(
                "These exports differ too much from the trained model:\n  "
                + "\n  ".join(self.refusals)
                + "\nTrain or quantize them differently (such as int8_qat for int8), or change the limits in `verify`."
            )

    def as_json(self, folder: Path) -> dict[str, Any]:
        """Plain values for `verification.json`: files relative to `folder`, null for numbers that are not finite."""
        plain = asdict(self)
        for variant in (*plain["variants"].values(), *plain["parts"].values()):
            variant["file"] = variant["file"].relative_to(folder).as_posix()
        finite: dict[str, Any] = _finite(plain)
        return finite


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass
class Differences:
    """Collects how far two models' predictions lie apart."""

    largest_of: dict[str, float] = field(default_factory=dict)
    scale_of: dict[str, float] = field(default_factory=dict)
    total: float = 0.0
    count: int = 0

    def update(self, expected: Arrays, found: Arrays) -> None:
        """Adds a batch of both models' predictions by name."""
        for name, values in expected.items():
            apart = np.abs(values.astype(np.float64) - found[name])
            # np.maximum, unlike max, keeps a NaN.
            self.largest_of[name] = float(np.maximum(self.largest_of.get(name, 0.0), apart.max(initial=0.0)))
            self.scale_of[name] = float(np.maximum(self.scale_of.get(name, 1.0), np.abs(values).max(initial=0.0)))
            self.total += float(apart.sum())
            self.count += apart.size

    @property
    def largest(self) -> float:
        """The largest difference of any number seen."""
        return float(np.max(list(self.largest_of.values()), initial=0.0))

    @property
    def share(self) -> float:
        """The largest difference as a share of the largest number of the same name, or of 1 where all are smaller."""
        shares = [self.largest_of[name] / self.scale_of[name] for name in self.largest_of]
        return float(np.max(shares, initial=0.0))

    @property
    def mean(self) -> float:
        """Mean difference of all numbers seen."""
        return self.total / max(self.count, 1)
