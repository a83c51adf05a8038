"""What can be set: fields, types, defaults and meanings, read from the settings classes themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.errors import ConfigError, nearest
from pipeline.setting_types import Form, form_of, kind_of, kinds_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.augment.plan import Step
    from pipeline.config import Config

NAMES = {bool: "yes or no", int: "integer", float: "number", str: "text", NoneType: "empty"}
BOUNDS = (("gt", "> {}"), ("ge", ">= {}"), ("lt", "< {}"), ("le", "<= {}"), ("min_length", "at least {} of them"))


@dataclass(frozen=True)
class Setting:
    """One field of a settings class, as shown.

    Args:
        name: the key in the YAML file.
        type: what it takes, in words.
        default: the default as YAML would hold it; None where it has to be given.
        meaning: the field's description.
    """

    name: str
    type: str
    default: str | None
    meaning: str


@dataclass(frozen=True)
class Topic:
    """What a dotted path names: a settings class, a choice of them, or a single value.

    Args:
        path: dotted, such as `task.backbone`; empty for the whole configuration.
        meaning: what it is for.
        settings: the fields, where it is a settings class.
        choices: kind -> what it is, where it is a choice.
    """

    path: str
    meaning: str
    settings: tuple[Setting, ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)


def describe(path: str, root: type[BaseModel]) -> Topic:
    """Looks up a dotted path of field names and kinds (`task.backbone`, `augment.rotation`, `train.epochs`).

    Raises:
        ConfigError: the path names nothing; the message says what is nearest.
    """
    form, info, walked = Form(plain=root), None, ""
    for name in [part for part in path.split(".") if part and not part.isdecimal()]:
        form, info = _step(form, info, name, walked or "the configuration")
        walked = f"{walked}.{name}" if walked else name
    return _topic(walked, form, info)


def _step(form: Form, info: FieldInfo | None, name: str, walked: str) -> tuple[Form, FieldInfo | None]:
    """Goes one name deeper: into a kind of a choice, or a field of the first class that has it."""
    if name in form.choices:
        return Form(plain=form.choices[name], kind=name), info
    for settings in _classes(form):
        if name in settings.model_fields:
            info = settings.model_fields[name]
            return form_of(info.annotation), info
    valid = {*form.choices, *(key for settings in _classes(form) for key in settings.model_fields)}
    if not valid:
        raise ConfigError(f"{walked} is a single value; it has no {name!r} in it.")
    raise ConfigError(f"There is no {name!r} in {walked}. {nearest(name, valid)}")


def _classes(form: Form) -> list[type[BaseModel]]:
    return [form.plain] if form.plain else list(form.choices.values())


def _topic(path: str, form: Form, info: FieldInfo | None) -> Topic:
    if form.plain:
        meaning = _summary(form.plain) if info is None or kinds_of(form.plain) else info.description or ""
        return Topic(path, meaning, settings_of(form.plain, form.kind))
    meaning = (info.description if info else "") or ""
    if form.choices:
        return Topic(path, meaning, choices={kind: _summary(choice) for kind, choice in form.choices.items()})
    return Topic(path, meaning, (_setting(path.rpartition(".")[2], info),) if info else ())


def settings_of(settings: type[BaseModel], kind: str | None = None) -> tuple[Setting, ...]:
    """The fields of a settings class; `kind` first where there is one, by default the one that is asked for."""
    fields = sorted(settings.model_fields.items(), key=lambda item: item[0] != "kind")
    rows = [_setting(name, info) for name, info in fields]
    return tuple(replace(row, default=kind) if row.name == "kind" and kind else row for row in rows)


def plan_of(config: Config) -> list[Step]:
    """How the augmentation of a configuration is carried out: what is done in one go, in order.

    Raises:
        ConfigError: nothing of an operation suits what the task learns from.
    """
    from pipeline.augment.base import PictureShape
    from pipeline.augment.opencv_engine import OpenCV
    from pipeline.augment.plan import head_crop, steps
    from pipeline.augment.suiting import suited
    from pipeline.data.cropping import decides_alone
    from pipeline.data.example import KNOWN
    from pipeline.data.input import engine_of

    picture, crop = config.task.picture, head_crop(config.augment)
    at_once = picture.dct == "accurate" and isinstance(engine_of(config.input), OpenCV)
    joins_crop = at_once and not picture.marks_missing and crop is not None and decides_alone(crop, picture)
    operations = suited(config.augment, (config.task.label_field, *((KNOWN,) if picture.marks_missing else ())))
    return steps(operations, PictureShape.of(picture), joins_crop=joins_crop)


def as_document(topic: Topic) -> dict[str, Any]:
    """A topic as plain JSON values."""
    fields = [{"name": s.name, "type": s.type, "default": s.default, "meaning": s.meaning} for s in topic.settings]
    return {"path": topic.path, "meaning": topic.meaning, "fields": fields, "choices": dict(topic.choices)}


def as_tables(topic: Topic) -> RenderableType:
    """A topic for the terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [Text(topic.path or "configuration", style="bold"), Text(topic.meaning)]
    if topic.settings:
        table = Table("setting", "takes", "default", "meaning", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for setting in topic.settings:
            default = Text("required", style="bold") if setting.default is None else Text(setting.default)
            table.add_row(Text(setting.name, style="cyan"), Text(setting.type), default, Text(_plain(setting.meaning)))
        parts.append(table)
    if topic.choices:
        table = Table("kind", "meaning", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for kind, meaning in topic.choices.items():
            table.add_row(Text(kind, style="cyan"), Text(_plain(meaning)))
        first = next(iter(topic.choices))
        parts += [table, Text(f"Details: convoy describe {topic.path}.{first}", style="dim")]
    return Group(*parts)


def as_markdown(root: type[BaseModel]) -> str:
    """Every setting there is, as a page for `docs/`."""
    lines = [
        "# Settings",
        "",
        "Written by `convoy describe --markdown`; how settings are given is in [configuration.md](configuration.md).",
    ]
    for topic in _all_topics(root):
        lines += ["", f"{'#' * min(4, 2 + topic.path.count('.'))} `{topic.path}`" if topic.path else "## The whole"]
        lines += ["", topic.meaning] if topic.meaning else []
        lines += _markdown_settings(topic) + _markdown_choices(topic)
    return "\n".join(lines) + "\n"


def _markdown_settings(topic: Topic) -> list[str]:
    if not topic.settings:
        return []
    rows = [f"| `{s.name}` | {_cell(s.type)} | {_markdown_default(s)} | {_cell(s.meaning)} |" for s in topic.settings]
    return ["", "| setting | takes | default | meaning |", "|---|---|---|---|", *rows]


def _markdown_default(setting: Setting) -> str:
    return "**required**" if setting.default is None else f"`{_cell(setting.default)}`"


def _markdown_choices(topic: Topic) -> list[str]:
    if not topic.choices:
        return []
    rows = [f"| `{kind}` | {_cell(meaning)} |" for kind, meaning in topic.choices.items()]
    return ["", "| kind | meaning |", "|---|---|", *rows]


def _all_topics(root: type[BaseModel]) -> Iterator[Topic]:
    """The configuration, then every class in it once, in the order in which a reader meets them."""
    seen: set[type[BaseModel]] = set()
    yield _topic("", Form(plain=root), None)
    yield from _topics_below("", root, seen)


def _topics_below(path: str, settings: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[Topic]:
    for name, info in settings.model_fields.items():
        form, here = form_of(info.annotation), f"{path}.{name}" if path else name
        new = {kinds_of(choice)[0]: choice for choice in form.choices.values() if choice not in seen}
        if form.choices and not new:
            continue
        if form.choices or (form.plain and form.plain not in seen):
            yield _topic(here, form, info)
        for kind, choice in [*new.items(), *([("", form.plain)] if form.plain and form.plain not in seen else [])]:
            seen.add(choice)
            below = f"{here}.{kind}" if kind else here
            if kind:
                yield _topic(below, Form(plain=choice), info)
            yield from _topics_below(below, choice, seen)


def _setting(name: str, info: FieldInfo) -> Setting:
    meaning = info.description or ("Chooses these settings." if name == "kind" else "")
    return Setting(name, _type_text(info), _default_text(info), " ".join(meaning.split()))


def _type_text(info: FieldInfo) -> str:
    bounds = [text.format(getattr(part, key)) for part in info.metadata for key, text in BOUNDS if hasattr(part, key)]
    return ", ".join([_words(info.annotation), *(bound for bound in bounds if not bound.endswith("None"))])


def _words(annotation: Any) -> str:
    """A type in words that need no knowledge of Python."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(inner[0])
    if origin in (Union, UnionType):
        if form_of(annotation).choices:
            return "a kind" + (" or empty" if NoneType in inner else "")
        return " or ".join(dict.fromkeys(_words(member) for member in inner))
    if origin is Literal:
        return " or ".join(_yaml(value) for value in inner)
    if origin in (tuple, list):
        return _list_words(inner)
    if origin is dict:
        return f"names with {_words(inner[1])} each"
    return _class_words(annotation)


def _list_words(inner: tuple[Any, ...]) -> str:
    if len(inner) == 1 or inner[1] is Ellipsis:
        return f"list of {_words(inner[0])}"
    return f"list of {len(inner)}: {', '.join(_words(member) for member in inner)}"


def _class_words(annotation: Any) -> str:
    if not isinstance(annotation, type):
        return "any value"
    if issubclass(annotation, BaseModel):
        return "a kind" if kinds_of(annotation) else "settings"
    if issubclass(annotation, PurePath):
        return "path"
    return NAMES.get(annotation, annotation.__name__)


def _default_text(info: FieldInfo) -> str | None:
    if info.is_required():
        return None
    default = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, BaseModel):
        return kind_of(default) or "see below"
    if isinstance(default, list | tuple):
        return f"[{', '.join(_yaml(item) for item in default)}]"
    return _yaml(default)


def _yaml(value: Any) -> str:
    if isinstance(value, BaseModel):
        return _settings_text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    words = {None: "empty", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value) if value != "" else '""'


def _settings_text(settings: BaseModel) -> str:
    """A kind, with what is set of it where that is something: `{kind: int8, name: int8_percentile}`."""
    kind = kind_of(settings)
    changed = [name for name in type(settings).model_fields if name in settings.model_fields_set - {"kind"}]
    if kind is None or not changed:
        return kind or "{...}"
    return f"{{kind: {kind}, {', '.join(f'{name}: {_yaml(getattr(settings, name))}' for name in changed)}}}"


def _summary(settings: type[BaseModel]) -> str:
    """The first paragraph of the class's docstring, in one line."""
    return " ".join((settings.__doc__ or "").strip().split("\n\n")[0].split())


def _plain(text: str) -> str:
    return text.replace("`", "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
