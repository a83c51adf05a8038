"""The verbs about data with boxes: convert it, fit anchors to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipeline import console
from pipeline.cli_options import Overrides, RunFolder
from pipeline.command import verb
from pipeline.console import terminal
from pipeline.errors import ConfigError
from pipeline.opening import config_file, location, run_folder_of
from pipeline.wording import quantity

if TYPE_CHECKING:
    from models.preprocess import PictureFormat
    from pipeline.config import Config, DataConfig
    from pipeline.data.anchors import Anchors
    from pipeline.data.convert import Converted
    from pipeline.data.sources import DataSource

Kind = Literal["pascal_voc", "coco", "yolo", "csv_boxes"]
Given = Literal["pascal_voc", "coco", "yolo", "csv_boxes", "mot_challenge"]
CONFIG_SUFFIXES = (".yaml", ".yml")
ANCHORS_A_LEVEL, USUAL_LEVELS = 3, 3
SHOWN = 10
"""Of what was left out, in the terminal; --json has all."""


@verb
def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="FROM", help="A folder or file with boxes, or a configuration with a `data.source`."),
    ],
    target: Annotated[Path, typer.Argument(metavar="TO", help="A folder that is not there yet.")],
    to: Annotated[Kind, typer.Option("--to", help="The format to write.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Settings of the source, such as first_pixel=1; of a configuration, as always."
        ),
    ] = None,
    given: Annotated[Given | None, typer.Option("--from", help="The format of FROM; recognised by default.")] = None,
    pictures: Annotated[
        Literal["copy", "link"], typer.Option("--pictures", help="Copy the pictures' files, or link to them.")
    ] = "copy",
    outlines: Annotated[
        bool, typer.Option("--outlines", help="In YOLO: write outlines instead of boxes, where there are any.")
    ] = False,
) -> None:
    """Write data with boxes in another format: Pascal VOC, COCO, YOLO, CSV."""
    from pipeline.data import convert as conversion

    _refuse_outlines(outlines, to)
    reader = _source(source, given, overrides or [])
    with console.progress("convert") as progress:
        result = conversion.convert(reader, to, target, pictures=pictures, outlines=outlines, progress=progress)
    for sentence in [*reader.warnings(), *conversion.lost_in_words(sorted(result.lost.items()), to)]:
        console.warn(sentence)
    for where, reason in result.left_out[:SHOWN]:
        console.warn(f"left out: {where}: {reason}")
    terminal.answer(_converted(result, target), _as_text(result, target))


def _refuse_outlines(outlines: bool, to: Kind) -> None:
    """Raises ConfigError where the choice between boxes and outlines is made for a format that gives none."""
    if outlines and to != "yolo":
        raise ConfigError(
            f"--outlines says what YOLO's files are to hold, but --to is {to}. Leave it out (coco holds outlines "
            "beside its boxes, the others none), or give --to yolo."
        )


def _source(path: Path, given: Given | None, overrides: Sequence[str]) -> DataSource:
    """What FROM stands for: the source of a configuration, or a folder or file in a format with boxes."""
    from pipeline import yaml_file
    from pipeline.config import data_config, load_data
    from pipeline.data.sources.recognise import recognised
    from pipeline.yaml_file import Document

    if given is None and path.is_file() and path.suffix.lower() in CONFIG_SUFFIXES:
        document = yaml_file.read(path)
        if "data" in document.data:
            return load_data(path, overrides).data.source
    found = {"kind": given, "path": str(path)} if given else recognised(path)
    document = Document({"data": {"source": found}}, str(path))
    return data_config(document, [f"data.source.{one}" for one in overrides]).data.source


def _converted(result: Converted, target: Path) -> dict[str, Any]:
    return {
        "folder": str(target),
        "source": dict(result.source),
        "pictures": result.pictures,
        "objects": result.objects,
        "clipped": result.clipped,
        "lost": dict(result.lost),
        "left_out": [{"where": where, "reason": reason} for where, reason in result.left_out],
    }


def _as_text(result: Converted, target: Path) -> str:
    from pipeline.yaml_file import dump_inline

    facts = [f"{target}: {quantity(result.pictures, 'picture')} with {quantity(result.objects, 'object')}"]
    if result.clipped:
        facts.append(
            quantity(
                result.clipped,
                "box reached out of its picture and was cut at its edge",
                "boxes reached out of their picture and were cut at its edge",
            )
        )
    if result.left_out:
        facts.append(
            quantity(
                len(result.left_out),
                "picture or object was left out",
                "pictures and objects were left out (all of them with --json)",
            )
        )
    return "\n".join([*facts, f"data: {{source: {dump_inline(dict(result.source))}}}"])


@verb
def anchors(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG", parser=location, help="A YAML file (a task is not needed), or a Run."),
    ],
    overrides: Overrides = None,
    run: RunFolder = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count", min=1, max=100, help="Anchors to fit; by default 3 for each of `task.strides`, 9 without a task."
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="WIDTHxHEIGHT", help="The model's picture; by default `task.picture`."),
    ] = None,
) -> None:
    """Fit anchors to the training boxes (k-means), and say how much of them they reach; prepares first if needed."""
    from pipeline.config import load_for_anchors
    from pipeline.data.anchors import fit_anchors, training_shapes
    from pipeline.data.prepare import prepare

    given = load_for_anchors(config_file(config), overrides or [])
    format = _picture(given, size)
    with console.progress("prepare") as progress:
        store = prepare(given.data, _stores(given, config, run), progress)
    fitted = fit_anchors(training_shapes(store, format), count or usual_count(given))
    document = {"width": format.width, "height": format.height, **fitted.as_document()}
    terminal.answer(document, _anchor_table(fitted, format))


def usual_count(config: Config | DataConfig) -> int:
    """As many anchors as a detector can take: the same number for each level."""
    from pipeline.config import Config
    from pipeline.tasks import Detection

    if isinstance(config, Config) and isinstance(config.task, Detection):
        return ANCHORS_A_LEVEL * len(config.task.strides)
    return ANCHORS_A_LEVEL * USUAL_LEVELS


def _stores(config: Config | DataConfig, source: Path, run: Path | None) -> Path:
    """Where `prepare` keeps its stores."""
    return run_folder_of(config.run, source, run).parent / "store"


def _picture(config: Config | DataConfig, size: str | None) -> PictureFormat:
    """The model's picture: by --size, else by the configuration's task."""
    from models.preprocess import PictureFormat
    from pipeline.config import Config

    if size is not None:
        width, _, height = size.lower().partition("x")
        if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            raise ConfigError(f"--size is {size!r}, expected WIDTHxHEIGHT in pixels, such as 320x256.")
        return PictureFormat(width=int(width), height=int(height))
    if not isinstance(config, Config):
        raise ConfigError(
            "The configuration has no task, so the size of the model's picture is not known. Give --size."
        )
    return config.task.picture


def _anchor_table(fitted: Anchors, format: PictureFormat) -> Any:
    from rich.console import Group
    from rich.table import Table

    table = Table("width", "height", "boxes", box=None)
    for (width, height), share in zip(fitted.shapes.tolist(), fitted.shares.tolist(), strict=True):
        table.add_row(f"{width:.1f}", f"{height:.1f}", f"{share:.1%}")
    recall = ", ".join(f"{share:.1%} at {least}" for least, share in fitted.as_document()["recall"].items())
    boxes = quantity(len(fitted.ious), "training box", "training boxes")
    return Group(
        f"{quantity(len(fitted.shapes), 'anchor')} for {boxes} in pictures of {format.width} x {format.height} pixels",
        table,
        f"mean IoU {fitted.mean_iou:.3f}; boxes reached with an IoU of at least: {recall}",
        "\nFor a detector with anchors, such as retinanet or ssd:\n",
        _anchor_settings(fitted),
    )


def _anchor_settings(fitted: Anchors) -> str:
    """The YAML for them, in lines so short that no terminal breaks them."""
    lines = ["task:", "  detector:", "    anchors:", "      kind: fitted", "      pixels:"]
    return "\n".join([*lines, *(f"        - {pair}" for pair in fitted.as_document()["anchors"])])
