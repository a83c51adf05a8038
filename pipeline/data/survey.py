"""The first pass over a source: what is there, before any picture is decoded or anything is written."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.data.example import ID, IMAGE, MASK, SPLITS, TEST, TEXT, TRAIN, VALIDATION, MadePicture, RawExample
from pipeline.data.imputation import MissingColumns
from pipeline.data.number_target import Numbers
from pipeline.data.object_target import Objects, Regions
from pipeline.data.side_columns import SideColumns
from pipeline.data.sources import DataSource
from pipeline.data.sources.base import shortened
from pipeline.data.splits import UNNAMED, Splits, assign, key_of, read_split_file, unit_of
from pipeline.data.targets import AnyClasses, MissingClasses, MissingLabels, NoTarget, OneClass, Target
from pipeline.errors import DataError
from pipeline.wording import quantity

Progress = Callable[[int, int | None], None]
"""Called with how many examples are done, and of how many where that is known."""


@dataclass(frozen=True)
class Survey:
    """What is known of n examples, in the source's order; some 40 bytes each, whatever the size of their pictures.

    Args:
        keys: uint64 [n], hashes of the ids.
        units: uint64 [n], the same number for what is drawn into a split as a whole.
        given: int8 [n], place in SPLITS of the split that the source gives, else UNNAMED.
        sizes: int64 [n], bytes of the pictures as they come.
        strata: int64 [n], which examples are alike.
        target: what is learned.
        side: what goes into the model beside the picture.
        has_text: whether any example has text.
        without_text: how many of them have none.
        has_mask: whether any example has a mask.
    """

    keys: np.ndarray
    units: np.ndarray
    given: np.ndarray
    sizes: np.ndarray
    strata: np.ndarray
    target: Target
    side: SideColumns
    has_text: bool
    has_mask: bool
    without_text: int = 0

    @property
    def groups(self) -> str:
        """A word about units where they are groups; empty where every example stands for itself."""
        count = len(np.unique(self.units))
        grouped = count < len(self.units)
        return f" They are of {quantity(count, 'group')}, none of which is drawn into two splits." if grouped else ""

    @property
    def fields(self) -> tuple[str, ...]:
        """What every example of the store holds."""
        text = (TEXT,) if self.has_text else ()
        mask = (MASK,) if self.has_mask else ()
        return (ID, IMAGE, *self.target.fields, *self.side.fields, *text, *mask)


def survey(
    source: DataSource,
    progress: Progress,
    missing_labels: MissingLabels = "refuse",
    missing_columns: MissingColumns | None = None,
) -> Survey:
    """Goes through all examples once, without reading pictures that are files of their own.

    Raises:
        ConfigError: `missing_columns` names a column that the source does not have.
        DataError: there are no examples, two have the same id, or a target is missing or not a number.
    """
    keys, units, given, sizes = array("Q"), array("Q"), array("b"), array("q")
    target: Target = NoTarget()
    side = SideColumns.of(source, missing_columns or MissingColumns())
    with_text, has_mask = 0, False
    for count, example in enumerate(source.examples()):
        if count == 0:
            target = _target(example, source, missing_labels)
        target.collect(example)
        side.collect(example)
        keys.append(key_of(example.id))
        units.append(unit_of(example.id, example.group))
        given.append(UNNAMED if example.split is None else SPLITS.index(example.split))
        sizes.append(_size(example))
        with_text += bool(example.text)
        has_mask = has_mask or example.mask is not None
        progress(count + 1, None)
    if not keys:
        raise DataError("The source holds no pictures. Check data.source.")
    _require_unique(np.array(keys), source.examples())
    without = len(keys) - with_text
    arrays = np.array(keys), np.array(units), np.array(given), np.array(sizes), target.strata()
    return Survey(*arrays, target, side, with_text > 0, has_mask, without)


def _target(example: RawExample, source: DataSource, missing_labels: MissingLabels) -> Target:
    """The Target of a source, known by what its first example holds."""
    names = source.class_names()
    if example.objects is not None:
        return Objects(names)
    if example.label is not None:
        return OneClass(names, missing_labels)
    if example.labels is not None:
        return AnyClasses(names, missing_labels)
    if example.value is not None:
        return Numbers(source.value_names(), missing_labels)
    return NoTarget() if example.mask is None else Regions(names)


def assigned(surveyed: Survey, settings: Splits) -> tuple[np.ndarray, list[str]]:
    """Each example's place in SPLITS, or UNNAMED where a split file leaves it out, int8 [n]; and warnings."""
    if settings.file is None:
        return assign(settings, surveyed.given, surveyed.units, surveyed.strata), []
    listed = read_split_file(settings.file)
    codes = np.array([listed.get(key, UNNAMED) for key in surveyed.keys.tolist()], np.int8)
    named = int(np.count_nonzero(codes != UNNAMED))
    if named < len(listed):
        raise DataError(
            f"{settings.file} names {quantity(len(listed), 'example')}, but the source holds only {named} of them. "
            "Use the split file of this data, with ids as in a store's splits.csv."
        )
    left_out = len(codes) - named
    lacking = quantity(left_out, "example; it is", "examples; they are")
    return codes, [f"{settings.file} does not name {lacking} left out."] if left_out else []


def check(surveyed: Survey, codes: np.ndarray, missing_classes: MissingClasses) -> list[str]:
    """Looks whether all can be learned and judged, given each example's place in SPLITS, int8 [n].

    Returns:
        Warnings.

    Raises:
        DataError: a split that is needed is empty, or a class cannot be learned.
    """
    require_splits(surveyed, codes)
    return surveyed.target.check(codes, missing_classes)


def require_splits(surveyed: Survey, codes: np.ndarray) -> None:
    """Raises DataError where there is nothing to train or nothing to evaluate on."""
    counts = {split: int(np.count_nonzero(codes == code)) for code, split in enumerate(SPLITS)}
    if not counts[TRAIN]:
        raise DataError(f"The split `train` is empty: {counts}. Check the source's splits and data.exclude_splits.")
    if not counts[VALIDATION] and not counts[TEST]:
        raise DataError(
            f"There is nothing to evaluate on: {counts}.{surveyed.groups} "
            "Raise data.splits.validation, or add pictures."
        )


def _size(example: RawExample) -> int:
    """Bytes of a picture as it comes; 0 for a file that is missing, which is reported when it is read."""
    image = example.image
    if isinstance(image, Path):
        return image.stat().st_size if image.is_file() else 0
    if isinstance(image, MadePicture):
        return image.about_bytes
    return image.nbytes if isinstance(image, np.ndarray) else len(image)


def _require_unique(keys: np.ndarray, examples: Iterable[RawExample]) -> None:
    values, counts = np.unique(keys, return_counts=True)
    repeated = set(values[counts > 1].tolist())
    if not repeated:
        return
    # Different ids may share a hash (once in 10^7 data sets of a million examples): the ids themselves decide.
    ids = Counter(example.id for example in examples if key_of(example.id) in repeated)
    if twice := [identity for identity, count in ids.items() if count > 1]:
        raise DataError(
            f"{quantity(len(twice), 'example occurs', 'examples occur')} more than once: {shortened(twice)}. "
            "Remove the repeats, or, in a table, set data.source.id_column to a column that names each row."
        )
