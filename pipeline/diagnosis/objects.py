"""Objects and masks: whether they fit their picture, and whether they can be meant. h, w = the picture's size."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np

from pipeline.data.example import IGNORED, RawExample, RawObject
from pipeline.data.objects import in_pixels, mask_pixels
from pipeline.data.outlines import Polygons
from pipeline.data.pictures import BadPicture, StoredPicture
from pipeline.diagnosis.facts import PictureFacts
from pipeline.diagnosis.findings import Finding, Severity
from pipeline.diagnosis.labels import unknown_class
from pipeline.diagnosis.settings import DoctorSettings
from pipeline.wording import quantity

Box = tuple[float, float, float, float]

LEFT_OUT = "It is left out of the store. Draw it again or remove it."


def object_findings(
    example: RawExample, facts: PictureFacts, class_names: Collection[str] | None, settings: DoctorSettings
) -> Iterator[Finding]:
    """What is wrong with the objects of one example."""
    for given in example.objects or ():
        if given.unusable:
            yield _about(example, given, "unusable_object", given.unusable, LEFT_OUT)
            continue
        one = in_pixels(given, facts.width, facts.height)
        yield from unknown_class(one.label, class_names, example.id, one.where or example.where)
        if one.mask is not None:
            yield from _mask_of_object(example, one, facts)
        if (box := box_of(one)) is not None:
            yield from box_findings(example, one, box, facts, settings)
    yield from _duplicate_boxes(example, facts, settings)


def box_of(one: RawObject) -> Box | None:
    """An object's box, or the box around its corners or outlines; None where it has none of them."""
    if one.box is None and one.corners is None and isinstance(one.mask, Polygons):
        return one.mask.bounds()
    if one.box is not None or one.corners is None:
        return one.box
    xs, ys = zip(*one.corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _duplicate_boxes(example: RawExample, facts: PictureFacts, settings: DoctorSettings) -> Iterator[Finding]:
    """Boxes of one class that are, or are all but, the same; each is named once, with the first that it repeats."""
    placed = [in_pixels(one, facts.width, facts.height) for one in example.usable_objects]
    boxed = [one for one in placed if box_of(one) is not None]
    boxes = np.array([box_of(one) for one in boxed], np.float64).reshape(-1, 4)
    names = np.array([one.label for one in boxed])
    same = (overlaps(boxes) >= settings.duplicate_box) & (names[:, None] == names[None, :])
    earlier = np.tril(same, k=-1)
    for later in np.flatnonzero(earlier.any(axis=1)):
        one, first = boxed[later], boxed[int(earlier[later].argmax())]
        what = f"the box of {one.label} is the same as another, {first.where or 'of this picture'}"
        yield _about(example, one, "duplicate_box", what, "Remove one of the two: it counts twice.")


def overlaps(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of every two of n boxes [n, 4], [n, n]; boxes without area overlap with nothing."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
    union = areas[:, None] + areas[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def box_findings(
    example: RawExample, one: RawObject, box: Box, facts: PictureFacts, settings: DoctorSettings
) -> Iterator[Finding]:
    """What is wrong with one box; the first thing that is."""
    x_min, y_min, x_max, y_max = box
    width, height = x_max - x_min, y_max - y_min
    shown = f"the box ({', '.join(f'{value:g}' for value in box)}) of {one.label}"
    size = f"the picture of {facts.width} x {facts.height} pixels"
    if not all(math.isfinite(value) for value in box):
        yield _about(example, one, "box_not_finite", f"{shown} is not finite", LEFT_OUT)
    elif width < 0 or height < 0:
        yield _about(example, one, "inverted_box", f"{shown} ends before it begins", LEFT_OUT)
    elif width == 0 or height == 0:
        yield _about(example, one, "zero_area_box", f"{shown} has no area", LEFT_OUT)
    elif x_min >= facts.width or y_min >= facts.height or x_max <= 0 or y_max <= 0:
        yield _about(example, one, "box_outside", f"{shown} is outside {size}", LEFT_OUT)
    elif x_min < 0 or y_min < 0 or x_max > facts.width or y_max > facts.height:
        fix = "It is clipped. Check that the picture was not scaled or turned after it was labelled."
        yield _about(example, one, "box_out_of_range", f"{shown} reaches out of {size}", fix)
    elif width * height >= settings.covering_box * facts.width * facts.height:
        fix = "Check that it is the object and not the picture that was marked."
        yield _about(example, one, "covering_box", f"{shown} covers all of {size}", fix)
    elif min(width, height) < settings.tiny_box:
        fix = "Remove it if it was a slip of the mouse; a network sees little of so small an object."
        yield _about(example, one, "tiny_box", f"{shown} is only {width:g} x {height:g} pixels", fix)


def mask_findings(example: RawExample, facts: PictureFacts, class_names: Collection[str] | None) -> Iterator[Finding]:
    """What is wrong with the mask of a whole picture."""
    if example.mask is None:
        return
    try:
        pixels = mask_pixels(example.mask, _size_of(facts))
    except BadPicture as error:
        fix = "Export the mask again at the picture's size; the picture is left out of the store."
        yield _whole(example, "unusable_mask", "warning", str(error), fix)
        return
    values = np.unique(pixels[pixels != IGNORED]).tolist()
    if not values:
        yield _whole(example, "empty_mask", "warning", "no pixel of the mask counts", "Draw it or remove the picture.")
    if class_names is not None and (extra := [value for value in values if value >= len(class_names)]):
        named = quantity(len(class_names), "class", "classes")
        what = f"the mask holds {_listed(extra)}, but the data has {named} (0 to {len(class_names) - 1})"
        fix = f"Correct the mask, name the classes, or write {IGNORED} where a pixel does not count."
        yield _whole(example, "mask_value_without_class", "error", what, fix)


def _mask_of_object(example: RawExample, one: RawObject, facts: PictureFacts) -> Iterator[Finding]:
    try:
        empty = one.mask is not None and not mask_pixels(one.mask, _size_of(facts)).any()
    except BadPicture as error:
        yield _about(example, one, "unusable_mask", f"{one.label}: {error}", LEFT_OUT)
        return
    if empty:
        yield _about(example, one, "empty_mask", f"the mask of {one.label} is empty", LEFT_OUT)


def _size_of(facts: PictureFacts) -> StoredPicture:
    return StoredPicture(b"", facts.height, facts.width, 3, "")


def _listed(values: list[int]) -> str:
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return ", ".join(map(str, values[:5])) + more


def _about(example: RawExample, one: RawObject, kind: str, what: str, fix: str) -> Finding:
    box = box_of(one)
    boxes = (box,) if box is not None and all(map(math.isfinite, box)) else ()
    return replace(_whole(example, kind, "warning", what, fix), where=one.where or example.where, boxes=boxes)


def _whole(example: RawExample, kind: str, severity: Severity, what: str, fix: str) -> Finding:
    return Finding(kind, severity, what, example.where, fix, (example.id,))
