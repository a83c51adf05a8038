"""What a settings field may hold, read from its type: the one place that knows how choices (`kind`) are written.

A choice is a union of settings classes that tell themselves apart by a field `kind: Literal["..."]`. Wherever one is
expected, a bare string stands for its kind (`backbone: mobilenet_v2`), and settings that are not given keep the
default's values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Form:
    """What a field holds.

    Args:
        plain: the settings class, where there is no choice.
        kind: the kind of `plain` that is meant, where it has several.
        choices: kind -> settings class, where there is.
        many: whether the field holds a list or a mapping of these.
    """

    plain: type[BaseModel] | None = None
    kind: str | None = None
    choices: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    many: bool = False

    @property
    def tagged(self) -> bool:
        """Whether pydantic names the kind in the place of an error."""
        return len(set(self.choices.values())) > 1

    def settings_class(self, value: Any) -> type[BaseModel] | None:
        """The class that a value (without its list) is to be read with, if it can be told."""
        if self.choices and isinstance(value, Mapping):
            return self.choices.get(str(value.get("kind")))
        return self.plain


def form_of(annotation: Any) -> Form:
    """The form of a field with this type."""
    annotation = _stripped(annotation)
    many = get_origin(annotation) in (tuple, list, dict)
    if many:
        index = 1 if get_origin(annotation) is dict else 0
        annotation = _stripped(get_args(annotation)[index])
    classes = [member for member in _members(annotation) if isinstance(member, type) and issubclass(member, BaseModel)]
    choices = {kind: settings for settings in classes for kind in kinds_of(settings)}
    plain = classes[0] if classes and not choices else None
    return Form(plain, choices=choices, many=many)


def kinds_of(settings: type[BaseModel]) -> tuple[str, ...]:
    """The kinds that a settings class is chosen by; none where it is not one of a choice. A family of things that
    differ in a table of sizes alone has several."""
    kind = settings.model_fields.get("kind")
    return get_args(kind.annotation) if kind and get_origin(kind.annotation) is Literal else ()


def kind_of(settings: BaseModel) -> str | None:
    """The kind of settings, or None where they are not one of a choice."""
    return str(dict(settings)["kind"]) if kinds_of(type(settings)) else None


def stands_alone(settings: type[BaseModel]) -> bool:
    """Whether the kind alone says enough: every field has a default."""
    return not any(field.is_required() for name, field in settings.model_fields.items() if name != "kind")


def expand(data: Any, settings: type[BaseModel]) -> Any:
    """Plain data for a settings class with every short form written out; what does not fit is left to pydantic."""
    if not isinstance(data, Mapping):
        return data
    fields = settings.model_fields
    return {key: _expand_field(value, fields[key]) if key in fields else value for key, value in data.items()}


def _expand_field(value: Any, info: FieldInfo) -> Any:
    form = form_of(info.annotation)
    if not form.many:
        return _expand_one(value, form, _default(info))
    if isinstance(value, Mapping):
        return {key: _expand_one(item, form, None) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_expand_one(item, form, None) for item in value]
    return value


def _expand_one(value: Any, form: Form, default: Any) -> Any:
    if isinstance(value, str) and form.choices:
        value = {"kind": value}
    if not isinstance(value, Mapping):
        return value
    if isinstance(default, BaseModel) and value.get("kind") in (None, kind_of(default)):
        value = {**_given(default), **value}
    settings = form.settings_class(value)
    return expand(value, settings) if settings else value


def _given(default: BaseModel) -> dict[str, Any]:
    """What a default sets beyond its class, and its kind."""
    kind = kind_of(default)
    return {**({"kind": kind} if kind else {}), **default.model_dump(mode="json", exclude_unset=True)}


def default_list(place: Place, data: Mapping[str, Any], settings: type[BaseModel]) -> list[Any] | None:
    """The default of the list field at `place`, as plain data; None where there is no such list."""
    here: type[BaseModel] | None = settings
    value: Any = data
    for key in place[:-1]:
        info = here.model_fields.get(str(key)) if here else None
        value = value.get(key) if isinstance(value, Mapping) else None
        form = form_of(info.annotation) if info else Form()
        here = form.settings_class(value) or (type(_default(info)) if info and form.choices else None)
    info = here.model_fields.get(str(place[-1])) if here and issubclass(here, BaseModel) else None
    default = _default(info) if info else None
    if not isinstance(default, list | tuple):
        return None
    return [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in default]


def place_of(location: Sequence[str | int], settings: type[BaseModel]) -> tuple[Place, type[BaseModel] | None]:
    """Where pydantic's error location lies in the data (without kinds and union members), and the class it was in."""
    parts, place = list(location), []
    here: type[BaseModel] | None = settings
    owner = here
    while parts and here is not None:
        owner = here
        place.append(parts.pop(0))
        info = here.model_fields.get(str(place[-1]))
        form = form_of(info.annotation) if info else Form()
        if form.many and parts:
            place.append(parts.pop(0))
        here = form.choices.get(str(parts.pop(0))) if form.tagged and parts else _only(form)
    return tuple(place), owner


def _only(form: Form) -> type[BaseModel] | None:
    return form.plain or (next(iter(form.choices.values())) if form.choices and not form.tagged else None)


def _default(info: FieldInfo) -> Any:
    """The field's default, or None where it has to be given."""
    return None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})


def _stripped(annotation: Any) -> Any:
    """The type without `Annotated` and without `None`."""
    if get_origin(annotation) is Annotated:
        return _stripped(get_args(annotation)[0])
    members = [member for member in _members(annotation) if member is not NoneType]
    return _stripped(members[0]) if len(members) == 1 and members[0] is not annotation else annotation


def _members(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(inner for member in get_args(annotation) for inner in _members(member))
    return (annotation,)
