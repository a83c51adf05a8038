"""The Config: everything that decides a Run, read from YAML and `key=value` overrides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails

from models.settings import Settings
from pipeline import yaml_file
from pipeline.augment import Operation, check
from pipeline.augment.mixing import check_groups, check_source
from pipeline.compress import CompressSettings, require_parts
from pipeline.data import several_sizes
from pipeline.data.input import InputSettings
from pipeline.data.missing import MissingRegions
from pipeline.data.prepare import DataSettings
from pipeline.diagnosis import DoctorSettings
from pipeline.errors import ConfigError, nearest
from pipeline.evaluate import EvaluateSettings
from pipeline.export import ExportSettings
from pipeline.learners import AnyLearner, Supervised
from pipeline.locations import Location, location, resolved
from pipeline.report import ReportSettings
from pipeline.setting_types import Place, default_list, expand, form_of, place_of
from pipeline.tasks import AnyTask
from pipeline.train import TrainSettings
from pipeline.verify import VerifySettings
from pipeline.yaml_file import Document

AnyConfig = TypeVar("AnyConfig", bound=Settings)


class Config(Settings):
    """Everything that decides a Run. Only `data.source` and `task` have to be given."""

    model_config = ConfigDict(title="Convoy configuration")

    run: Location | None = None
    """The Run folder, or its URL (`gs://BUCKET/RUN`); `--run DIR` goes before it. Empty: `runs/` and the configuration
    file's name."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Decides every random draw: initial weights, order of the examples, augmentation. Same seed, same result."""
    data: DataSettings
    """Where the examples come from and how they are split."""
    doctor: DoctorSettings = DoctorSettings()
    """What `convoy doctor data` takes for a finding."""
    input: InputSettings = InputSettings()
    """How examples are read, cached and shuffled while training."""
    task: AnyTask
    """What is learned, and the network that learns it."""
    augment: tuple[Operation, ...] = ()
    """Random changes of the training pictures, in this order."""
    learner: AnyLearner = Supervised()
    """How the network is trained."""
    train: TrainSettings = TrainSettings()
    """Optimizer, schedule, batch size, length of training, devices."""
    evaluate: EvaluateSettings = EvaluateSettings()
    """How the trained model is scored."""
    compress: CompressSettings = CompressSettings()
    """Which smaller variants are made."""
    export: ExportSettings = ExportSettings()
    """What is written for servers and devices."""
    verify: VerifySettings = VerifySettings()
    """How far an exported file may fall behind the trained model."""
    report: ReportSettings = ReportSettings()
    """What the page about the Run shows."""

    @model_validator(mode="before")
    @classmethod
    def _write_out_short_forms(cls, data: Any) -> Any:
        return expand(data, cls)

    @field_validator("augment")
    @classmethod
    def _operations_fit_together(cls, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
        try:
            check(operations)
        except ConfigError as error:  # as pydantic knows it, so that the message can name the line
            raise _of_pydantic(error, within=1) from error
        return operations

    @model_validator(mode="after")
    def _parts_suit_each_other(self) -> Config:
        try:
            check_groups(self.augment, self.train.batch_size // (self.train.devices.replicas or 1))
            check_source(self.augment, self.data.source.kind, self.data.source.never_holds())
            self.task.require_suited(self.augment)
            require_parts(self.task, self.compress.variants)
            several_sizes.check(self.task, self.input)
            several_sizes.check_learner(self.learner, self.input)
            if self.export.anchored:
                self.task.anchored()
        except ConfigError as error:
            raise _of_pydantic(error) from error
        return self


class DataConfig(Settings):
    """The part of a Config that examining the data needs."""

    run: Location | None = None
    """As in Config."""
    data: DataSettings
    """As in Config."""
    doctor: DoctorSettings = DoctorSettings()
    """As in Config."""

    @model_validator(mode="before")
    @classmethod
    def _write_out_short_forms(cls, data: Any) -> Any:
        return expand(data, cls)


def _of_pydantic(error: ConfigError, within: int = 0) -> ValidationError:
    """An error as a validator raises it, so that the message can name the line of the setting that it is about.

    Args:
        within: how many names of the place are those of the field that is validated.
    """
    detail = InitErrorDetails(type="value_error", loc=error.place[within:], input=None, ctx={"error": error})
    return ValidationError.from_exception_data("Config", [detail])


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a configuration file and applies `key=value` overrides.

    Raises:
        ConfigError: the file or an override cannot be read, or a setting is unknown, missing or wrong; the message
            names file and line.
    """
    return from_document(yaml_file.read(location(path)), overrides)


def located(error: ConfigError, path: Path, overrides: Sequence[str] = ()) -> ConfigError:
    """An error that came up after loading, with file and line (or override) of the setting that it is about."""
    if not error.place:
        return error
    document = yaml_file.read(location(path))
    _override(document, overrides)
    return ConfigError(f"{document.origin(error.place)}: {error}")


def loads(text: str, overrides: Sequence[str] = (), name: str = "configuration") -> Config:
    """`load` from text; `name` stands for the file in messages."""
    return from_document(yaml_file.parse(text, name), overrides)


def load_data(path: Path, overrides: Sequence[str] = ()) -> DataConfig:
    """`load` for what needs no task: where the file has none, only what DataConfig names is read.

    Raises:
        ConfigError: as `load`.
    """
    return data_config(yaml_file.read(location(path)), overrides)


def load_for_anchors(path: Path, overrides: Sequence[str] = ()) -> Config | DataConfig:
    """`load` for fitting anchors, without the detector, which the present anchors may not suit, and without what only a
    training needs; where the file has no task, as `load_data`.

    Raises:
        ConfigError: as `load`.
    """
    document = yaml_file.read(location(path))
    _override(document, overrides)
    if "task" not in document.data:
        return data_config(document)
    for name in Config.model_fields.keys() - DataConfig.model_fields.keys() - {"task"}:
        document.data.pop(name, None)
    if isinstance(document.data["task"], dict):
        document.data["task"].pop("detector", None)
    return _validated(document, Config)


def data_config(document: Document, overrides: Sequence[str] = ()) -> DataConfig:
    """The DataConfig that a document, changed by overrides, describes."""
    _override(document, overrides)
    if "task" in document.data:
        config = _validated(document, Config)
        return DataConfig(run=config.run, data=config.data, doctor=config.doctor)
    for name in Config.model_fields.keys() - DataConfig.model_fields.keys():
        document.data.pop(name, None)
    return _validated(document, DataConfig)


def from_document(document: Document, overrides: Sequence[str] = ()) -> Config:
    """The Config that a document, changed by overrides, describes."""
    _override(document, overrides)
    return _validated(document, Config)


def _override(document: Document, overrides: Sequence[str]) -> None:
    for text in overrides:
        yaml_file.override(document, text, lambda place, data: default_list(place, data, Config))


def _validated(document: Document, kind: type[AnyConfig]) -> AnyConfig:
    try:
        return kind.model_validate(document.data)
    except ValidationError as error:
        raise ConfigError(explain(error, document, kind)) from error
    except ConfigError as error:
        raise ConfigError(f"{document.name}: {error}") from error


def regions_beside(model: Path) -> MissingRegions:
    """What a training did about missing parts of pictures, by the `config.yaml` of a Run or of the export folder that a
    model lies in; nothing where there is none."""
    place = resolved(model)
    for folder in (place, place.parent, place.parent.parent):
        if (folder / "config.yaml").is_file():
            data = yaml_file.read(folder / "config.yaml").data.get("data") or {}
            return MissingRegions.model_validate(expand(data.get("missing_regions") or {}, MissingRegions))
    return MissingRegions()


def dump(config: Config) -> str:
    """The whole configuration as YAML, defaults included; `loads` gives the same Config back."""
    return yaml_file.dump(config.model_dump(mode="json"))


def explain(error: ValidationError, document: Document, kind: type[BaseModel] = Config) -> str:
    """All that is wrong, one line each, with file and line, what was expected, and the nearest valid name."""
    problems: dict[Place, list[str]] = {}
    for detail in error.errors(include_url=False):
        place, owner = place_of(detail["loc"], kind)
        problems.setdefault(place, []).append(_problem(detail, place, owner or kind))
    return "\n".join(f"{document.origin(place)}: {' or '.join(_unique(texts))}" for place, texts in problems.items())


def _problem(detail: ErrorDetails, place: Place, owner: type[BaseModel]) -> str:
    """One of pydantic's errors in our words; `owner` is the class that holds the field."""
    name, group = str(place[-1]) if place else "", ".".join(map(str, place[:-1]))
    given, context = detail["input"], detail.get("ctx", {})
    dotted = f"{group}.{name}" if group else name
    match detail["type"]:
        case "extra_forbidden":
            inside = f" in {group}" if group else ""
            return f"there is no setting {name!r}{inside}. {nearest(name, owner.model_fields)}"
        case "missing":
            return f"{dotted} is missing; it has no default. See `convoy describe {_described(place)}`."
        case "union_tag_invalid":
            return f"{dotted} has no kind {context['tag']!r}. {nearest(str(context['tag']), _kinds(place, owner))}"
        case "union_tag_not_found":
            return f"{dotted} needs a `kind`. Valid: {', '.join(sorted(_kinds(place, owner)))}."
        case "literal_error":
            return f"{dotted} is {given!r}, expected {context['expected']}.{_hint(given, context['expected'])}"
        case "value_error" if isinstance(context["error"], ConfigError):  # which names the setting itself
            return str(context["error"])
        case "value_error" | "assertion_error":
            return f"{dotted}: {context['error']}" if dotted else str(context["error"])
        case "tuple_type":
            return f"{dotted} is {_short(given)}, expected a list."
        case "model_type":
            return (
                f"{dotted} is {_short(given)}, expected settings of its own. See `convoy describe {_described(place)}`."
            )
        case _:
            return f"{dotted} is {_short(given)}: {detail['msg'].replace('Input should', 'it should')}."


def _described(place: Place) -> str:
    return ".".join(str(part) for part in place if not isinstance(part, int))


def _kinds(place: Place, owner: type[BaseModel]) -> Iterable[str]:
    names = [part for part in place if isinstance(part, str)]
    return form_of(owner.model_fields[names[-1]].annotation).choices


def _hint(given: Any, expected: str) -> str:
    hint = nearest(str(given), [word.strip(" '") for word in expected.replace(" or ", ",").split(",")])
    return f" {hint.split('?')[0]}?" if "?" in hint else ""


def _short(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unique(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))
