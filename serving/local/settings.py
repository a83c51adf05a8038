"""What can be set of `convoy serve`; names and defaults are TF Serving's where it has the flag."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from models.settings import Settings

PROMETHEUS_PATH = "/monitoring/prometheus/metrics"
Port = Annotated[int, Field(ge=0, le=65535)]


class Patience(Settings):
    """How long a client of REST may take. TF Serving waits for ever."""

    header_seconds: float = Field(20.0, gt=0)
    """From a connection, or the first byte of a further request, to the end of the headers."""
    body_seconds: float = Field(30.0, gt=0)
    """For the body, beside what `min_body_rate` allows."""
    min_body_rate: float = Field(1000.0, gt=0)
    """Bytes of body that prolong `body_seconds` by one: a slow line is let finish, a dripping client is not."""
    max_header_bytes: int = Field(64 * 1024, ge=1024)
    """Of the request line and the headers together."""
    idle_seconds: int = Field(60, ge=1)
    """That a connection stays open without a request."""
    unread_seconds: float = Field(60.0, gt=0)
    """For which an answer may wait for a client that does not read it."""
    linger_seconds: float = Field(0.5, ge=0)
    """For which a stopping server still reads an idle connection: a request may be on its way."""


class ServerOptions(Settings):
    """How the server listens, loads and answers.

    Paths are read by the server's start; an unreadable one is a ConfigError there.
    """

    host: str = "127.0.0.1"
    """Address of both fronts. Anything but loopback is reachable by others, without authentication."""
    grpc_port: Port = 8500
    """0 takes any free port."""
    rest_port: Port | None = 8501
    """0 takes any free port; None starts no REST front."""
    rest_timeout_ms: int = Field(30_000, ge=1)
    """After which a REST request is answered with 504."""
    rest_threads: int = Field(8, ge=1)
    """That run REST requests; TF Serving's default is 4 a core."""
    patience: Patience = Patience()
    """With clients of REST."""
    max_body_bytes: int = Field(256 * 1024**2, ge=1)
    """Longest body of a REST request."""
    max_unpacked_bytes: int = Field(100 * 1024**2, ge=1)
    """Longest body of a compressed REST request once unpacked (TF Serving: 100 MiB)."""
    cors: bool = False
    """Whether REST answers carry Access-Control headers for any origin."""
    grpc_threads: int = Field(64, ge=1)
    """Requests over gRPC that are worked on at once."""
    max_message_bytes: int = Field(2**31 - 1, ge=1)
    """Longest message over gRPC; TF Serving's is 2^31 - 1."""
    prometheus_path: str | None = PROMETHEUS_PATH
    """Where REST shows the metrics; None switches them off."""
    file_poll_seconds: float = Field(1.0, ge=0)
    """Between two looks at the models' folders; 0 looks once."""
    config_poll_seconds: float = Field(0.0, ge=0)
    """Between two looks at the models.config; 0 reads it once."""
    max_load_retries: int = Field(5, ge=0)
    """How often a version that fails to load is tried again."""
    load_retry_seconds: float = Field(60.0, ge=0)
    """Between two attempts to load a version."""
    warm_up: bool = True
    """Whether the warm-up requests of a version are replayed before it is served."""
    batching: Path | None = None
    """A text BatchingParameters; None runs every request alone."""
    per_model_batching: bool = False
    """Reads batching_params.pbtxt beside each version's saved_model.pb; a model without one is not batched."""
    tensor_content: bool = False
    """Answers with `tensor_content`, which Python reads faster, in place of the typed fields."""
    allow_labels_for_unavailable: bool = False
    """Takes labels of versions that are not loaded yet (only new labels, never moving one)."""
    check_method_names: bool = False
    """Refuses signatures whose `method_name` is not the verb's."""
    threads: int | None = Field(None, ge=1)
    """Of the processor for each TensorFlow operation (intra and inter); None lets TensorFlow choose."""
    tls: Path | None = None
    """A text SSLConfig for gRPC; None is no TLS."""
    tls_key: Path | None = None
    """PEM file of the server's private key, in place of `tls`."""
    tls_certificate: Path | None = None
    """PEM file of the server's certificate, in place of `tls`."""
    tls_client_ca: Path | None = None
    """PEM file of the authority whose clients are let in (mTLS)."""
    drain_seconds: float = Field(30.0, ge=0)
    """For requests that are running when the server is asked to stop."""
