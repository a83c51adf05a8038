"""Reading YAML: numbers, duplicate keys, where things were written, overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import yaml_file
from pipeline.errors import ConfigError

TEXT = """\
seed: 1e-3
answer: no
day: 2024-01-31
augment:
  - kind: rotation
    degrees: 10
"""


def no_lists(place: Any, data: Any) -> None:
    return None


def document(text: str = TEXT) -> yaml_file.Document:
    return yaml_file.parse(text, "test.yaml")


def test_values_are_those_of_yaml_1_2_and_dates_stay_text() -> None:
    data = document().data
    assert data["seed"] == 0.001
    assert isinstance(data["seed"], float)
    assert data["answer"] == "no"
    assert data["day"] == "2024-01-31"


def test_every_value_knows_its_line() -> None:
    assert document().origin(("seed",)) == "test.yaml:1"
    assert document().origin(("augment", 0, "degrees")) == "test.yaml:6"
    assert document().origin(("augment", 0, "missing")) == "test.yaml:5"
    assert document().origin(("missing",)) == "test.yaml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r'test.yaml:3: the key "a" stands twice'),
        ("a:\n  b: 1\n  b: 2\n", r'test.yaml:3: the key "b" stands twice'),
        ("a: [1, 2\nb: 3\n", r"test.yaml:2: not YAML"),
        ("a:\n\tb: 1\n", r"test.yaml:2: not YAML.*spaces, not tabs"),
        ("- a\n", r"test.yaml: expected `name: value` pairs, got a list"),
        ("just text", r"test.yaml: expected `name: value` pairs, got a text"),
    ],
)
def test_broken_yaml_is_one_message_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        document(text)


def test_an_empty_file_is_an_empty_mapping() -> None:
    assert document("# nothing\n").data == {}


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file.*convoy init"):
        yaml_file.read(tmp_path / "missing.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        yaml_file.read(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=5", {"seed": 5}),
        ("seed=1e-4", {"seed": 1e-4}),
        ("new.deep.name=[1, two]", {"new": {"deep": {"name": [1, "two"]}}}),
        ("augment.0.degrees=3", {"augment": [{"kind": "rotation", "degrees": 3}]}),
        ("augment.1=cutout", {"augment": [{"kind": "rotation", "degrees": 10}, "cutout"]}),
        ("augment.1.kind=cutout", {"augment": [{"kind": "rotation", "degrees": 10}, {"kind": "cutout"}]}),
        ("augment=[]", {"augment": []}),
        ("answer.alpha=0.5", {"answer": {"kind": "no", "alpha": 0.5}}),
        ("day=", {"day": None}),
        ("path=a=b", {"path": "a=b"}),
    ],
)
def test_overrides(override: str, expected: dict[str, Any]) -> None:
    changed = document()
    yaml_file.override(changed, override, no_lists)
    assert changed.data == {**document().data, **expected}


def test_a_value_set_by_an_override_is_blamed_on_it() -> None:
    changed = document()
    yaml_file.override(changed, "augment.0={kind: cutout, size: 2}", no_lists)
    assert changed.origin(("augment", 0, "size")) == "override 'augment.0={kind: cutout, size: 2}'"
    assert changed.origin(("seed",)) == "test.yaml:1"


def test_a_group_of_which_an_override_changed_a_part_names_both() -> None:
    changed = document()
    yaml_file.override(changed, "augment.0.degrees=2", no_lists)
    assert changed.origin(("augment", 0)) == "test.yaml:5 with the override 'augment.0.degrees=2'"
    assert changed.origin(("augment", 0, "missing")) == "test.yaml:5"
    assert changed.origin(()) == "test.yaml"


def test_an_override_may_reach_into_a_default_list() -> None:
    changed = document()
    yaml_file.override(changed, "variants.1.size=3", lambda place, data: [{"kind": "a"}, {"kind": "b"}])
    assert changed.data["variants"] == [{"kind": "a"}, {"kind": "b", "size": 3}]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "expected key=value"),
        ("=3", "expected key=value"),
        ("augment.5.degrees=3", r"augment is a list of 1; expected an index from 0 to 1.*got 5"),
        ("augment.first=3", "expected an index from 0 to 1"),
        ("seed.x=3", r"seed is 0.001, which holds nothing"),
        ("seed=[1", r"override 'seed=\[1'.*not YAML"),
    ],
)
def test_wrong_overrides_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        yaml_file.override(document(), override, no_lists)


def test_dump_keeps_order_and_values() -> None:
    data = {"b": 1e-05, "a": [1, "no", None, True], "c": {"text": "a: b # c", "empty": [], "number": "012"}}
    text = yaml_file.dump(data)
    assert yaml_file.parse(text, "dumped").data == data
    assert text.index("b:") < text.index("a:")


@pytest.mark.parametrize("value", ["plain", "a: b", "#x", "", "1e-3", 3, None, ["a", "b c"], True])
def test_dump_inline_reads_back(value: Any) -> None:
    text = yaml_file.dump_inline(value)
    assert "\n" not in text
    assert yaml_file.parse(f"key: {text}", "inline").data == {"key": value}
