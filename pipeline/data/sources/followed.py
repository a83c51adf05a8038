"""Sequences in which one object is followed: folders of frames with a file of boxes, as of VOT, OTB, LaSOT, GOT-10k."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.data import followed_boxes
from pipeline.data.example import RawExample, RawObject
from pipeline.data.sources.base import (
    DataSource,
    existing_folder,
    files_below,
    fingerprint_of,
    is_picture,
    natural_order,
    split_named,
    text_of,
)
from pipeline.errors import DataError
from pipeline.wording import quantity

FRAME_FOLDERS = ("", "img", "img1", "color")
"""Where the frames may lie, from the file of boxes."""
OBJECT = "object"
"""The one class: what is followed may be anything."""


class FollowedSequences(DataSource):
    """Videos as folders of frames, each with one box a frame."""

    kind: Literal["followed_sequences"] = "followed_sequences"
    """Videos as folders of frames, each with one box a frame."""
    path: Path
    """The folder of a sequence, or one with such folders in it, at any depth. A sequence is where a `groundtruth.txt`
    (or `groundtruth_rect.txt`) lies: `left,top,width,height` or four corners a line, one for each frame. Folders named
    `train`, `validation` and `test` at the top are the splits."""

    def check(self) -> None:
        if not self.sequences():
            raise DataError(
                f"data.source.path: there is no {' or '.join(followed_boxes.FILE_NAMES)} in {self.path} or below. Give "
                "the folder of sequences, each with its file of boxes beside its frames."
            )

    def class_names(self) -> tuple[str, ...] | None:
        return (OBJECT,)

    def examples(self) -> Iterator[RawExample]:
        root = existing_folder(self.path, "data.source.path")
        for file in self.sequences():
            yield from _sequence(root, file)

    def fingerprint(self) -> str:
        files = [one for file in self.sequences() for one in (file, *frames_of(file))]
        return fingerprint_of(files, self.model_dump_json())

    def warnings(self) -> list[str]:
        """Sequences of which boxes or frames are left over."""
        found = ((file, len(frames_of(file)), len(followed_boxes.read(file))) for file in self.sequences())
        return [
            f"{file} has boxes for {quantity(boxes, 'frame')}, but there are {frames}: the rest is passed over."
            for file, frames, boxes in found
            if frames != boxes
        ]

    def sequences(self) -> list[Path]:
        """The file of boxes of each."""
        root = existing_folder(self.path, "data.source.path")
        return [file for file in files_below(root) if file.name in followed_boxes.FILE_NAMES]


def frames_of(file: Path) -> list[Path]:
    """The frames that a file of boxes speaks of, in the order of the numbers in their names."""
    folders = [file.parent / name for name in FRAME_FOLDERS]
    found = ([one for one in folder.iterdir() if is_picture(one)] for folder in folders if folder.is_dir())
    frames = next((pictures for pictures in found if pictures), [])
    return sorted(frames, key=lambda frame: natural_order(frame.name))


def _sequence(root: Path, file: Path) -> Iterator[RawExample]:
    """The frames with their boxes, as far as there are both."""
    boxes, frames = followed_boxes.read(file), frames_of(file)
    if not frames:
        raise DataError(f"No frames lie beside {file}, nor in {', '.join(filter(None, FRAME_FOLDERS))} there.")
    name = text_of(file.parent.relative_to(root).as_posix())
    prefix = f"{file.parent.name if name == '.' else name}/"
    for number, (frame, box) in enumerate(zip(frames, boxes, strict=False), 1):
        yield RawExample(
            id=prefix + text_of(frame.name),
            image=frame,
            split=split_named(name.partition("/")[0]),
            group=prefix,
            objects=_objects(box),
            where=f"{file}:{number}",
        )


def _objects(box: np.ndarray) -> list[RawObject]:
    if np.isnan(box).any():
        return []
    x_min, y_min, x_max, y_max = box.tolist()
    return [RawObject(label=OBJECT, box=(x_min, y_min, x_max, y_max), track=1)]
