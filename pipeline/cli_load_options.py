"""Arguments and options of `convoy load` and `convoy tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.opening import location

LoadedUrl = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="Of a model server: grpc://HOST:8500, grpcs://, http://HOST:8501 or https://, and, where you like, "
        "/v1/models/NAME, /v1/models/NAME/versions/N or /v1/models/NAME/labels/LABEL behind it.",
    ),
]
LoadedModel = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Where the URL names none.")]
SignatureName = Annotated[str, typer.Option("--signature", metavar="NAME", help="Of the model, that is asked.")]
LoadPictures = Annotated[
    list[Path] | None,
    typer.Option(
        "--pictures",
        metavar="PLACE",
        parser=location,
        help="Pictures, folders of them, a Run, a prepared data set, an export or a production folder. Again for more.",
    ),
]
RequestFile = Annotated[
    Path | None,
    typer.Option(
        "--request",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="In place of pictures: a request in TF Serving's JSON, such as a production folder's "
        "examples/request.json.",
    ),
]
PictureCount = Annotated[int, typer.Option("--count", metavar="N", min=1, help="Different pictures, at the most.")]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="N", min=1, help="Pictures in a request: 1, or as many as --request holds."),
]
ProfileName = Annotated[
    Literal["steady", "ramp", "spike"],
    typer.Option("--profile", help="A rate that stays, goes evenly to --peak, or jumps to --peak for a while."),
]
Rate = Annotated[float, typer.Option("--rate", metavar="N", help="Requests a second, at first.")]
Seconds = Annotated[float, typer.Option("--seconds", metavar="S", help="How long requests are sent.")]
Peak = Annotated[
    float | None, typer.Option("--peak", metavar="N", help="Of ramp and spike: requests a second at the end, or then.")
]
SpikeSeconds = Annotated[
    float | None, typer.Option("--spike-seconds", metavar="S", help="Of spike: how long it stays. Default 5.")
]
ArrivalsName = Annotated[
    Literal["poisson", "constant"],
    typer.Option("--arrivals", help="As of many independent users, or evenly spaced."),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of poisson: the same one, the same times.")]
RequestTimeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="For a request, from when it is due.")
]
MostInFlight = Annotated[
    int, typer.Option("--max-in-flight", metavar="N", min=1, help="Requests under way at once; others wait.")
]
MaxP99 = Annotated[
    float | None,
    typer.Option(
        "--max-p99-ms",
        metavar="MS",
        min=0.001,
        help="Exit code 6 where 99 of 100 requests are not answered within that.",
    ),
]
MaxErrorShare = Annotated[
    float | None,
    typer.Option(
        "--max-error-share", metavar="SHARE", min=0, max=1, help="Exit code 6 where more of the requests fail (0 to 1)."
    ),
]
LoadFolder = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FOLDER", help="For load.json, requests.csv and load.png. Default: load."),
]

Tuned = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_OR_FOLDER", parser=location, help="A Run that was exported, or a folder of `convoy deploy`."
    ),
]
LatencyTarget = Annotated[
    float | None,
    typer.Option(
        "--latency-ms",
        metavar="MS",
        min=0.001,
        help="What 99 of 100 requests have to stay below. Default: the production folder's own.",
    ),
]
Minutes = Annotated[float, typer.Option("--minutes", metavar="N", min=0.1, help="That it may take, about.")]
Over = Annotated[Literal["grpc", "rest"], typer.Option("--over", help="How requests are sent.")]
Cpus = Annotated[
    int | None, typer.Option("--cpus", metavar="N", min=1, help="Of one server. Default: of this machine.")
]
