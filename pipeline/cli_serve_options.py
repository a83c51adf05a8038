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
RestCors = Annotated[bool, typer.Option("--rest-cors", help="Let pages of other origins ask over REST.")]
SslConfig = Annotated[Path | None, _file("--ssl-config", "TLS for gRPC: a text SSLConfig.")]
TlsKey = Annotated[Path | None, _file("--tls-key", "TLS for gRPC: the key, PEM.")]
TlsCertificate = Annotated[Path | None, _file("--tls-certificate", "TLS for gRPC: the certificate, PEM.")]
TlsClientCa = Annotated[Path | None, _file("--tls-client-ca", "mTLS: only clients that this authority signed.")]
DrainSeconds = Annotated[float, typer.Option("--drain-seconds", min=0, help="For accepted requests, when stopped.")]
