"""What a URL of a server means, certificates, and how long is waited between attempts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from serving.remote.address import Address, parse
from serving.remote.retry import waits
from serving.remote.settings import ClientSettings, Tls
from serving.remote.values import ModelTarget


@pytest.mark.parametrize(
    ("url", "address", "target"),
    [
        ("grpc://host", Address("grpc", "host", 8500), ModelTarget("default")),
        ("grpcs://host:443/v1/models/m", Address("grpcs", "host", 443), ModelTarget("m")),
        ("http://host", Address("http", "host", 8501), ModelTarget("default")),
        ("http://host:1/", Address("http", "host", 1), ModelTarget("default")),
        ("https://host/v1/models/a%2Fb/versions/007", Address("https", "host", 8501), ModelTarget("a/b", 7)),
        ("http://h/gate/v1/models/m/labels/x%20y", Address("http", "h", 8501, "/gate"), ModelTarget("m", None, "x y")),
        ("http://[::1]:8/v1/models/m/", Address("http", "::1", 8), ModelTarget("m")),
        ("http://host/gate/", Address("http", "host", 8501, "/gate"), ModelTarget("default")),
    ],
)  # fmt: skip
def test_urls(url: str, address: Address, target: ModelTarget) -> None:
    assert parse(url) == (address, target)


def test_arguments_go_before_the_url() -> None:
    assert parse("http://h/v1/models/a/versions/1", "b", label="canary")[1] == ModelTarget("b", None, "canary")
    assert parse("http://h/v1/models/a/labels/x", version=3)[1] == ModelTarget("a", 3)
    assert str(parse("http://[::1]/gate")[0]) == "http://[::1]:8501/gate"
    assert [str(parse(f"http://h/v1/models/m{end}")[1]) for end in ("", "/versions/2", "/labels/l")] == [
        "m",
        "m, version 2",
        "m, label l",
    ]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8501", "localhost:8501 is no URL of a server. Expected http://HOST:8501"),
        ("grcp://host", "there is no scheme 'grcp'. Did you mean 'grpc'?"),
        ("http://", "names no host"),
        ("http://host:port", "is no URL: Port could not be cast"),
        ("grpc://host/gate/v1/models/m", "gRPC knows no path '/gate'"),
    ],
)
def test_urls_that_mean_nothing(url: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert message in str(caught.value)


def test_a_version_and_a_label_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="Version 1 and label 'x' exclude each other"):
        parse("http://host", "m", 1, "x")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"concurrency": -1}, "concurrency is -1"),
        ({"timeout": 0.0}, "timeout is 0.0, expected seconds above 0"),
        ({"first_wait": float("nan")}, "first_wait is nan"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClientSettings(**wrong)


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    for tls, message in (
        (Tls(authority=tmp_path / "gone.pem"), r"gone\.pem cannot be used: .*No such file"),
        (Tls(authority=tmp_path / "no.pem"), r"no\.pem cannot be used: .*Expected PEM files"),
        (Tls(certificate=tmp_path / "no.pem", key=tmp_path / "no.pem"), r"cannot be used"),
        (Tls(certificate=tmp_path / "no.pem"), "belong together"),
    ):
        with pytest.raises(ConfigError, match=message):
            tls.context()


def test_waits_double_up_to_the_longest_and_are_shortened_at_random() -> None:
    settings = ClientSettings(attempts=6, first_wait=0.1, longest_wait=0.5)
    drawn = [list(waits(settings)) for _ in range(200)]
    for found in drawn:
        for wait, longest in zip(found, (0.1, 0.2, 0.4, 0.5, 0.5), strict=True):
            assert longest / 2 <= wait <= longest
    assert len({found[0] for found in drawn}) > 100
    assert list(waits(ClientSettings(attempts=1))) == []
