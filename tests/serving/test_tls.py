"""TLS and mTLS of the gRPC front, with TF Serving's SSLConfig and with PEM files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_service_pb2_grpc

from pipeline.errors import ConfigError
from serving.local.model_config import one_model
from serving.protos.server_configs import SSLConfig
from tests.serving.running import SECONDS, Running, floats, predict_request, running


@dataclass(frozen=True)
class Identities:
    """PEM files of an authority, a server and a client."""

    authority: Path
    key: Path
    certificate: Path
    client_key: bytes
    client_certificate: bytes

    def credentials(self, *, client: bool) -> grpc.ChannelCredentials:
        """Of a client that trusts the authority, and shows its own certificate if `client`."""
        own = (self.client_key, self.client_certificate) if client else (None, None)
        return grpc.ssl_channel_credentials(self.authority.read_bytes(), *own)


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> Identities:
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    server, client = authority.issue_cert("127.0.0.1", "localhost"), authority.issue_cert("client")
    files = {"authority": authority.cert_pem, "key": server.private_key_pem, "certificate": server.cert_chain_pems[0]}
    for name, pem in files.items():
        pem.write_to_path(str(folder / name))
    paths = {name: folder / name for name in files}
    return Identities(**paths, client_key=client.private_key_pem.bytes(), client_certificate=_chain(client))


def _chain(identity: Any) -> bytes:
    return b"".join(pem.bytes() for pem in identity.cert_chain_pems)


def asked(server: Running, credentials: grpc.ChannelCredentials | None) -> float:
    """The answer of a client with these credentials, or without any."""
    address = f"localhost:{server.grpc_port}"
    channel = grpc.insecure_channel(address) if credentials is None else grpc.secure_channel(address, credentials)
    with channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        reply = stub.Predict(predict_request("m", version=1, x=floats(3)), timeout=SECONDS)
        return float(reply.outputs["y"].float_val[0])


def test_pem_files_make_it_tls(identities: Identities, serving_models: Path) -> None:
    config = one_model(str(serving_models / "scale"), "m")
    config.model_config_list.config[0].model_version_policy.all.SetInParent()
    with running(config, tls_key=identities.key, tls_certificate=identities.certificate) as server:
        assert asked(server, identities.credentials(client=False)) == 3
        with pytest.raises(grpc.RpcError):
            asked(server, None)


@pytest.mark.parametrize("form", ["files", "ssl_config"])
def test_mtls_asks_for_the_clients_certificate(
    form: str, identities: Identities, serving_models: Path, tmp_path: Path
) -> None:
    config = one_model(str(serving_models / "scale"), "m")
    config.model_config_list.config[0].model_version_policy.all.SetInParent()
    options: dict[str, Path] = {
        "tls_key": identities.key,
        "tls_certificate": identities.certificate,
        "tls_client_ca": identities.authority,
    }
    if form == "ssl_config":
        options = {"tls": _ssl_config(identities, tmp_path)}
    with running(config, **options) as server:
        assert asked(server, identities.credentials(client=True)) == 3
        with pytest.raises(grpc.RpcError):
            asked(server, identities.credentials(client=False))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tls_key": "key"}, "needs both --tls-key and --tls-certificate"),
        ({"tls_key": "nowhere", "tls_certificate": "certificate"}, "Cannot read"),
        ({"tls_key": "certificate", "tls_certificate": "key"}, "needs PEM text"),
        ({"tls": "key"}, "Error parsing text-format tensorflow.serving.SSLConfig"),
    ],
)
def test_files_that_do_not_fit_are_named(
    given: dict[str, str], message: str, identities: Identities, serving_models: Path
) -> None:
    options = {name: identities.key.parent / file for name, file in given.items()}
    with pytest.raises(ConfigError, match=message), running(one_model(str(serving_models / "scale")), **options):
        pytest.fail("it started")


def _ssl_config(identities: Identities, folder: Path) -> Path:
    config = SSLConfig(
        server_key=identities.key.read_text(),
        server_cert=identities.certificate.read_text(),
        custom_ca=identities.authority.read_text(),
        client_verify=True,
    )
    file = folder / "ssl.config"
    file.write_text(text_format.MessageToString(config))
    return file
