"""Where a server is and which of its models is meant, in one URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from pipeline.errors import ConfigError, nearest
from serving.remote.values import ModelTarget

PORTS = {"http": 8501, "https": 8501, "grpc": 8500, "grpcs": 8500}
"""TF Serving's own, where the URL has none."""
SECURE = ("https", "grpcs")
DEFAULT_MODEL = "default"
"""TF Serving's name for the one model of a server that is started without a configuration."""
MODEL_PATH = re.compile(
    r"(?P<prefix>.*?)/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?/?"
)
FORMS = (
    "Expected http://HOST:8501 or grpc://HOST:8500 (https:// and grpcs:// with TLS), and, where you like, "
    "/v1/models/NAME, /v1/models/NAME/versions/N or /v1/models/NAME/labels/LABEL behind it."
)


@dataclass(frozen=True)
class Address:
    """A server.

    Args:
        scheme: of PORTS.
        prefix: of all paths, where a gateway stands before the server; empty or `/...`.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in SECURE

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


def parse(
    url: str, model: str | None = None, version: int | None = None, label: str | None = None
) -> tuple[Address, ModelTarget]:
    """The server and the model that a URL means; `model`, `version` and `label` go before what the URL says.

    Raises:
        ConfigError: it is no URL of a server, or asks for a version and a label at once.
    """
    parts, port = _split(url)
    found = MODEL_PATH.fullmatch(parts.path)
    named = found.groupdict() if found else {"prefix": parts.path.rstrip("/")}
    address = Address(parts.scheme, str(parts.hostname), port or PORTS[parts.scheme], named["prefix"])
    if named["prefix"] and parts.scheme.startswith("grpc"):
        raise ConfigError(f"{url}: gRPC knows no path {named['prefix']!r}. {FORMS}")
    if version is None and label is None and named.get("version"):
        version = int(named["version"])
    if version is None and label is None and named.get("label"):
        label = unquote(named["label"])
    if version is not None and label is not None:
        raise ConfigError(f"Version {version} and label {label!r} exclude each other; give one of them.")
    return address, ModelTarget(model or unquote(named.get("name") or DEFAULT_MODEL), version, label)


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url} is no URL: {error}. {FORMS}") from error
    if "://" not in url:
        raise ConfigError(f"{url} is no URL of a server. {FORMS}")
    if parts.scheme not in PORTS:
        raise ConfigError(f"{url}: there is no scheme {parts.scheme!r}. {nearest(parts.scheme, PORTS)} {FORMS}")
    if not parts.hostname:
        raise ConfigError(f"{url} names no host. {FORMS}")
    return parts, port
