"""The commented configuration that `convoy init` writes: what a practitioner would begin with for data like this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import yaml_file
from pipeline.data.sources import DataSource, FollowedSequences
from pipeline.data.sources.followed import frames_of
from pipeline.errors import ConfigError
from pipeline.files import write_file
from pipeline.inspect_folder import Found, Survey, source_kind

SMALL = 64
"""Pictures up to this many pixels a side keep their size and need no large network."""
LARGEST = 224
STRIDE = 32
SMALL_SCENE = 160
"""Pictures with objects up to this many pixels a side need no large network; the smallest that a detector is given."""
LARGEST_SCENE = 640


@dataclass(frozen=True)
class Choice:
    """What depends on the size of the pictures.

    Args:
        height, width: the model's picture, in pixels.
        backbone: its kind, and what to know about it.
        augment: YAML lines.
        pictures: how many pictures to train on in all, as a measure of the length.
        fit: a YAML line of `task.picture`.
        network: YAML lines of the task behind the backbone's kind.
        channels: of the model's picture; None for those of the data.
        batch: the largest batch.
        optimizer: YAML lines of `train` behind the batch.
    """

    height: int
    width: int
    backbone: tuple[str, str]
    augment: str
    pictures: int
    fit: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    channels: int | None = None
    batch: int = 64
    optimizer: tuple[str, ...] = (
        "  optimizer: adam         # `convoy describe train.optimizer` lists the others",
        "  schedule:",
        "    warmup_epochs: 1",
    )


def configuration(found: Found, target: Path) -> str:
    """The YAML text."""
    choice = CHOICES.get(found.task, _whole_pictures)(found.survey)
    name = target if str(target) != "-" else Path("FILE.yaml")
    return (
        "\n\n".join([_head(found, name), _data(found), _task(found, choice), choice.augment, _train(found, choice)])
        + "\n"
    )


def write(text: str, target: Path, *, force: bool) -> None:
    """Writes the file; ConfigError where one is there already, unless forced."""
    if target.exists() and not force:
        raise ConfigError(
            f"{target} is there already. Give another name with --output FILE, or replace it with --force."
        )
    write_file(target, text)


def _whole_pictures(survey: Survey) -> Choice:
    """For what is said of a whole picture."""
    height, width = survey.size
    if max(height, width) <= SMALL:
        backbone = (
            "small_resnet",
            "0.27 million weights, for pictures of 8 to 64 pixels; `depth: 32` and more for harder data",
        )
        return Choice(height, width, backbone, SMALL_AUGMENT, 600_000)
    side = min(LARGEST, max(STRIDE * 3, round(min(height, width) / STRIDE) * STRIDE))
    backbone = ("mobilenet_v2", "2.3 million weights, made for phones; resnet50 and densenet121 are larger")
    return Choice(side, side, backbone, LARGE_AUGMENT, 20_000)


def _objects(survey: Survey) -> Choice:
    """For what is found in a picture: nothing is cut off, and the picture keeps its proportions."""
    larger = max(survey.size)
    scale = min(1.0, LARGEST_SCENE / larger)
    height, width = (max(SMALL_SCENE, round(side * scale / STRIDE) * STRIDE) for side in survey.size)
    if larger <= SMALL_SCENE:
        backbone = ("small_resnet", "small and quick; `depth: 18` and more for harder data")
        pictures, network = 60_000, SMALL_DETECTOR
    else:
        backbone = ("mobilenet_v2", "2.3 million weights, made for phones; resnet50 is larger")
        pictures, network = 30_000, DETECTOR
    return Choice(
        height, width, backbone, OBJECTS_AUGMENT, pictures, fit=LETTERBOX, network=network, batch=16, optimizer=STEADY
    )


def _pairs(survey: Survey) -> Choice:
    """For pairs of crops around what is followed."""
    return Choice(
        2 * CROP,
        CROP,
        ("small_resnet", "small and quick; both crops go through it"),
        PAIRS_AUGMENT,
        10_000,
        network=SMALL_TRACKER,
        channels=3,
        batch=16,
        optimizer=STEADY,
    )


CHOICES = {"detection": _objects, "single_object_tracking": _pairs}
"""Task -> what to begin with; whole pictures elsewhere."""
YOLO = "    kind: yolo            # no anchors; retinanet, ssd, faster_rcnn have some, which `convoy anchors` fits"
LETTERBOX = ("    fit: letterbox        # grey bars instead of other proportions",)
SMALL_DETECTOR: tuple[str, ...] = (
    "    stem_stride: 2",
    "    depth: 10",
    "    widths: [16, 32, 64, 128]",
    "  strides: [4, 8, 16]     # pixels between the places that answer, on each level",
    "  neck:",
    "    kind: fpn",
    "    channels: 48",
    "  detector:",
    YOLO,
    "    head_depth: 1",
    "    head_width: 48",
)
DETECTOR: tuple[str, ...] = (
    "  strides: [8, 16, 32]    # pixels between the places that answer, on each level; add 4 for tiny objects",
    "  neck:",
    "    kind: fpn",
    "  detector:",
    YOLO,
)
CROP = 120
"""Side of each crop of a pair, in pixels."""
PAIRS_A_FRAME = 4
MOST_PAIRS = 40_000
SMALL_TRACKER: tuple[str, ...] = ("    stem_stride: 2", "    depth: 8", "    widths: [16, 32, 64]")
STEADY = (
    "  optimizer:              # `convoy describe train.optimizer` lists the others",
    "    kind: adamw",
    "    learning_rate: 0.001",
    "    weight_decay: 0.02",
    "    clip_norm: 10.0",
    "  schedule:",
    "    warmup_epochs: 1",
    "  average_decay: 0.998    # the average of the weights is what ships",
)
OBJECTS_AUGMENT = """# Random changes of the training pictures, their boxes with them.
# Leave out horizontal_flip where left and right matter (text, road signs).
augment:
  - kind: scale_jitter              # larger and smaller, at another place
    scale: [0.75, 1.33]
  - kind: horizontal_flip
    probability: 0.5
  - kind: brightness
    amount: 0.2"""

PAIRS_AUGMENT = """# Random changes of the pairs; places and sizes vary by `shift` and `scale` of the source.
augment:
  - kind: horizontal_flip
    probability: 0.5
  - kind: colour_jitter"""

SMALL_AUGMENT = """# Random changes of the training pictures.
# Add `- kind: horizontal_flip` where a mirrored picture means the same (not for digits or text).
augment:
  - kind: translation
    probability: 0.8"""

LARGE_AUGMENT = """# Random changes of the training pictures.
# Leave out horizontal_flip where left and right matter (text, road signs).
augment:
  - kind: random_resized_crop       # has to come first
  - kind: horizontal_flip
    probability: 0.5"""


def _head(found: Found, target: Path) -> str:
    lines = [
        f"Written by `convoy init {found.path}`.",
        *found.facts(),
        *(f"Look at this: {problem}" for problem in found.problems),
        "",
        f"Run it:                  convoy run {target}",
        f"Try it quickly first:    convoy run {target} train.epochs=1",
        "All settings explained:  convoy describe, convoy describe train, ...",
    ]
    return "\n".join(f"# {line}".rstrip() for line in "\n".join(lines).splitlines())


def _data(found: Found) -> str:
    lines = ["data:", "  source:", *(f"    {line}" for line in _source(found.source))]
    lines += [f"    # instead: {line}    # {meaning}" for line, meaning in found.alternatives]
    if set(found.survey.splits) == {None}:
        lines += ["  splits:                 # the data names no splits: these shares are drawn, class by class"]
        lines += [
            "    validation: 0.1       # chooses the best checkpoint",
            "    test: 0.1             # the final figures",
        ]
    elif "validation" not in found.survey.splits:
        lines += ["  splits:", "    validation: 0.1       # drawn from the training part; chooses the best checkpoint"]
    return "\n".join(lines)


def _source(source: DataSource) -> list[str]:
    """The lines of `data.source`."""
    given = {"kind": source_kind(source), **source.model_dump(mode="json", exclude_unset=True, exclude={"kind"})}
    if isinstance(source, FollowedSequences):
        return _pairs_of(source, given)
    return [f"{key}: {_scalar(value)}" for key, value in given.items()]


def _pairs_of(source: FollowedSequences, given: dict[str, Any]) -> list[str]:
    """The lines of the source that cuts pairs out of videos."""
    sequences = source.sequences()
    frames = sum(len(frames_of(file)) for file in sequences)
    pairs = max(1, min(PAIRS_A_FRAME * frames, MOST_PAIRS) // len(sequences))
    return [
        "kind: template_pairs     # pairs of crops around what is followed",
        "sources:",
        f"  - {_scalar(given)}",
        "  # A tracker is to follow anything, so it should see many objects: videos that are drawn here add some, and",
        "  # bring a validation and a test split whose videos are not those of the training.",
        "  # - {kind: scene_sequences, train: 150, validation: 12, test: 12, frames: 24}",
        f"side: {CROP}",
        f"pairs: {pairs}               # of each object",
    ]


def _task(found: Found, choice: Choice) -> str:
    kind, meaning = choice.backbone
    channels = choice.channels or found.survey.channels
    lines = [
        "task:",
        f"  kind: {found.task}",
        "  picture:                # every picture is brought to this size",
        f"    height: {choice.height}",
        f"    width: {choice.width}",
        f"    channels: {channels}           # {'grey' if channels == 1 else 'colour'}",
        *choice.fit,
        "  backbone:",
        f"    kind: {kind}    # {meaning}",
    ]
    if choice.backbone[0] != "small_resnet" and channels == 3:
        lines.append("    # weights: imagenet   # pretrained, downloaded once: for few pictures; see train.transfer")
    lines += choice.network
    return "\n".join(lines)


def _train(found: Found, choice: Choice) -> str:
    training = found.survey.splits["train"] or found.survey.count
    epochs = max(5, min(60, choice.pictures // max(training, 1)))
    batch = max(4, min(choice.batch, 2 ** ((max(training, 8) // 8).bit_length() - 1)))
    return "\n".join(
        [
            "train:",
            f"  epochs: {epochs}",
            f"  batch_size: {batch}",
            *choice.optimizer,
        ]
    )


def _scalar(value: Any) -> str:
    """A value on one line, quoted where YAML needs it."""
    return yaml_file.dump_inline(value)
