"""How the client calls.

These are dataclasses and no pydantic models, because pydantic alone takes as long to import as the whole client may.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Tls:
    """Certificates for `grpcs://` and `https://`, PEM files.

    Args:
        authority: of the authority that signed the server's certificate; None takes those that this machine trusts.
        certificate, key: of this client, for servers that ask for one (mTLS); both or neither.
        server_name: to find in the server's certificate, where the address has another.
    """

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """What `ssl` makes of it.

        Raises:
            ConfigError: a file cannot be read or is no PEM, or only one of `certificate` and `key` is given.
        """
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("A client's certificate and its key belong together; give both or neither.")
        try:
            context = ssl.create_default_context(cafile=self.authority)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            files = ", ".join(str(file) for file in (self.authority, self.certificate, self.key) if file)
            raise ConfigError(f"The certificates {files} cannot be used: {error}. Expected PEM files.") from error
        return context


@dataclass(frozen=True)
class ClientSettings:
    """How the client calls a server.

    Args:
        timeout: seconds for one request, its repetitions included.
        batch_size: pictures, or rows of inputs, in one request at most.
        concurrency: requests at once.
        attempts: how often a request is sent at most while the server is unavailable.
        first_wait, longest_wait: seconds before the second attempt, and at most before any; doubled each time, and
            shortened by up to one half at random, so that many clients do not come back at the same moment.
        tls: certificates.
        headers: sent with each request, such as `{"authorization": "Bearer ..."}` for what stands before the server.
    """

    timeout: float = 30.0
    batch_size: int = 32
    concurrency: int = 4
    attempts: int = 6
    first_wait: float = 0.1
    longest_wait: float = 2.0
    tls: Tls = Tls()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("batch_size", "concurrency", "attempts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1.")
        for name in ("timeout", "first_wait", "longest_wait"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected seconds above 0.")
