"""TLS and mTLS for gRPC, from TF Serving's SSLConfig or from PEM files."""

from __future__ import annotations

from pathlib import Path

import grpc

from pipeline.errors import ConfigError
from serving.local.settings import ServerOptions
from serving.protos.server_configs import SSLConfig, read_text


def credentials(options: ServerOptions) -> grpc.ServerCredentials | None:
    """What the server proves itself with; None where neither an SSLConfig nor PEM files are set.

    Raises:
        ConfigError: a file is missing or is no key or certificate, or only some of them are given.
    """
    if options.tls is not None:
        config = read_text(options.tls, SSLConfig)
        return _made(config.server_key, config.server_cert, config.custom_ca, verify=config.client_verify)
    if options.tls_key is None and options.tls_certificate is None and options.tls_client_ca is None:
        return None
    if options.tls_key is None or options.tls_certificate is None:
        raise ConfigError("TLS needs both --tls-key and --tls-certificate (PEM files); --tls-client-ca adds mTLS.")
    authority = _read(options.tls_client_ca) if options.tls_client_ca else ""
    return _made(_read(options.tls_key), _read(options.tls_certificate), authority, verify=bool(authority))


def _made(key: str, certificate: str, authority: str, *, verify: bool) -> grpc.ServerCredentials:
    if "PRIVATE KEY" not in key or "CERTIFICATE" not in certificate:
        raise ConfigError(
            "TLS needs PEM text: a key between BEGIN PRIVATE KEY and END PRIVATE KEY, and a certificate between BEGIN "
            "CERTIFICATE and END CERTIFICATE."
        )
    if verify and not authority:
        raise ConfigError("client_verify needs custom_ca: the certificate of the authority that signs the clients'.")
    root = authority.encode() or None
    return grpc.ssl_server_credentials([(key.encode(), certificate.encode())], root, verify)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read {file}: {error}. Expected a PEM file.") from error
