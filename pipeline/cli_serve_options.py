"""The options of `convoy serve`; their names are TF Serving's where it has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.opening import location

FILE: dict[str, Any] = {"metavar": "FILE", "exists": True, "dir_okay": False}


def _file(flag: str, text: str) -> Any:
    return typer.Option(flag, help=text, **FILE)


Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        parser=location,
        help="A Run, an export folder, a folder of versions, a .tflite file, or a TF Serving models.config.",
    ),
]
ServedName = Annotated[
    str, typer.Option("--model-name", metavar="NAME", help="In requests; a models.config has its own names.")
]
Variant = Annotated[
    str | None,
    typer.Option("--variant", metavar="NAME", help="Of a Run: serve export/tflite/NAME.tflite, not the SavedModel."),
]
Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="To listen on; there is no authentication.")]
GrpcPort = Annotated[int, typer.Option("--grpc-port", min=0, max=65535, help="0: any free one.")]
RestPort = Annotated[int, typer.Option("--rest-port", min=-1, max=65535, help="0: any free one; -1: no REST.")]
Batching = Annotated[Path | None, _file("--batching", "Batch requests: a text BatchingParameters.")]
PerModelBatching = Annotated[
    bool, typer.Option("--per-model-batching", help="Batch those versions that hold a batching_params.pbtxt.")
]
Monitoring = Annotated[Path | None, _file("--monitoring", "A text MonitoringConfig; metrics are on without one.")]
FilePoll = Annotated[
    float, typer.Option("--file-system-poll-wait-seconds", min=0, help="Between looks for new versions; 0: once.")
]
ConfigPoll = Annotated[
    float, typer.Option("--model-config-file-poll-wait-seconds", min=0, help="Between reads of models.config; 0: once.")
]
LoadRetries = Annotated[int, typer.Option("--max-num-load-retries", min=0, help="For a version that fails to load.")]
RetryInterval = Annotated[float, typer.Option("--load-retry-interval-seconds", min=0, help="Between two attempts.")]
AllowLabels = Annotated[
    bool,
    typer.Option("--allow-version-labels-for-unavailable-models", help="Take labels before their version serves."),
]
WarmUp = Annotated[bool, typer.Option("--warm-up/--no-warm-up", help="Replay a version's warm-up requests.")]
TensorContent = Annotated[bool, typer.Option("--tensor-content", help="Answer Predict over gRPC with tensor_content.")]
CheckMethodNames = Annotated[
    bool, typer.Option("--check-method-names", help="Refuse signatures made for another verb.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Of TensorFlow, within and among operations.")]
MaxMessage = Annotated[int, typer.Option("--max-message-bytes", min=1, max=2**31 - 1, help="Longest gRPC message.")]
MaxBody = Annotated[int, typer.Option("--max-body-bytes", min=1, help="Longest REST body.")]
RestTimeout = Annotated[int, typer.Option("--rest-timeout-ms", min=1, help="Then a REST request is answered with 504.")]
RestThreads = Annotated[int, typer.Option("--rest-threads", min=1, help="REST requests that are worked on at once.")]
GrpcThreads = Annotated[int, typer.Option("--grpc-threads", min=1, help="gRPC requests that are worked on at once.")]
HeaderSeconds = Annotated[
    float, typer.Option("--rest-header-seconds", min=0.001, help="A client of REST may take for its headers.")
]
BodySeconds = Annotated[
    float, typer.Option("--rest-body-seconds", min=0.001, help="And for its body, beside a second for each kB.")
]
IdleSeconds = Annotated[int, typer.Option("--rest-idle-seconds", min=1, help="A connection stays without a request.")]
RestCors = Annotated[bool, typer.Option("--rest-cors", help="Let pages of other origins ask over REST.")]
SslConfig = Annotated[Path | None, _file("--ssl-config", "TLS for gRPC: a text SSLConfig.")]
TlsKey = Annotated[Path | None, _file("--tls-key", "TLS for gRPC: the key, PEM.")]
TlsCertificate = Annotated[Path | None, _file("--tls-certificate", "TLS for gRPC: the certificate, PEM.")]
TlsClientCa = Annotated[Path | None, _file("--tls-client-ca", "mTLS: only clients that this authority signed.")]
DrainSeconds = Annotated[float, typer.Option("--drain-seconds", min=0, help="For accepted requests, when stopped.")]
RequestLog = Annotated[
    Path | None,
    typer.Option(
        "--request-log",
        metavar="FOLDER",
        parser=location,
        help="Keep a share of the pictures that are asked, with their answers.",
    ),
]
LogShare = Annotated[float, typer.Option("--log-share", min=0, max=1, help="Of the requests that are logged.")]
LogLimit = Annotated[
    float, typer.Option("--log-limit-gib", min=0.001, help="Of the request log; the oldest shards are removed.")
]
LogShardMib = Annotated[float, typer.Option("--log-shard-mib", min=0.001, help="A shard this large is finished.")]
LogShardMinutes = Annotated[float, typer.Option("--log-shard-minutes", min=0.001, help="And one this old.")]
