"""Arguments and options of `convoy deploy`, `publish`, `canary`, `promote` and `rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.opening import location

RunToServe = Annotated[
    Path,
    typer.Argument(metavar="RUN", parser=location, help="A Run that was exported and verified, or its URL."),
]
To = Annotated[Path, typer.Option("--to", metavar="FOLDER", parser=location, help="The production folder.")]
ProductionFolder = Annotated[
    Path, typer.Argument(metavar="FOLDER", parser=location, help="The production folder that `convoy deploy` made.")
]
VersionNumber = Annotated[int | None, typer.Option("--version", metavar="N", min=1, help="Which version.")]
Force = Annotated[
    bool, typer.Option("--force", help="Also what `verify` has not blessed, or what lost a comparison; noted.")
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Write anew what was changed by hand, too, such as docker-compose.yml.")
]
Servers = Annotated[
    list[str] | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Running servers, each once: grpc://HOST:8500 or http://HOST:8501. Labels then wait until they say that "
        "the version is AVAILABLE.",
    ),
]
Wait = Annotated[
    float, typer.Option("--wait", metavar="SECONDS", min=0.0, help="With --server: how long a version may load.")
]
Keep = Annotated[
    int | None,
    typer.Option("--keep", metavar="N", min=1, help="Remove all but the newest N, and what is served or labelled."),
]
End = Annotated[bool, typer.Option("--end", help="Take the label away again, and unload its version.")]
Pictures = Annotated[
    Path | None,
    typer.Option(
        "--pictures",
        metavar="PLACE",
        parser=location,
        help="With --server: compare both versions on these: a folder, a table, a prepared data set, or a Run.",
    ),
]
Count = Annotated[int, typer.Option("--count", metavar="N", min=1, help="Pictures at the most.")]
MinAgreement = Annotated[float, typer.Option(min=0.0, max=1.0, help="Least share of pictures with the same answer.")]
MaxLatencyRatio = Annotated[float, typer.Option(min=0.0, help="Most that the latency may be of the stable version's.")]
MaxDrop = Annotated[float, typer.Option(min=0.0, help="Most that the metric may be worse, on labelled pictures.")]
MaxFailed = Annotated[float, typer.Option(min=0.0, max=1.0, help="Most additional requests that may fail, a share.")]

Name = Annotated[
    str | None,
    typer.Option("--name", help="Under which the model is served. Default: the Run's export.model_name."),
]
At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="PATH", help="The folder as servers see it. Default: as it is called here, everywhere."
    ),
]
Image = Annotated[
    str | None,
    typer.Option("--image", help="Of the server. Default: tensorflow/serving of the exporter's TensorFlow."),
]
Gpus = Annotated[int | None, typer.Option("--gpus", min=0, help="Of one server.")]
Cpus = Annotated[int | None, typer.Option("--cpus", min=1, help="Of one server. Default 2.")]
MemoryGib = Annotated[int | None, typer.Option("--memory-gib", min=1, help="Of one server. Default 4.")]
Replicas = Annotated[int | None, typer.Option("--replicas", min=1, help="Servers in Kubernetes, least. Default 2.")]
MaxReplicas = Annotated[int | None, typer.Option("--max-replicas", min=1, help="And most. Default 10.")]
LatencyMs = Annotated[
    float | None,
    typer.Option("--latency-ms", min=0.0, help="Below which 99 of 100 requests should stay. Default 200."),
]
PollSeconds = Annotated[
    int | None,
    typer.Option("--poll-seconds", min=1, help="After which servers look at models.config again. Default 10."),
]
