"""Everything that is registered can be chosen in a configuration, and comes back from the file it is written to."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from models.attention import ATTENTIONS, Attention
from models.backbones import BACKBONES, Backbone
from models.penalties import CLASS_PENALTIES, AnyClassPenalty
from pipeline.compress import VARIANTS, Variant
from pipeline.config import Config, dump, loads
from pipeline.data.sources import SOURCES, Source
from pipeline.learners import LEARNERS, AnyLearner
from pipeline.setting_types import kinds_of
from pipeline.tasks import TASKS, AnyTask

BASE = "data: {source: digits}\ntask: {kind: classification}\n"
REGISTRIES: dict[str, tuple[dict[str, Any], Any]] = {
    "data.source": (SOURCES, Source),
    "task": (TASKS, AnyTask),
    "task.backbone": (BACKBONES, Backbone),
    "task.backbone.attention": (ATTENTIONS, Attention),
    "task.loss": (CLASS_PENALTIES, AnyClassPenalty),
    "learner": (LEARNERS, AnyLearner),
    "compress.variants.0": (VARIANTS, Variant),
}
"""Where the choice stands in a configuration -> the dict of its kinds, and the union that reads it."""
WITH_PATH = set(SOURCES) - {"tfds", "digits", "scenes", "scene_sequences", "template_pairs"}
NEEDED = {
    ("learner", "distilled"): "{kind: distilled, teacher: runs/teacher}",
    **{("data.source", kind): f"{{kind: {kind}, path: data}}" for kind in WITH_PATH},
    ("data.source", "table"): "{kind: table, path: data, image_column: picture, label_column: class}",
    ("data.source", "tfds"): "{kind: tfds, name: mnist}",
    ("data.source", "template_pairs"): "{kind: template_pairs, sources: [{kind: mot_challenge, path: data}]}",
}
"""What stands in a configuration for a kind that alone does not say enough."""
CHOICES = [(place, kind) for place, (registry, _) in REGISTRIES.items() for kind in registry]


def members(union: Any) -> list[type]:
    """The classes of a union, `Annotated` or not; a union of one is that class."""
    parts = [part for part in get_args(union) if isinstance(part, type) or get_args(part)]
    return [member for part in parts for member in members(part)] or [union]


def chosen(config: Config, place: str) -> Any:
    value: Any = config
    for name in place.split("."):
        value = value[int(name)] if name.isdigit() else getattr(value, name)
    return value


@pytest.mark.parametrize("place", REGISTRIES)
def test_the_dict_and_the_union_list_the_same(place: str) -> None:
    registry, union = REGISTRIES[place]
    assert set(members(union)) == set(registry.values())
    families = dict.fromkeys(registry.values())
    assert {kind: settings for settings in families for kind in kinds_of(settings)} == registry
    assert all(settings.model_fields["kind"].default in kinds_of(settings) for settings in families)


@pytest.mark.parametrize(("place", "kind"), CHOICES)
def test_a_choice_survives_being_written_and_read(place: str, kind: str) -> None:
    config = loads(BASE, ["compress.variants=[float32]", f"{place}={NEEDED.get((place, kind), kind)}"])
    assert type(chosen(config, place)) is REGISTRIES[place][0][kind]
    assert loads(dump(config)) == config


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_takes_every_backbone(task: str, backbone: str) -> None:
    config = loads(BASE, [f"task={task}", f"task.backbone={backbone}"])
    assert (config.task.kind, config.task.backbone.kind) == (task, backbone)
    assert loads(dump(config)) == config
