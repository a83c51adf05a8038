"""What `convoy profile` says: the speed of every stage, which of them is the limit, and what to change.

Speeds are pictures a second. The stages of the input work at the same time, each with all threads; so the whole input
is slower than its slowest stage where they share processors, and it is measured by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType

Kind = Literal["read", "decode", "augment", "mix", "encode", "compute"]

HARDLY = 0.9
"""A training on real data at this share of its speed on synthetic data, or more, does not wait for its input."""
RESAMPLINGS = "one resampling"
"""How the plan's lines about geometric operations begin."""


@dataclass(frozen=True)
class Stage:
    """One part of a training step.

    Args:
        kind: what it does.
        name: `read`, `decode`, `encode`, `compute`, or the augmentations that are done in one go.
        what: how it does it, in a few words.
        speed: pictures a second where it works alone, with all threads.
    """

    kind: Kind
    name: str
    what: str
    speed: float


@dataclass(frozen=True)
class Facts:
    """What the advice depends on besides speeds.

    Args:
        cache: what is kept in memory: `decoded`, `encoded` or `none`.
        decoded_gib, encoded_gib: memory that all training pictures would need; None where they cannot be kept so.
        threads, processors: pictures or batches worked on at the same time, and what there is.
        scaled_decoding: whether JPEG files are decoded at a fraction of their size already, by the setting or a crop.
        shrinks: how much larger than the model's the pictures are, by their longer sides.
        engine: what augmentations are computed with.
        device: `CPU` or `GPU`.
        batch_size: pictures of one step.
    """

    cache: str
    decoded_gib: float | None
    encoded_gib: float | None
    threads: int
    processors: int
    scaled_decoding: bool
    shrinks: float
    engine: str
    device: str
    batch_size: int


@dataclass(frozen=True)
class Profile:
    """All that was measured.

    Args:
        stages: in the order in which a picture meets them, the compute last.
        input_speed: of the whole input alone.
        synthetic_speed: of training on one batch again and again.
        real_speed: of training on the real input.
    """

    stages: tuple[Stage, ...]
    input_speed: float
    synthetic_speed: float
    real_speed: float
    facts: Facts

    @property
    def limit(self) -> Stage:
        """The slowest stage of the slower side: of the input, or the compute."""
        inputs = [stage for stage in self.stages if stage.kind != "compute"]
        compute = [stage for stage in self.stages if stage.kind == "compute"]
        side = inputs if self.input_speed < min(stage.speed for stage in compute) else compute
        return min(side, key=lambda stage: stage.speed)

    @property
    def dearest_input(self) -> Stage:
        """The slowest stage of the input."""
        return min((stage for stage in self.stages if stage.kind != "compute"), key=lambda stage: stage.speed)

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "stages": [asdict(stage) for stage in self.stages],
            "input": self.input_speed,
            "training": {"synthetic": self.synthetic_speed, "real": self.real_speed},
            "limit": self.limit.name,
            "advice": advice(self),
            "facts": asdict(self.facts),
        }


def advice(profile: Profile) -> list[str]:
    """What to change, the most useful first; one sentence or two each."""
    limit, facts = profile.limit, profile.facts
    reached = profile.real_speed / profile.synthetic_speed
    if limit.kind != "compute":
        return _for_input(limit, profile)
    if reached >= HARDLY:
        return [f"The model's compute is the limit: there is nothing to gain in the input. {_faster_compute(facts)}"]
    return [
        f"The model's compute is the limit, but the input works on the same processors: with a cheaper input, training "
        f"could be up to {1 / reached - 1:.0%} faster. Its slowest stage is {profile.dearest_input.name}.",
        *_for_input(profile.dearest_input, profile),
        _faster_compute(facts),
    ]


def _faster_compute(facts: Facts) -> str:
    if facts.device == "GPU":
        return "A larger train.batch_size, train.devices.precision=auto or a smaller backbone make it faster."
    return "A GPU, a smaller task.picture or a smaller backbone make it faster."


