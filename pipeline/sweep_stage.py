"""The stage behind `convoy compress CONFIG --sweep`: a grid of variants of the trained model, and the best of them."""

from __future__ import annotations

import hashlib
from typing import Any

from pipeline import stages
from pipeline.compress.judging import first_batches
from pipeline.config import Config
from pipeline.data.input import evaluation_split
from pipeline.data.store import Store
from pipeline.environment import installed
from pipeline.latency import host
from pipeline.run import Run
from pipeline.sweep import choice, grid, keep
from pipeline.sweep.rows import Row
from pipeline.trained import load_task

MAKERS = ("convoy", "tensorflow", "tensorflow-model-optimization", "ai-edge-litert")
"""Packages that make the files, or run them."""


def sweep(config: Config, run: Run) -> None:
    """The trained model x a grid of variants, each judged on the evaluation pictures -> `sweep/`, and the best of them.

    Raises:
        VerificationError: no variant keeps the limits.
        ExportError: no variant can be made.
    """
    rows, trained = sweep_rows(config, run)
    metric, limits = load_task(run).metric, config.compress.sweep.limits
    bounds = choice.Bounds(limits, limits.allowed(metric, trained), metric.name)
    found = choice.choose(rows, bounds)
    measured = measured_how(config, stages.open_store(run))
    keep.keep(run, rows, found, bounds, {**measured, "metric": metric.name, "trained": trained})
    keep.require_picks(rows, found)


def sweep_rows(config: Config, run: Run) -> tuple[list[Row], float]:
    """Makes and judges the grid; also gives the trained model's metric."""
    stages.begin(config, run, "compress")
    store, task, settings = stages.open_store(run), load_task(run), config.compress.sweep
    job, measured = stages.compression_job(config, run), measured_how(config, store)
    timing = grid.Timing(settings.threads, settings.latency_runs)
    examiner = grid.Examiner(
        task, job.model, lambda: first_batches(store, task, measured["split"], measured["pictures"]), timing
    )
    shared = {**measured, **made_from(config, run)}
    return grid.sweep(settings.variants, job, examiner, run.sweep / "variants", shared), examiner.trained


def measured_how(config: Config, store: Store) -> dict[str, Any]:
    """What a sweep's measurements depend on besides the files."""
    settings, split = config.compress.sweep, evaluation_split(store.info)
    held = store.info.num_examples[split]
    return {
        "split": split,
        "pictures": min(settings.pictures or held, held),
        "host": {"description": host(), "threads": settings.threads, "runs": settings.latency_runs},
    }


def made_from(config: Config, run: Run) -> dict[str, Any]:
    """What a sweep's files depend on besides the variants' own settings."""
    return {
        "model": hashlib.sha256(run.require(run.model, "train").read_bytes()).hexdigest(),
        "task": run.read_json(run.task, "train"),
        "store": run.store.name,
        "calibration": config.compress.calibration.model_dump(mode="json"),
        "judged_pictures": config.compress.judged_pictures,
        "versions": {name: installed(name) for name in MAKERS},
    }
