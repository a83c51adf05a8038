"""Requests' JSON: RapidJSON's grammar, its words, and one meaning of a text whichever of the two readers reads it."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.local.rest.json_reader import read, read_object
from serving.local.rest.json_slow import MAX_LEVELS, SlowReader
from serving.local.rest.json_value import MAX_SHOWN, RepeatedMembers, members, shown

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def problem(text: bytes) -> str:
    with pytest.raises(ServingError) as caught:
        read(text)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT
    return caught.value.message.removeprefix("JSON Parse error: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "The document is empty"),
        (b" \n", "The document is empty. at offset: 2"),
        (b"]", "The document is empty. at offset: 0"),
        (b"\0[1]", "The document is empty. at offset: 0"),
        (b"instances = [1, 2]", "Invalid value. at offset: 0"),
        (b"'a'", "Invalid value. at offset: 0"),
        (b"nil", "Invalid value. at offset: 1"),
        (b"tru", "Invalid value. at offset: 3"),
        (b"-", "Invalid value. at offset: 1"),
        (b"+1", "Invalid value. at offset: 0"),
        (b".5", "Invalid value. at offset: 0"),
        (b"Infinit", "Invalid value. at offset: 0"),
        (b"1.", "Miss fraction part in number. at offset: 2"),
        (b"[1.e5]", "Miss fraction part in number. at offset: 3"),
        (b"1e", "Miss exponent in number. at offset: 2"),
        (b"1e+", "Miss exponent in number. at offset: 3"),
        (b"[1e309]", "Number too big to be stored in double. at offset: 1"),
        (b"9" * 310, "Number too big to be stored in double. at offset: 0"),
        (b'"abc', "Missing a closing quotation mark in string. at offset: 4"),
        (b'"a\0"', "Missing a closing quotation mark in string. at offset: 2"),
        (b'"a\n"', "Invalid escape character in string. at offset: 2"),
        (b'"\\x"', "Invalid escape character in string. at offset: 1"),
        (b'"\\u12g4"', "Incorrect hex digit after \\u escape in string. at offset: 1"),
        (b'"\\ud800"', "The surrogate pair in string is invalid. at offset: 1"),
        (b'"\\ud800\\u0041"', "The surrogate pair in string is invalid. at offset: 1"),
        (b"[", "Unspecific syntax error. at offset: 1"),
        (b"[1", "Missing a comma or ] after an array element. at offset: 2"),
        (b"[1 2]", "Missing a comma or ] after an array element. at offset: 3"),
        (b"[01]", "Missing a comma or ] after an array element. at offset: 2"),
        (b"[1,]", "Unspecific syntax error. at offset: 3"),
        (b"{", "Missing a name for object member. at offset: 1"),
        (b"{1:2}", "Missing a name for object member. at offset: 1"),
        (b'{"a"', "Missing a colon after a name of object member. at offset: 4"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":', "Unspecific syntax error. at offset: 5"),
        (b'{"a":1', "Missing a comma or } after an object member. at offset: 6"),
        (b'{"a":1,}', "Missing a name for object member. at offset: 7"),
        (b'{"a":1, /* b */ "c":2}', "Missing a name for object member. at offset: 8"),
    ],
)
def test_errors_have_rapidjsons_words_and_place(text: bytes, message: str) -> None:
    assert problem(text) == message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a":[1]} trailing', {"a": [1]}),
        (b'{"a":1}{', {"a": 1}),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"[Infinity,-Infinity,Inf,-Inf]", [math.inf, -math.inf, math.inf, -math.inf]),
        (b"[18446744073709551615,18446744073709551616]", [2**64 - 1, float(2**64)]),
        (b"[-9223372036854775808,-9223372036854775809]", [-(2**63), -float(2**63)]),
        (b"10e308 ", math.inf),
        (b"1e-999999999999 ", 0.0),
        (b"[-0, -0.0, 2.0, 1E2]", [0, -0.0, 2.0, 100.0]),
        (b'"\\ud83d\\ude00 \\/\\b\\f\\n\\r\\t\\"\\\\ \\u0000" ', '😀 /\b\f\n\r\t"\\ \0'),
        (b'"\xff" ', b"\xff"),
        (b'"\\udc00" ', b"\xed\xb0\x80"),
        (b"[[],[[]],{}] x", [[], [[]], {}]),
    ],
)
def test_reads_more_than_json_as_rapidjson_does(text: bytes, value: Any) -> None:
    assert repr(read(text)) == repr(value)


def test_nan_is_a_number() -> None:
    assert [math.isnan(value) for value in read(b"[NaN,-NaN]")] == [True, True]


def test_of_a_member_that_comes_twice_the_first_is_found_and_both_are_kept() -> None:
    value = read_object(b'{"a":1,"b":2,"a":3}')
    assert isinstance(value, RepeatedMembers)
    assert value["a"] == 1
    assert list(members(value)) == [("a", 1), ("b", 2), ("a", 3)]
    assert read_object(b'{"x":[{"b64":"AA==","b64":"AQ=="}]}')["x"][0]["b64"] == "AA=="
    assert read_object(b'{"a\\u0062":1,"ab":2}')["ab"] == 1


@pytest.mark.parametrize("text", [b"[1]", b"1", b'"a"', b"null"])
def test_a_body_is_an_object(text: bytes) -> None:
    with pytest.raises(ServingError, match="Is not object"):
        read_object(text)


@settings(deadline=None, max_examples=50)
@given(VALUES)
def test_both_readers_agree_on_json(value: Any) -> None:
    text = orjson.dumps({"value": value})
    assert read(text) == SlowReader(text).read() == {"value": value}
    assert read(text + b"x") == {"value": value}


@settings(deadline=None)
@given(st.lists(st.sampled_from([*b'{}[]:,"\\ eE+-.019nulltruefalseNaN\x00\xff'])).map(bytes))
def test_what_json_accepts_is_accepted_and_nothing_else_fails(text: bytes) -> None:
    try:
        found = read(text)
    except ServingError as error:
        assert error.code is StatusCode.INVALID_ARGUMENT
        with pytest.raises(ValueError):
            json.loads(text)
    else:
        assert found is None or shown(found)


def test_depth_is_limited_by_memory_only() -> None:
    levels = 20_000
    value = read(b'{"a":[' * levels + b"]}" * levels)
    assert shown(value).startswith('{\n    "a": [\n        {\n')
    assert problem(b"[" * (MAX_LEVELS + 1)) == f"Nested deeper than {MAX_LEVELS} levels. at offset: 0"


def test_values_are_shown_as_rapidjson_prints_them() -> None:
    value = read(b'{"a":[1,2.5,"x\\n",[]],"a":{"b":null,"c":true},"d":1e300}')
    assert shown(value) == (
        '{\n    "a": [\n        1,\n        2.5,\n        "x\\n",\n        []\n    ],\n'
        '    "a": {\n        "b": null,\n        "c": true\n    },\n    "d": 1e300\n}'
    )
    assert [shown(one) for one in (0.1, 1e300, math.inf, 3, b"\xff", False)] == [
        "0.1",
        "1e+300",
        "Infinity",
        "3",
        '"\ufffd"',
        "false",
    ]
    assert len(shown([1] * 10_000)) == MAX_SHOWN + len("...")
