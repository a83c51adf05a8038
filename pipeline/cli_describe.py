"""The verbs that explain: what settings mean, what backbones cost, what editors need to know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipeline.command import verb
from pipeline.console import terminal
from pipeline.errors import ConfigError
from pipeline.opening import configuration, located_errors


@verb
def describe(
    setting: Annotated[
        str,
        typer.Argument(
            metavar="[SETTING]", help="Such as train, task.backbone, augment.rotation; or models, for all backbones."
        ),
    ] = "",
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="With --config: settings that go before the file's."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print every setting as a Markdown page.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="CONFIG", help="With `augment`: how the operations of this file are carried out."
        ),
    ] = None,
) -> None:
    """Explain settings: what they take, their defaults, what they mean; or compare the backbones."""
    from pipeline import describe as settings
    from pipeline.config import Config

    if config is not None:
        _describe_plan(setting, config, overrides or [])
        return
    if overrides:
        raise ConfigError(
            f"Got {' '.join(overrides)} behind {setting!r}, expected one SETTING; KEY=VALUE goes with --config CONFIG."
        )
    if setting == "models":
        _describe_models(markdown)
        return
    if markdown:
        text = settings.as_markdown(Config)
        terminal.answer({"markdown": text}, text.rstrip("\n"))
        return
    topic = settings.describe(setting, Config)
    terminal.answer(settings.as_document(topic), settings.as_tables(topic))


def _describe_models(markdown: bool) -> None:
    from pipeline import describe_models as models

    if markdown:
        text = models.as_markdown()
        terminal.answer({"markdown": text}, text.rstrip("\n"))
        return
    terminal.answer(models.as_document(), models.as_table())


def _describe_plan(setting: str, source: Path, overrides: Sequence[str]) -> None:
    from pipeline import describe as settings

    if setting != "augment":
        raise ConfigError("--config shows the plan of `augment`: convoy describe augment --config CONFIG.")
    with located_errors(source, overrides):
        steps = settings.plan_of(configuration(source, overrides, None)[0])
    view = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1)) or "no augmentation"
    terminal.answer({"steps": [{"operations": step.operations, "what": step.what} for step in steps]}, view)


@verb
def schema() -> None:
    """Print the JSON schema of a configuration file, for editors."""
    from pipeline.config import Config
    from pipeline.schema import json_schema

    terminal.configure(terminal.level, as_json=True)
    terminal.answer(json_schema(Config), "")
