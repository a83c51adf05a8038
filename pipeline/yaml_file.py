"""YAML as Convoy reads it: 1.2 (`1e-3` is a number, `no` is text), no key twice, every value with its file and line."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from pipeline.errors import ConfigError
from pipeline.setting_types import Place

OVERRIDE = "override "
"""How the origin of a value begins that was set on the command line."""
DefaultList = Callable[[Place, Mapping[str, Any]], list[Any] | None]


@dataclass
class Document:
    """Plain data, and where each value was written.

    Args:
        data: mappings, lists, text, numbers, booleans, None.
        name: the file, for messages.
        origins: place -> `file:line`, or the override that set it.
    """

    data: dict[str, Any]
    name: str
    origins: dict[Place, str] = field(default_factory=dict)

    def origin(self, place: Place) -> str:
        """Where the value at `place` was written, or the nearest group that holds it; and what changed parts of it."""
        holding = place
        while holding and holding not in self.origins:
            holding = holding[:-1]
        written = self.origins.get(holding, self.name)
        changes = [
            origin
            for known, origin in self.origins.items()
            if place and len(known) > len(place) and known[: len(place)] == place and origin.startswith(OVERRIDE)
        ]
        return f"{written} with the {' and the '.join(changes)}" if changes else written


def read(path: Path) -> Document:
    """Reads one YAML file.

    Raises:
        ConfigError: the file is missing or unreadable, breaks YAML's rules, has a key twice, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the configuration {path}: {_reason(error)}.") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Document:
    """Reads YAML from text; `name` stands for the file in messages."""
    data, node = _load(text, name), _reader().compose(text)
    if data is None:
        return Document({}, name)
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: expected `name: value` pairs, got a {_kind(data)}.")
    return Document(data, name, {place: f"{name}:{line}" for place, line in _lines(node, ())})


def dump(data: Mapping[str, Any]) -> str:
    """Plain data as YAML, in the order that it has."""
    writer = YAML()
    writer.indent(mapping=2, sequence=4, offset=2)
    writer.width = 120
    text = io.StringIO()
    writer.dump(dict(data), text)
    return text.getvalue()


def dump_inline(value: Any) -> str:
    """One value on one line, quoted where YAML needs it."""
    writer = YAML()
    writer.default_flow_style = True
    writer.width = 10_000
    text = io.StringIO()
    writer.dump({"value": value}, text)
    return text.getvalue().strip()[len("{value: ") : -1]


def override(document: Document, text: str, default_list: DefaultList) -> None:
    """Sets what `a.0.b=value` says; the value is read as YAML. An index of one past the end appends.

    Args:
        document: is changed.
        text: the override.
        default_list: gives the list that stands at a place where the document says nothing.
    """
    origin = f"{OVERRIDE}{text!r}"
    key, equals, value = text.partition("=")
    if not equals or not key.strip(".- "):
        raise ConfigError(
            f"Cannot read the {origin}: expected key=value, such as train.epochs=3 or augment.0.probability=0.3."
        )
    place: Place = tuple(int(part) if part.isdecimal() else part for part in key.strip().split("."))
    container: Any = document.data
    for depth in range(len(place) - 1):
        container = _enter(container, place[: depth + 1], document, origin, default_list)
    _put(container, place, _load(value, origin) if value.strip() else None, origin)
    document.origins = {known: line for known, line in document.origins.items() if known[: len(place)] != place}
    document.origins[place] = origin


def _enter(container: Any, place: Place, document: Document, origin: str, default_list: DefaultList) -> Any:
    """The group or list at `place` within its container, made where it is missing."""
    key = place[-1]
    if isinstance(container, list):
        index = _index(container, place, origin)
        child = container[index] if index < len(container) else None
    else:
        child = container.get(key)
    if isinstance(child, str):
        child = {"kind": child}
    if child is None:
        items = default_list(place, document.data)
        child = {} if items is None else items
    if not isinstance(child, dict | list):
        raise ConfigError(f"{origin}: {_dotted(place)} is {child!r}, which holds nothing that could be set.")
    _put(container, place, child, origin)
    return child


def _put(container: Any, place: Place, value: Any, origin: str) -> None:
    key = place[-1]
    if isinstance(container, list):
        index = _index(container, place, origin)
        container[index : index + 1] = [value]
    else:
        container[key] = value


def _index(container: list[Any], place: Place, origin: str) -> int:
    """The last name of `place`, checked to be an index into its list or one past the end."""
    key = place[-1]
    if isinstance(key, int) and key <= len(container):
        return key
    raise ConfigError(
        f"{origin}: {_dotted(place[:-1])} is a list of {len(container)}; expected an index from 0 to "
        f"{len(container)} (which appends), got {key!r}."
    )


def _dotted(place: Place) -> str:
    return ".".join(map(str, place))


def _load(text: str, name: str) -> Any:
    try:
        return _reader().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark and not name.startswith("override") else ""
        raise ConfigError(f"{name}{line}: {_problem(error)}") from error
    except YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {error}") from error


def _problem(error: MarkedYAMLError) -> str:
    problem = (error.problem or error.context or "not YAML").split(" with value")[0].strip()
    if problem.startswith("found duplicate key"):
        return f"the key {problem.removeprefix('found duplicate key').strip()} stands twice; keep one of them."
    tab = " Indent with spaces, not tabs." if "\\t" in problem else ""
    return f"not YAML: {problem}{f' ({error.context})' if error.context and error.problem else ''}.{tab}"


class _Constructor(SafeConstructor):
    """Leaves `2024-01-31` as the text that it is; no setting is a date."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def _reader() -> YAML:
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = _Constructor
    return reader


def _lines(node: Node | None, place: Place) -> Iterator[tuple[Place, int]]:
    """Every place below `node` with the line (from 1) on which it begins."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield (*place, key.value), key.start_mark.line + 1
            yield from _lines(value, (*place, key.value))
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield (*place, index), item.start_mark.line + 1
            yield from _lines(item, (*place, index))


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file. `convoy init FOLDER` writes one for a folder of data"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {error.start})"
    return getattr(error, "strerror", None) or str(error)


def _kind(data: Any) -> str:
    return {list: "list", str: "text", int: "number", float: "number", bool: "boolean"}.get(type(data), "value")
