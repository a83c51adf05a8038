"""What `convoy init` does: look at a folder, recognise the format, count, and say what is odd about it."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pipeline.data.example import SPLITS, RawExample, RawObject
from pipeline.data.sources import SOURCES, ClassFolders, DataSource, FollowedSequences, Idx, MotChallenge
from pipeline.data.sources.base import existing_folder, files_below, is_picture, natural_order, shortened
from pipeline.data.sources.idx import PICTURES_FILE
from pipeline.data.sources.recognise import candidates
from pipeline.errors import DataError
from pipeline.inspect_table import TABLE_SUFFIXES, guess_table
from pipeline.wording import quantity

PICTURES_OPENED = 200
FEW = 5
"""Fewer pictures or objects of a class than this are worth a word."""
TASKS = {"objects": "detection", "label": "classification", "labels": "multi_label", "value": "regression"}
"""What an example holds -> the task that learns it; the first counts."""
TASK_OF_SOURCE = {"followed_sequences": "single_object_tracking"}
"""Where it is not what the examples hold that decides."""
FORMATS = {
    "folders": "class folders",
    "table": "a table",
    "idx": "idx files",
    "pascal_voc": "Pascal VOC's XML files",
    "coco": "COCO's JSON",
    "yolo": "YOLO's text files",
    "csv_boxes": "a CSV of boxes",
    "mot_challenge": "MOTChallenge's sequences",
    "followed_sequences": "sequences in which one object is followed",
}
OTHER_TASKS = {"images", "masks", "labels", "annotations", "imagesets", "jpegimages", "groundtruth"}
"""Folder names that speak of detection or segmentation, not of classes; compared without case."""


@dataclass
class Survey:
    """What going through the examples once has shown.

    Args:
        splits: split the source gives (None where it gives none) -> count.
        labels: class name -> count of pictures, over `label` and `labels`, or of `objects`.
        fields: names of the label fields seen.
        groups: what the examples belong to.
        sizes: (height, width) of the pictures that were opened.
        grey: how many of those were grey.
        unreadable: where the pictures lie that could not be opened.
    """

    splits: Counter[str | None] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    fields: set[str] = field(default_factory=set)
    groups: set[str] = field(default_factory=set)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    grey: int = 0
    unreadable: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """All examples."""
        return sum(self.splits.values())

    @property
    def counted(self) -> str:
        """What `labels` counts."""
        return "objects" if "objects" in self.fields else "pictures"

    @property
    def size(self) -> tuple[int, int]:
        """Median (height, width) in pixels."""
        return int(median(height for height, _ in self.sizes)), int(median(width for _, width in self.sizes))

    @property
    def channels(self) -> int:
        """1 where all pictures that were opened are grey, else 3."""
        return 1 if self.grey == len(self.sizes) else 3


@dataclass(frozen=True)
class Found:
    """What was recognised in a folder.

    Args:
        path: as the user gave it.
        source: how Convoy reads it.
        task: the kind of task that fits.
        survey: counts and sizes.
        alternatives: other ways to read it, each a YAML line for `data.source` and what it would mean.
        problems: what the user should look at; none of it keeps the configuration from running.
    """

    path: Path
    source: DataSource
    task: str
    survey: Survey
    alternatives: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "source": self.source.model_dump(mode="json", exclude_defaults=True) | {"kind": source_kind(self.source)},
            "task": self.task,
            "examples": self.survey.count,
            "splits": {split or "": count for split, count in self.survey.splits.items()},
            "counted": self.survey.counted,
            "classes": dict(self.survey.labels),
            "picture_size": list(self.survey.size),
            "problems": list(self.problems),
        }

    def as_text(self) -> str:
        """A few lines for people."""
        return "\n".join([*self.facts(), *(f"Look at this: {problem}" for problem in self.problems)])

    def facts(self) -> list[str]:
        """What was found, a sentence each."""
        return [_counts(self.path, self.source, self.survey), *_labels(self.survey), _sizes(self.survey)]


def inspect(path: Path) -> Found:
    """Recognises what is in a folder (or a table) and goes through it once; opens a sample of the pictures.

    Raises:
        DataError: nothing there can be learned from; the message says what would be needed.
    """
    source, alternatives, reasons = _recognise(path)
    survey = _survey(source.examples())
    if not survey.sizes:
        raise DataError(f"{path}: none of the pictures can be opened, such as {shortened(survey.unreadable, 2)}.")
    problems = (*_problems(survey), *_absent(survey, source), *_shared(survey, source), *source.warnings(), *reasons)
    task = TASK_OF_SOURCE.get(source_kind(source)) or _task(survey, path)
    return Found(path, source, task, survey, tuple(alternatives), problems)


def source_kind(source: DataSource) -> str:
    """The source's kind, as in the YAML."""
    return str(source.model_dump()["kind"])