def _for_input(stage: Stage, profile: Profile) -> list[str]:
    """What makes a stage of the input faster."""
    advised = {
        "read": _for_reading,
        "decode": _for_decoding,
        "augment": _for_augmentation,
        "mix": _for_augmentation,
        "encode": _for_encoding,
        "compute": _for_encoding,
    }[stage.kind](stage, profile)
    facts = profile.facts
    if facts.threads < facts.processors:
        advised.append(
            f"Only {facts.threads} of {facts.processors} processors work on the input: leave input.threads out."
        )
    return advised


def _for_reading(stage: Stage, profile: Profile) -> list[str]:
    facts = profile.facts
    if facts.cache == "none" and facts.encoded_gib is None:
        return ["Reading the files is the limit. Faster storage, or more workers of the service, make it faster."]
    if facts.cache == "none":
        return [
            "Reading the files is the limit. Keep them in memory: input.cache=encoded needs "
            f"{facts.encoded_gib:.2g} GiB."
        ]
    return ["Reading is the limit, though it reads from memory: larger batches (train.batch_size) cost less each."]


def _for_decoding(stage: Stage, profile: Profile) -> list[str]:
    facts, advised = profile.facts, []
    if facts.decoded_gib is not None:
        advised.append(
            "Decoding is the limit. Keep decoded pictures in memory: input.cache=decoded needs "
            f"{facts.decoded_gib:.2g} GiB."
        )
    if facts.shrinks >= 2 and not facts.scaled_decoding:
        advised.append(
            f"The pictures are {facts.shrinks:.1f} times as large as the model's: input.scaled_decoding=true decodes "
            "JPEG files at a fraction of their size, and smaller files would do it for good."
        )
    return advised or ["Decoding is the limit. More processors, or smaller files, make it faster."]


def _for_augmentation(stage: Stage, profile: Profile) -> list[str]:
    advised = [
        f"The augmentation {stage.name} ({stage.what}) is the limit. A lower probability, or leaving it out, makes it "
        "faster."
    ]
    if profile.facts.engine != "OpenCV":
        advised.append(f"It is computed by {profile.facts.engine}; OpenCV is faster on the processor.")
    resamplings = [one.name for one in profile.stages if one.what.startswith(RESAMPLINGS)]
    if len(resamplings) > 1:
        advised.append(
            f"Pictures are resampled {len(resamplings)} times ({'; '.join(resamplings)}): geometric operations that "
            "follow each other in `augment` and have the same fill are done in one go."
        )
    return advised


def _for_encoding(stage: Stage, profile: Profile) -> list[str]:
    return ["Encoding the labels is the limit, which is unusual: please report it."]


def as_view(profile: Profile) -> RenderableType:
    """The profile for the terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("stage", "how", "pictures/s", box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.columns[2].justify = "right"
    for stage in profile.stages:
        style = "bold yellow" if stage is profile.limit else ""
        table.add_row(Text(stage.name, style=style), Text(stage.what), Text(f"{stage.speed:,.0f}", style=style))
    table.add_section()
    for name, what, speed in _totals(profile):
        table.add_row(Text(name), Text(what), Text(f"{speed:,.0f}"))
    said = [Text(f"\nLimit: {profile.limit.name}", style="bold"), *(Text(f"- {one}") for one in advice(profile))]
    return Group(table, *said)


def _totals(profile: Profile) -> list[tuple[str, str, float]]:
    reached = profile.real_speed / profile.synthetic_speed
    return [
        ("input", "all of its stages together", profile.input_speed),
        ("training, synthetic data", "one batch again and again", profile.synthetic_speed),
        ("training, real data", f"{reached:.0%} of synthetic", profile.real_speed),
    ]


def from_document(document: Mapping[str, Any]) -> Profile:
    """The Profile that `as_document` gave."""
    return Profile(
        stages=tuple(Stage(**stage) for stage in document["stages"]),
        input_speed=document["input"],
        synthetic_speed=document["training"]["synthetic"],
        real_speed=document["training"]["real"],
        facts=Facts(**document["facts"]),
    )
