"""`summary.json`: the result of a Run for machines. Its form is the classes below, and `docs/summary.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from models.settings import Settings


class MetricSummary(Settings):
    """What the task is judged by."""

    name: str
    """Key in each variant's `metrics`."""
    direction: Literal["max", "min"]
    """Whether larger or smaller is better."""


class TrainSummary(Settings):
    """How the training went."""

    seconds: float
    """Wall time of the last `train`, in seconds, start-up and validation included."""
    images_per_second: float | None
    """Median over the epochs, without start-up and validation."""
    steps: int
    """Optimizer steps over all phases."""
    replicas: int
    """Devices that trained together."""
    best_step: int
    """The step whose weights were kept."""
    precision: str | None = None
    """Arithmetic, such as `mixed_bfloat16`; null in summaries of earlier versions."""


class VariantSummary(Settings):
    """One exported file, held against the trained model over the whole evaluation split."""

    file: str
    """Path in the Run: a `.tflite` file or a SavedModel's version folder."""
    bytes: int
    """Size on disk, of all its files."""
    zipped_bytes: int | None = None
    """The same after deflate, as archives and app packages store it; null in summaries of earlier versions."""
    metrics: dict[str, Any]
    """The evaluator's result on the exported file."""
    drop: float | None
    """How much worse the metric is than the trained model's, in its own unit; negative where it is better."""
    agreement: float
    """Share of the examples with the trained model's answer, 0..1."""
    max_difference: float | None
    """Largest difference of any number in the predictions; null where one of them is not finite."""
    latency_ms: float
    """Median milliseconds for one picture; host and threads are in `verification.json`."""
    float_ops: int | None
    """Operators that compute in float inside a quantized network; null for a SavedModel."""
    sparsity: float | None = None
    """Share of the stored kernels' values that are zero, 0..1; null for a SavedModel."""
    slow_operators: dict[str, int] = Field(default_factory=dict)
    """Operators with weights that have no fast kernel on the host that measured: name -> count."""
    dtypes: dict[str, int]
    """Number type -> count of tensors (`.tflite`) or of weights (SavedModel)."""
    blessed: bool
    """Whether the file keeps its limits."""
    why: str
    """The reasons, for either."""


class PartsSummary(Settings):
    """One exported file that is called in parts; what is not said here is as in VariantSummary."""

    file: str
    """Path in the Run: a `.tflite` file or a SavedModel's folder."""
    bytes: int
    """Size on disk, of all its files."""
    zipped_bytes: int
    """The same after deflate."""
    metrics: dict[str, Any]
    """The evaluator's result, the parts called one after the other."""
    drop: float | None
    """How much worse the metric is than the trained model's."""
    agreement: float
    """Share of the examples with the trained model's answer, 0..1."""
    max_difference: float | None
    """Largest difference of any number in the predictions."""
    latency_ms: dict[str, float]
    """Signature of each part -> median milliseconds for one picture of it."""
    blessed: bool
    """Whether the file keeps its limits."""
    why: str
    """The reasons, for either."""


class Summary(Settings):
    """The result of a Run."""

    task: str
    """Kind of the task."""
    metric: MetricSummary
    """What the task is judged by."""
    data: dict[str, int]
    """Split -> number of examples."""
    train: TrainSummary
    """How the training went."""
    variants: dict[str, VariantSummary] = Field(default_factory=dict)
    """Name -> exported file, such as `float32`, `int8`, `saved_model`."""
    parts: dict[str, PartsSummary] = Field(default_factory=dict)
    """Name -> exported file that is called in parts, such as `parts/int8`; empty for tasks without parts."""


def variant_summaries(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The fields of `verification.json`'s variants that the summary repeats."""
    return _repeated(variants, VariantSummary)


def part_summaries(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The same of its parts."""
    return _repeated(parts, PartsSummary)


def _repeated(files: Mapping[str, Mapping[str, Any]], summary: type[Settings]) -> dict[str, Any]:
    return {name: {field: one[field] for field in summary.model_fields if field in one} for name, one in files.items()}