def _recognise(path: Path) -> tuple[DataSource, list[tuple[str, str]], list[str]]:
    """How to read it, other ways, and why it is not data with boxes where something there looks like that."""
    place = path if path.is_file() else _without_wrapping(existing_folder(path, "FOLDER"))
    reasons = list[str]()
    for settings in (*candidates(place), *_followed(place)):
        source = SOURCES[settings["kind"]].model_validate(settings)
        try:
            _require_objects(source)
            return source, [], []
        except DataError as error:
            reasons.append(f"not read as {FORMATS[settings['kind']]}: {error}")
    try:
        whole, alternatives = _of_file(place) if place.is_file() else _of_folder(place)
        whole.check()
        return whole, alternatives, reasons
    except DataError as error:
        raise DataError("\n".join([str(error), *reasons])) from error


def _followed(place: Path) -> Iterator[dict[str, Any]]:
    """As which source a folder is to be read in which one object is followed through videos."""
    if place.is_dir() and FollowedSequences(path=place).sequences():
        yield {"kind": "followed_sequences", "path": place}


def _require_objects(source: DataSource) -> None:
    """Raises DataError where no picture has an object: other data has XML, JSON or YAML beside it too."""
    source.check()
    for example in source.examples():
        there = not isinstance(example.image, Path) or example.image.is_file()
        if there and any(map(_is_usable, example.objects or ())):
            return
    raise DataError("none of the pictures that are there has an object that can be used.")


def _is_usable(one: RawObject) -> bool:
    return not one.unusable and (one.box is None or (one.box[0] < one.box[2] and one.box[1] < one.box[3]))


def _of_file(file: Path) -> tuple[DataSource, list[tuple[str, str]]]:
    if file.suffix.lower() in TABLE_SUFFIXES:
        return _table([file], file)
    return _class_folders(existing_folder(file, "FOLDER")), []


def _of_folder(folder: Path) -> tuple[DataSource, list[tuple[str, str]]]:
    entries = sorted(folder.iterdir())
    if any(PICTURES_FILE.fullmatch(entry.name) for entry in entries):
        return Idx(path=folder), []
    tables = [entry for entry in entries if entry.suffix.lower() in TABLE_SUFFIXES]
    if tables:
        return _table(tables, folder)
    return _class_folders(folder), []


def _without_wrapping(folder: Path) -> Path:
    """Goes down through folders that hold nothing but one folder, as unpacked archives often do."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    if len(entries) == 1 and entries[0].is_dir() and any(inner.is_dir() for inner in entries[0].iterdir()):
        return _without_wrapping(entries[0])
    return folder


def _table(files: list[Path], where: Path) -> tuple[DataSource, list[tuple[str, str]]]:
    reasons = []
    for file in files:
        try:
            return guess_table(file)
        except DataError as error:
            reasons.append(str(error))
    if where.is_dir() and any(is_picture(file) for file in files_below(where) if file.parent != where):
        return _class_folders(where), []
    raise DataError("\n".join(reasons))


def _class_folders(folder: Path) -> ClassFolders:
    pictures = [file for file in files_below(folder) if is_picture(file)]
    if not pictures:
        raise DataError(
            f"{folder} holds nothing that Convoy can read: no pictures, no idx files, no CSV or Parquet table. "
            "Expected one folder per class with pictures in it, a table of pictures and labels, MNIST's files, or "
            "pictures with boxes (Pascal VOC, COCO, YOLO, CSV, MOTChallenge)."
        )
    if all(file.parent == folder for file in pictures):
        raise DataError(
            f"{folder} holds {quantity(len(pictures), 'picture')}, but nothing says what is to be seen. "
            "Put them into one folder per class, or add a CSV with a column of file names and a column of labels, or "
            "boxes as Pascal VOC, COCO or YOLO."
        )
    source = ClassFolders(path=folder)
    if len(source.class_names()) < 2:
        raise DataError(
            f"{folder} holds one folder with pictures only ({', '.join(source.class_names())}), and a classifier needs "
            "at least two classes. Expected one folder per class."
        )
    return source


def _survey(examples: Iterator[RawExample]) -> Survey:
    survey, draw = Survey(), random.Random(0)
    sample: list[RawExample] = []
    for number, example in enumerate(examples):
        survey.splits[example.split] += 1
        survey.groups.add(example.group)
        _count_labels(survey, example)
        place = number if number < PICTURES_OPENED else draw.randrange(number + 1)
        if place < PICTURES_OPENED:  # reservoir sampling: each picture has the same chance, whatever their number
            sample[place : place + 1] = [example]
    for example in sample:
        _open(survey, example)
    return survey


def _count_labels(survey: Survey, example: RawExample) -> None:
    survey.fields.update(name for name in TASKS if getattr(example, name) is not None)
    if example.label is not None:
        survey.labels[example.label] += 1
    survey.labels.update(example.labels or ())
    survey.labels.update(one.label for one in example.objects or () if _is_usable(one))


def _open(survey: Survey, example: RawExample) -> None:
    """Reads a picture's header."""
    from PIL import Image

    if isinstance(example.image, np.ndarray):
        survey.sizes.append((example.image.shape[0], example.image.shape[1]))
        survey.grey += example.image.ndim == 2
        return
    try:
        with Image.open(example.image if isinstance(example.image, Path) else io.BytesIO(example.image)) as picture:
            survey.sizes.append((picture.height, picture.width))
            survey.grey += picture.mode in ("1", "L", "LA", "I", "I;16")
    except Exception:  # Pillow's plug-ins raise whatever their parsers meet; `prepare` will say what
        survey.unreadable.append(example.where or example.id)


