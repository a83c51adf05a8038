"""MOTChallenge: videos as folders of frames with the tracks of all objects in `gt/gt.txt`, as of MOT15 to MOT20.

    frame, id, left, top, width, height, flag (0: not to be considered), class, visibility

Frames, ids, classes and pixels count from 1. MOT15 has -1 for class and visibility, or places in the world.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from pipeline.data.example import TEST, TRAIN, VALIDATION, RawExample, RawObject
from pipeline.data.mot_sequences import INFO, TRUTH, Row, SequenceFolder, read_truth, sequences_in
from pipeline.data.objects import BadObject, clipped_box
from pipeline.data.sources.base import DataSource, existing_folder, fingerprint_of, text_of
from pipeline.data.sources.boxes import count_of, repeated, require_pictures, unusable_object
from pipeline.errors import DataError, nearest

CROWD = "crowd"
NAMES = (
    *("pedestrian", "person on vehicle", "car", "bicycle", "motorbike", "non motorized vehicle"),
    *("static person", "distractor", "occluder", "occluder on the ground", "occluder full", "reflection", CROWD),
)
"""MOT16's and MOT17's twelve classes, and the thirteenth of MOT20."""
LEAST_NUMBERS = 6
"""Of a line: frame, id and box."""
FLAG, CLASS, VISIBLE, LAST = 6, 7, 8, 9
"""Places of numbers that a line may have besides."""
NOT_KNOWN = -1
LARGEST_ID = 2**31 - 1


class MotChallenge(DataSource):
    """Sequences with the tracks of all objects in them, in MOTChallenge's layout. A sequence is a group: all of its
    frames are in one split."""

    kind: Literal["mot_challenge"] = "mot_challenge"
    """MOTChallenge's sequences, for detection and tracking."""
    path: Path
    """The folder of a sequence (with `img1`, `gt/gt.txt`, `seqinfo.ini`), of several, or a benchmark's with `train` in
    it. Sequences without `gt.txt` are left out."""
    names: tuple[str, ...] = NAMES
    """What the classes 1, 2, ... of `gt.txt` are called; `crowd` stands for many objects in one."""
    classes: tuple[str, ...] = Field(default=("pedestrian",), min_length=1)
    """The classes that are to be found, in index order. Lines that do not know their class are of the first."""
    ignored: tuple[str, ...] | None = None
    """Classes of which finding an object is neither learned nor wrong; left out, all that are not in `classes`. Those
    that are in neither are background. Objects of `classes` with the flag 0 are ignored always."""
    least_visible: float = Field(default=0.0, ge=0.0, le=1.0)
    """Objects of which a smaller share is visible are ignored, where that is known."""
    validation: tuple[str, ...] = ()
    """Sequences for validation, by the names of their folders. With these or `test`, all others are for training,
    unless a folder says otherwise."""
    test: tuple[str, ...] = ()
    """Sequences for the test."""
    without_labels: Literal["background", "leave_out"] = "background"
    """What a frame is that no line speaks of: `background`: one that shows no object; `leave_out`: one that nobody
    labelled."""

    @model_validator(mode="after")
    def _names_are_known(self) -> MotChallenge:
        for setting, given in (("classes", self.classes), ("ignored", self.ignored or ())):
            for name in given:
                if name not in self.names:
                    raise ValueError(f"{setting} holds {name!r}, which is none of `names`. {nearest(name, self.names)}")
        if twice := repeated([*self.classes, *(self.ignored or ())]):
            raise ValueError(f"{twice[0]!r} stands twice in classes and ignored; expected each class once")
        if twice := repeated([*self.validation, *self.test]):
            raise ValueError(f"the sequence {twice[0]!r} stands twice in validation and test; expected it in one split")
        return self

    def check(self) -> None:
        kept = self.sequences()
        if not kept:
            raise DataError(
                f"data.source.path: no folder in {self.path} holds {TRUTH}. Give the folder of MOTChallenge's "
                "sequences, each with img1/ and gt/gt.txt; those of the benchmark's test have none."
            )
        for name in (*self.validation, *self.test):
            if not any(one.is_called(name) for one in kept):
                known = [one.folder.name for one in kept]
                raise DataError(f"data.source: there is no sequence {name!r} in {self.path}. {nearest(name, known)}")
        for one in kept:
            if not one.frames:
                raise DataError(
                    f"{one.images} holds no pictures. Put the frames there, or name their folder as imDir in "
                    f"{one.folder / INFO}."
                )
        require_pictures((file for one in kept for file in one.frames.values()), "path")

    def class_names(self) -> tuple[str, ...] | None:
        return self.classes

    def examples(self) -> Iterator[RawExample]:
        for sequence in self.sequences():
            yield from self._frames(sequence)

    def fingerprint(self) -> str:
        kept = self.sequences()
        return fingerprint_of(file for one in kept for file in (one.folder / INFO, one.truth, *one.frames.values()))

    def warnings(self) -> list[str]:
        """Sequences that are left out, and what of lines and frames does not belong together."""
        every = self._every()
        kept = self._once(every)
        without = [one.place for one in every if not one.truth.is_file()]
        copies = [one.place for one in every if one.truth.is_file() and one not in kept]
        return [
            *count_of(
                without,
                f"sequence was passed over, since it has no {TRUTH}",
                f"sequences were passed over, since they have no {TRUTH}",
            ),
            *count_of(
                copies,
                "sequence was passed over, since it is another again, with other detections",
                "sequences were passed over, since they are others again, with other detections",
            ),
            *_of_lines(kept, "taken for background" if self.without_labels == "background" else "left out"),
            *(warning for one in kept for warning in _of_info(one)),
        ]

    def sequences(self) -> list[SequenceFolder]:
        """Those that have tracks, each once."""
        return self._once(self._every())

    def _every(self) -> list[SequenceFolder]:
        return sequences_in(existing_folder(self.path, "data.source.path"))

    @staticmethod
    def _once(every: Sequence[SequenceFolder]) -> list[SequenceFolder]:
        """MOT17 has each sequence once for each of three detectors: in two splits, they would be known already."""
        first = {one.footage: one for one in reversed(every) if one.truth.is_file()}
        return [one for one in every if first.get(one.footage) is one]

    def _split(self, sequence: SequenceFolder) -> str | None:
        for split, names in ((VALIDATION, self.validation), (TEST, self.test)):
            if any(map(sequence.is_called, names)):
                return split
        return sequence.split or (TRAIN if self.validation or self.test else None)

    def _frames(self, sequence: SequenceFolder) -> Iterator[RawExample]:
        split, truth = self._split(sequence), read_truth(sequence.truth)
        name = f"{split}/{sequence.place}" if split else sequence.place
        for number, file in sequence.frames.items():
            rows = truth.rows.get(number, [])
            left_out = not rows and self.without_labels == "leave_out"
            yield RawExample(
                id=f"{name}/{text_of(file.name)}",
                image=file,
                split=split,
                group=f"{name}/",
                objects=self._objects(rows, sequence),
                where=text_of(str(file)),
                unusable=f"no line of {sequence.truth} speaks of it" if left_out else "",
            )

    def _objects(self, rows: Sequence[Row], sequence: SequenceFolder) -> list[RawObject]:
        seen: set[float] = set()
        file = text_of(str(sequence.truth))
        found = (self._object(row, f"{file}:{row.number}", seen) for row in rows)
        return [_within(one, sequence.size) for one in found if one is not None]

    def _object(self, row: Row, where: str, seen: set[float]) -> RawObject | None:
        """What a line says; None where it is of the background.

        Args:
            seen: ids of the frame so far, to which its own is added.
        """
        values = row.values
        if why := self._why_unusable(row, values, seen):
            return unusable_object(where, why)
        seen.add(values[1])
        name, visible = self._name(values), _visible(values)
        flag = values[FLAG] if len(values) > FLAG else 1.0
        seen_enough = visible is None or visible >= self.least_visible
        asked = name in self.classes and flag != 0 and seen_enough
        if name not in self.classes and self.ignored is not None and name not in self.ignored:
            return None
        return RawObject(
            label=name if name in self.classes else self.classes[0],
            box=_edges(values),
            where=where,
            difficult=not asked and name != CROWD,
            crowd=not asked and name == CROWD,
            visible=visible,
            track=int(values[1]),
        )

    def _why_unusable(self, row: Row, values: Sequence[float], seen: set[float]) -> str:
        """What is wrong with a line; empty where nothing is."""
        if len(values) < LEAST_NUMBERS:
            return f"expected numbers `frame, id, left, top, width, height, ...`, found {row.text.strip()[:80]!r}"
        identity, number = values[1], _class_number(values)
        if not identity.is_integer() or not 1 <= identity <= LARGEST_ID:
            return f"expected an id from 1 to {LARGEST_ID}, found {identity:g}"
        if identity in seen:
            return f"the id {identity:g} stands in this frame before"
        if number != NOT_KNOWN and (not number.is_integer() or not 1 <= number <= len(self.names)):
            return f"its class {number:g} has no name: data.source.names gives {len(self.names)}"
        return ""

    def _name(self, values: Sequence[float]) -> str:
        number = int(_class_number(values))
        return self.classes[0] if number == NOT_KNOWN else self.names[number - 1]


