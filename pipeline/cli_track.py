"""The verb that tracks objects through a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pipeline import console
from pipeline.command import verb
from pipeline.console import terminal
from pipeline.opening import location
from pipeline.wording import quantity

if TYPE_CHECKING:
    from models.settings import Settings
    from pipeline.tracking.frames import Problem

Chosen = TypeVar("Chosen", bound="Settings")
SHOWN = 5
"""Problems of a video in the terminal; --json has all."""


Model = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_OR_EXPORT", parser=location, help="A detector: a Run, a SavedModel folder, a .tflite file."
    ),
]
Video = Annotated[
    Path,
    typer.Argument(metavar="VIDEO", parser=location, help="A video file, a GIF, a folder of frames, or prepared data."),
]
TrackerSettings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings of the tracker, such as motion=particles keep_lost=60."),
]
WrittenTo = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", parser=location, help="Default: tracks/NAME."),
]
DrawnTo = Annotated[
    Path | None,
    typer.Option(
        "--draw",
        metavar="PLACE",
        parser=location,
        help="Also write the frames with their tracks drawn on: to a folder, a .gif, a .mp4.",
    ),
]
TrueTracks = Annotated[
    Path | None,
    typer.Option(
        "--truth",
        metavar="PLACE",
        parser=location,
        help="Score against true tracks: MOTChallenge's gt.txt, or prepared data.",
    ),
]
SequenceName = Annotated[
    str | None, typer.Option("--sequence", metavar="NAME", help="Of prepared data, such as test/0003.")
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", metavar="FRAMES", min=0.1, max=1000, help="A second, of what is drawn. Default: its own."),
]


@verb
def track(
    model: Model,
    video: Video,
    settings: TrackerSettings = None,
    output: WrittenTo = None,
    draw: DrawnTo = None,
    truth: TrueTracks = None,
    sequence: SequenceName = None,
    rate: Rate = None,
) -> None:
    """Track objects through a video: which box is which object of the frames before; score it where that is known."""
    from pipeline.tracking.detector import open_detector
    from pipeline.tracking.run import Asked
    from pipeline.tracking.run import track as tracked
    from pipeline.tracking.settings import TrackSettings

    chosen = chosen_settings(settings or [], TrackSettings, "track")
    asked = Asked(video, sequence, truth, draw, rate)
    with console.progress("track", "frame") as progress:
        outcome = tracked(open_detector(model), asked, chosen, output or folder_of(video), progress)
    warn_of(outcome.problems)
    terminal.answer({"model": str(model), **outcome.document}, _as_text(outcome.document))
    outcome.require_whole()


def chosen_settings(overrides: Sequence[str], kind: type[Chosen], verb: str) -> Chosen:
    """Settings of a kind from `KEY=VALUE`, given to a verb; ConfigError where one is wrong."""
    from pydantic import ValidationError

    from pipeline import yaml_file
    from pipeline.config import explain
    from pipeline.errors import ConfigError
    from pipeline.setting_types import default_list, expand

    document = yaml_file.Document({}, verb)
    for text in overrides:
        yaml_file.override(document, text, lambda place, data: default_list(place, data, kind))
    try:
        return kind.model_validate(expand(document.data, kind))
    except ValidationError as error:
        raise ConfigError(explain(error, document, kind)) from error


def folder_of(video: Path) -> Path:
    """Where the tracks of a video are written by default."""
    return Path("tracks") / (video.stem or "video")


def warn_of(problems: Sequence[Problem]) -> None:
    """Tells the first problems of a video."""
    for problem in problems[:SHOWN]:
        console.warn(str(problem))
    if len(problems) > SHOWN:
        console.warn(f"and {quantity(len(problems) - SHOWN, 'more problem')} (all of them with --json)")


def _as_text(document: dict[str, Any]) -> str:
    frames, tracks, found = document["frames"], document["tracks"], document["scores"]
    kinds = ", ".join(f"{count} {name}" for name, count in tracks["classes"].items()) or "none"
    lines = [
        f"{document['video']}: {quantity(frames['count'], 'frame')} of {frames['width']} x {frames['height']} pixels",
        f"{quantity(tracks['count'], 'track')}, each seen in {tracks['mean_frames']:.1f} frames on average: {kinds}",
    ]
    if found:
        lines.append(", ".join(f"{name} {shown(value)}" for name, value in found.items()))
    return "\n".join([*lines, *(f"{name}: {file}" for name, file in document["files"].items())])


def shown(value: Any) -> str:
    """A score for people."""
    return "not defined" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
