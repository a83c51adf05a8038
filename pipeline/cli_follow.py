"""The verb that follows one object through a video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline import console
from pipeline.cli_track import DrawnTo, Rate, WrittenTo, chosen_settings, folder_of, shown, warn_of
from pipeline.command import verb
from pipeline.console import terminal
from pipeline.errors import ConfigError
from pipeline.opening import location
from pipeline.wording import quantity

NUMBERS = 4

Model = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_OR_PARTS", parser=location, help="A Run of the task single_object_tracking, or its exported parts."
    ),
]
Footage = Annotated[
    Path, typer.Argument(metavar="VIDEO", parser=location, help="A video file, a GIF, or a folder of frames.")
]
FollowerSettings = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings of the follower, such as least_score=0.6 most_rings=3."),
]
Object = Annotated[
    str | None,
    typer.Option(
        "--object", metavar="LEFT,TOP,WIDTH,HEIGHT", help="In the first frame, in pixels. Default: the truth's."
    ),
]
TrueBoxes = Annotated[
    Path | None,
    typer.Option(
        "--truth", metavar="FILE", parser=location, help="Score against true boxes: VOT's or OTB's groundtruth.txt."
    ),
]


@verb
def follow(
    model: Model,
    video: Footage,
    settings: FollowerSettings = None,
    object: Object = None,
    output: WrittenTo = None,
    draw: DrawnTo = None,
    truth: TrueBoxes = None,
    rate: Rate = None,
) -> None:
    """Follow one object through a video, from the box that it is shown in; score it where its way is known."""
    from pipeline.tracking.follow_run import Asked
    from pipeline.tracking.follow_run import follow as followed
    from pipeline.tracking.follower import FollowSettings
    from pipeline.tracking.siamese import open_network

    chosen = chosen_settings(settings or [], FollowSettings, "follow")
    asked = Asked(video, _box(object) if object else None, truth, draw, rate)
    with console.progress("follow", "frame") as progress:
        outcome = followed(open_network(model), asked, chosen, output or folder_of(video), progress)
    warn_of(outcome.problems)
    terminal.answer({"model": str(model), **outcome.document}, _as_text(outcome.document))
    outcome.require_whole()


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        left, top, width, height = (float(number) for number in text.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--object {text}: expected {NUMBERS} numbers, left,top,width,height in pixels of the first frame, such as "
            "--object 120,80,40,60."
        ) from error
    return left, top, width, height


def _as_text(document: dict[str, Any]) -> str:
    frames, lost, found = document["frames"], document["lost"], document["scores"]
    first = f", the first time in frame {lost['first']}" if lost["frames"] else ""
    lines = [
        f"{document['video']}: {quantity(frames['count'], 'frame')} of {frames['width']} x {frames['height']} pixels",
        f"lost in {lost['frames']:,} of them{first}",
    ]
    if found:
        lines.append(", ".join(f"{name} {shown(value)}" for name, value in found.items()))
    return "\n".join([*lines, *(f"{name}: {file}" for name, file in document["files"].items())])