def _in_world(values: Sequence[float]) -> bool:
    """Whether a line ends with a place in the world, as MOT15's may, in place of class and visibility."""
    return len(values) > LAST and values[LAST] != NOT_KNOWN


def _class_number(values: Sequence[float]) -> float:
    return float(NOT_KNOWN) if len(values) <= CLASS or _in_world(values) else values[CLASS]


def _visible(values: Sequence[float]) -> float | None:
    """The visible share, or None where it is not known."""
    if len(values) <= VISIBLE or _in_world(values) or not 0 <= values[VISIBLE] <= 1:
        return None
    return values[VISIBLE]


def _edges(values: Sequence[float]) -> tuple[float, float, float, float]:
    """The first pixel is at 1, 1."""
    left, top = values[2] - 1, values[3] - 1
    return left, top, left + values[4], top + values[5]


def _within(one: RawObject, size: tuple[int, int] | None) -> RawObject:
    """The part of an object that is in the picture, as pairs of crops need it; unusable where there is none."""
    if one.box is None or size is None:
        return one
    try:
        return replace(one, box=clipped_box(one.box, *size))
    except BadObject as error:
        return replace(one, unusable=str(error))


# ----------------------------------------------------------------------------------------------------- what is odd


def _of_lines(sequences: Sequence[SequenceFolder], taken: str) -> list[str]:
    """Lines that belong to no frame, and frames that no line or no number belongs to."""
    nowhere, homeless, bare, doubled = list[str](), list[str](), list[str](), list[str]()
    for one in sequences:
        truth, file = read_truth(one.truth), text_of(str(one.truth))
        nowhere += [f"{file}:{number}" for number in truth.nowhere]
        homeless += [
            f"{file}:{row.number}" for frame, rows in truth.rows.items() if frame not in one.frames for row in rows
        ]
        bare += [text_of(str(picture)) for frame, picture in one.frames.items() if frame not in truth.rows]
        doubled += [text_of(str(picture)) for picture in one.others]
    return [
        *count_of(
            nowhere,
            "line was passed over, since it does not begin with the number of a frame",
            "lines were passed over, since they do not begin with the number of a frame",
        ),
        *count_of(
            homeless,
            "line was passed over, since no picture has the number of its frame",
            "lines were passed over, since no picture has the number of their frame",
        ),
        *count_of(bare, f"frame without a line in gt.txt was {taken}", f"frames without a line in gt.txt were {taken}"),
        *count_of(
            doubled,
            "picture was passed over, since another has its number",
            "pictures were passed over, since others have their number",
        ),
    ]


def _of_info(sequence: SequenceFolder) -> list[str]:
    """Where pictures are not what `seqinfo.ini` says: too few, or of another size than the boxes are of."""
    file, frames = sequence.folder / INFO, sequence.frames
    length, declared, size = sequence.number("seqlength"), sequence.declared_size, sequence.size
    found = []
    if length is not None and length != len(frames):
        found.append(f"{file} says that there are {length} frames, but there are {len(frames)}.")
    if declared and size and declared != size:
        found.append(
            f"{file} says that pictures are {declared[0]} x {declared[1]} pixels, but they are {size[0]} x {size[1]}: "
            "boxes are in pixels, so look whether they are where the objects are."
        )
    return found
