"""Methods and paths, to the letter of TF Serving's regular expressions."""

from __future__ import annotations

import pytest

from serving.errors import ServingError
from serving.local.rest.routes import Route, UnansweredError, find_route, is_api, is_valid


@pytest.mark.parametrize(
    ("method", "target", "route"),
    [
        ("POST", "/v1/models/m:predict", Route("predict", "m")),
        ("POST", "/V1/Models/m:classify", Route("classify", "m")),
        ("POST", "/v1/models/m/versions/0012:regress", Route("regress", "m", 12)),
        ("POST", f"/v1/models/m/versions/{'0' * 5000}7:predict", Route("predict", "m", 7)),
        ("POST", "/v1/models/m/labels/a%20b:predict", Route("predict", "m", label="a b")),
        ("POST", "/v1/models/a%2Fb%3Ac:predict", Route("predict", "a/b:c")),
        ("POST", "/v1/models/a+b:predict", Route("predict", "a+b")),
        ("POST", "/v1/models/%FF:predict", Route("predict", "\ufffd")),
        ("GET", "/v1/models/m", Route("status", "m")),
        ("GET", "/v1/models/m?x=1", Route("status", "m?x=1")),
        ("GET", "/v1/models/m/versions/9223372036854775807", Route("status", "m", 2**63 - 1)),
        ("GET", "/v1/models/m/labels/l", Route("status", "m", label="l")),
        ("GET", "/v1/models/m/metadata", Route("metadata", "m")),
        ("GET", "/v1/models/m/METADATA", Route("status", "m")),
        ("GET", "/v1/models/m/versions/3/metadata", Route("metadata", "m", 3)),
    ],
)
def test_routes(method: str, target: str, route: Route) -> None:
    assert find_route(method, target) == route


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("POST", "/v1/models/m:predict/"),
        ("POST", "/v1/models/m:foo"),
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m/versions/1/labels/l:predict"),
        ("POST", "/v1/models/m/versions/x:predict"),
        ("POST", "/v1/models/m/versions/\u0661:predict"),
        ("POST", "/v1/models/m/version/1:predict"),
        ("POST", "/v1/models/m/metadata"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/foo"),
        ("PUT", "/v1/models/m:predict"),
        ("DELETE", "/v1/models/m"),
        ("HEAD", "/v1/models/m"),
        ("OPTIONS", "/v1/models/m:predict"),
    ],
)
def test_what_is_malformed_is_repeated(method: str, target: str) -> None:
    with pytest.raises(ServingError) as caught:
        find_route(method, target)
    assert caught.value.message == f"Malformed request: {method} {target}"


def test_a_name_is_needed() -> None:
    with pytest.raises(ServingError, match="Missing model name in request"):
        find_route("GET", "/v1/models")


@pytest.mark.parametrize("version", ["9223372036854775808", "9" * 5000])
def test_a_version_that_is_no_int64_is_not_answered(version: str) -> None:
    with pytest.raises(UnansweredError):
        find_route("POST", f"/v1/models/m/versions/{version}:predict")


def test_addresses() -> None:
    assert is_valid(b"/v1/models/a%20b:predict", b"a=%2F?/")
    for path in (b"/a b", b'/"', b"/{x}", b"/%2", b"/%zz", b"/[a]", b"/\xc3\xa9", b"/a|b", b"/\\"):
        assert not is_valid(path, b"")
    assert not is_valid(b"/", b"a b")
    assert [is_api(path) for path in ("/v1/", "/V1/x", "/v1", "/v2/models", "/")] == [True, True, False, False, False]
