"""Whose Run is it? A Run holds the results of one configuration; a stage refuses to mix in another's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.config import dump, load
from pipeline.errors import RunError
from pipeline.files import write_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.config import Config
    from pipeline.learners.base import Source
    from pipeline.run import Run

TRAINED_ON = ("seed", "data", "input", "task", "augment", "learner", "train")
# Settings that may differ: they change where or how fast, not what comes out.
HARMLESS = {
    *("data.store", "input.threads", "input.prefetch"),
    *("train.tensorboard", "train.checkpoint_steps", "train.devices.wait_seconds"),
}


def claim(config: Config, run: Run, stage: str) -> None:
    """Writes the configuration into the Run, unless it holds results that another configuration made.

    Raises:
        RunError: naming the settings that differ; nothing in the Run is changed.
    """
    run.create(run.path)
    if run.config.exists() and holds_results(run):
        differing = differences(load(run.config), config)
        if differing:
            raise RunError(
                f"The Run {run.home} was made with another configuration, so `{stage}` would mix results. "
                f"Different: {'; '.join(differing)}. Give another folder with --run DIR, or remove this one."
            )
    write_file(run.config, dump(config))


def require_same_data(run: Run, store: Path) -> None:
    """Raises RunError where a training was begun in the Run on another store: pictures or labels have changed since."""
    if not (holds_results(run) and run.data.exists()):
        return
    if run.store.name != store.name:
        raise RunError(
            f"The data has changed since the Run {run.path} was trained on it (it was {run.store.name}, now it is "
            f"{store.name}), so `prepare` would mix results. Give another folder with --run DIR, or remove this one."
        )


def require_same_sources(run: Run, sources: Mapping[str, Source]) -> None:
    """Raises RunError where a training that goes on would learn from another teacher than it began with."""
    before = run.read_json(run.learned_from, "train") if run.learned_from.exists() else {}
    changed = [name for name in sources if name in before and before[name]["checksum"] != sources[name].checksum]
    if changed:
        raise RunError(
            f"{', '.join(changed)} has changed since the Run {run.home} began to learn from it, so the training cannot "
            "go on. Put back what was there, or train in another folder with --run DIR."
        )


def holds_results(run: Run) -> bool:
    """Whether a training was begun in the Run."""
    return run.checkpoints.exists() or run.model.exists()


def differences(before: Config, now: Config) -> list[str]:
    """What differs of that which decides the trained model, as `setting: before -> now`."""
    old, new = decisive(before), decisive(now)
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return [f"{name}: {old.get(name)} -> {new.get(name)}" for name in names]


def decisive(config: Config) -> dict[str, Any]:
    """Dotted name -> value of all settings that decide the trained model."""
    settings = flat(config.model_dump(mode="json", include=set(TRAINED_ON)))
    return {name: value for name, value in settings.items() if not harmless(name)}


def harmless(name: str) -> bool:
    """Whether a setting may change between the stages of one Run."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in HARMLESS)


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings -> dotted name -> value."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if items is None:
        return {prefix: tree}
    return {name: value for key, part in items for name, value in flat(part, f"{prefix}.{key}".lstrip(".")).items()}


def training_is_finished(run: Run) -> bool:
    """Whether the Run holds a trained model."""
    return run.training.exists() and run.model.exists()


def require_resumable(run: Run, *, resume: bool) -> None:
    """Raises RunError where starting anew would throw away an unfinished training."""
    if resume or training_is_finished(run) or not (run.checkpoints / "checkpoint").exists():
        return
    raise RunError(
        f"The Run {run.home} holds a training that was stopped. Go on with --resume, "
        f"or remove {run.checkpoints} to start over."
    )