def _task(survey: Survey, path: Path) -> str:
    for name, task in TASKS.items():
        if name in survey.fields:
            return task
    raise DataError(f"{path}: nothing says what is on the pictures. Add a column with a label or a number.")


def _problems(survey: Survey) -> Iterator[str]:
    if survey.unreadable:
        opened = len(survey.unreadable) + len(survey.sizes)
        of_all = f"{len(survey.unreadable)} of {quantity(opened, 'picture')}"
        yield f"{of_all} cannot be opened: {shortened(survey.unreadable, 3)}."
    rare = [name for name, count in survey.labels.items() if count < FEW]
    if rare:
        have = quantity(len(rare), "class has", "classes have")
        yield f"{have} fewer than {FEW} {survey.counted}: {shortened(sorted(rare))}."
    if survey.labels and max(survey.labels.values()) > 10 * min(survey.labels.values()):
        figures = {"pictures": "macro_f1 beside accuracy", "objects": "the figures of each class beside map"}
        yield f"the classes are very unequal in size: look at {figures[survey.counted]}."
    others = [name for name in survey.labels if name.lower() in OTHER_TASKS]
    if others and survey.counted == "pictures":
        yield f"folders called {', '.join(others)} look like detection or segmentation data, not like classes."
    if survey.labels and survey.count < 10 * len(survey.labels):
        pictures = quantity(survey.count, "picture is", "pictures are")
        yield f"{pictures} few for {quantity(len(survey.labels), 'class', 'classes')}."


def _absent(survey: Survey, source: DataSource) -> list[str]:
    """Classes that the data names and that no picture shows."""
    absent = [name for name in source.class_names() or () if survey.labels and name not in survey.labels]
    return (
        [f"{quantity(len(absent), 'class has', 'classes have')} no {survey.counted}: {shortened(absent)}."]
        if absent
        else []
    )


def _shared(survey: Survey, source: DataSource) -> list[str]:
    """Videos that are too few for figures of others than those that were learned from."""
    videos = isinstance(source, FollowedSequences | MotChallenge)
    if not videos or set(survey.splits) != {None} or len(survey.groups) >= len(SPLITS):
        return []
    return [
        f"the data has only {quantity(len(survey.groups), 'video')}, and training, validation and test take at least "
        "one each, since none is drawn into two of them. Add videos."
    ]


def _counts(path: Path, source: DataSource, survey: Survey) -> str:
    splits = ", ".join(f"{split or 'no split'} {count:,}" for split, count in survey.splits.items())
    return f"{path}: {quantity(survey.count, 'picture')} in {FORMATS[source_kind(source)]} ({splits})."


def _labels(survey: Survey) -> list[str]:
    if not survey.labels:
        return []
    ranked = sorted(survey.labels.items(), key=lambda item: (-item[1], natural_order(item[0])))
    names = [f"{name} ({count:,})" for name, count in ranked]
    objects = f"{quantity(sum(survey.labels.values()), 'object')} of " if survey.counted == "objects" else ""
    return [f"{objects}{quantity(len(names), 'class', 'classes')}: {shortened(names, 12)}."]


def _sizes(survey: Survey) -> str:
    heights, widths = zip(*survey.sizes, strict=True)
    colour = "grey" if survey.grey == len(survey.sizes) else "grey and colour" if survey.grey else "colour"
    if len(set(survey.sizes)) == 1:
        return f"All {heights[0]} pixels high and {widths[0]} wide, {colour}."
    return f"{min(heights)} to {max(heights)} pixels high, {min(widths)} to {max(widths)} wide, {colour}."
