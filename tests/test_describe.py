"""Looking up settings, and the generated pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.describe import Topic, as_document, as_markdown, describe
from pipeline.errors import ConfigError
from pipeline.schema import json_schema

ROOT = Path(__file__).parent.parent


def setting(path: str, name: str) -> tuple[str, str | None, str]:
    found = next(setting for setting in describe(path, Config).settings if setting.name == name)
    return found.type, found.default, found.meaning


def test_the_whole_configuration() -> None:
    topic = describe("", Config)
    assert {setting.name for setting in topic.settings} == set(Config.model_fields)
    assert setting("", "seed")[:2] == ("integer, >= 0, < 2147483648", "0")
    assert setting("", "data")[:2] == ("settings", None)
    assert setting("", "learner")[:2] == ("a kind", "supervised")


def test_a_choice_lists_its_kinds() -> None:
    topic = describe("task.backbone", Config)
    assert "mobilenet_v2" in topic.choices
    assert "small_resnet" in topic.choices
    assert all(topic.choices.values())
    assert topic.meaning


@pytest.mark.parametrize("path", ["augment.rotation", "augment.0.rotation"])
def test_a_kind_lists_its_settings(path: str) -> None:
    assert setting(path, "probability")[:2] == ("number, >= 0.0, <= 1.0", "1.0")
    assert setting(path, "kind")[0] == "rotation"


def test_a_default_says_what_is_set_of_a_kind() -> None:
    default = setting("compress.sweep", "variants")[1]
    assert default is not None
    assert "int8, {kind: int8, name: int8_percentile, range: percentile}, int8_selective" in default


def test_a_single_setting() -> None:
    topic = describe("train.epochs", Config)
    assert [found.name for found in topic.settings] == ["epochs"]
    assert topic.settings[0].meaning


def test_a_path_may_leave_the_kind_of_the_task_out() -> None:
    assert describe("task.classification.backbone", Config).choices == describe("task.backbone", Config).choices


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("trian", "no 'trian' in the configuration. Did you mean 'train'?"),
        ("task.bakbone", "no 'bakbone' in task. Did you mean 'backbone'?"),
        ("augment.rotatoin", "Did you mean 'rotation'?"),
        ("train.epochs.more", "train.epochs is a single value"),
    ],
)
def test_unknown_paths(path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        describe(path, Config)
    assert message in str(caught.value)


def every_topic(topic: Topic) -> list[Topic]:
    below = [f"{topic.path}.{name}".lstrip(".") for name in (*topic.choices, *(s.name for s in topic.settings))]
    deeper = [describe(path, Config) for path in below if len(topic.settings) != 1 or topic.choices]
    return [topic, *(inner for found in deeper for inner in every_topic(found))]


def test_every_setting_anywhere_has_a_meaning() -> None:
    topics = every_topic(describe("", Config))
    assert len(topics) > 100
    without = {f"{topic.path}.{s.name}" for topic in topics for s in topic.settings if not s.meaning}
    assert without == set()


def test_as_document() -> None:
    assert as_document(describe("train.epochs", Config))["fields"][0]["name"] == "epochs"


def test_the_page_of_all_settings_is_up_to_date() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == as_markdown(Config), "run: convoy describe --markdown > docs/settings.md"


def test_the_schema_knows_every_setting_and_the_short_forms() -> None:
    schema = json_schema(Config)
    assert set(schema["properties"]) == set(Config.model_fields)
    assert schema["additionalProperties"] is False
    bare, full = schema["$defs"]["MobileNetV2"]["anyOf"]
    assert bare["const"] == "mobilenet_v2"
    assert full["properties"]["alpha"]["description"]
    assert "anyOf" not in schema["$defs"]["ClassFolders"], "`source: folders` lacks its path"
    assert "oneOf" not in str(schema)
