"""The Example: a dict of tensors with fixed names. Every stage speaks of data in these names and no others.

| name     | dtype, shape of one       | range, meaning                                           | held by          |
|----------|---------------------------|----------------------------------------------------------|------------------|
| `id`     | string []                 | unique in the data set; the path relative to the source  | all              |
| `image`  | string [] as stored       | the encoded picture (JPEG or PNG), upright               | all              |
|          | uint8 [H,W,C] decoded     | 0..255, RGB or grey                                      | all              |
| `label`  | int64 []                  | index into the class names                               | one class        |
| `labels` | int64 [any] as stored     | indices into the class names, ascending, maybe none      | several classes  |
|          | float32 [K] once parsed   | 1 where the class is present, else 0                     | several classes  |
| `value`  | float32 [K]               | the targets in their own units                           | regression       |
| `text`   | string []                 | UTF-8 text that belongs to the picture                   | optional         |
| `epoch`  | int64 []                  | passes over the data before this one; decides the draws  | training batches |
| `mask`   | bool []                   | false for the padding of the last batch                  | evaluation       |

In a batch every name has one more axis in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Example = dict[str, Any]

ID = "id"
IMAGE = "image"
LABEL = "label"
LABELS = "labels"
VALUE = "value"
TEXT = "text"
EPOCH = "epoch"
MASK = "mask"

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)


@dataclass(frozen=True)
class RawExample:
    """One example as a source gives it, before its picture is looked at.

    Args:
        id: unique in the data set, such as `roses/12.jpg`.
        image: the picture's encoded bytes in any format, the path of a file with them (read only when it is stored), or
            uint8 pixels [H, W] or [H, W, C] (they become PNG).
        split: `train`, `validation` or `test` where the source says so, else None (split by `data.splits`).
        label: class name, for one class a picture.
        labels: class names, for any number of classes a picture.
        value: numbers [K], for regression.
        text: text that belongs to the picture.
        where: file (and line) to name in a message about this example.
    """

    id: str
    image: Any
    split: str | None = None
    label: str | None = None
    labels: Sequence[str] | None = None
    value: Sequence[float] | None = None
    text: str | None = None
    where: str = ""


@dataclass(frozen=True)
class DataInfo:
    """What is known of a prepared data set without reading its examples.

    Args:
        fields: names of the Example's fields that every example holds, such as ("id", "image", "label").
        class_names: of `label` or `labels`, in index order; empty for regression.
        value_names: of the K numbers of `value`; empty otherwise.
        num_examples: split -> count.
        class_counts: split -> count per class, in index order.
        value_mean, value_std: of the training split, [K]; a std of 0 is given as 1.
        picture_sizes: split -> (least height, least width, largest height, largest width) in pixels.
        image_bytes: split -> sum of the encoded pictures' sizes, in bytes.
    """

    fields: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    value_names: tuple[str, ...] = ()
    num_examples: dict[str, int] = field(default_factory=dict)
    class_counts: dict[str, list[int]] = field(default_factory=dict)
    value_mean: tuple[float, ...] = ()
    value_std: tuple[float, ...] = ()
    picture_sizes: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    image_bytes: dict[str, int] = field(default_factory=dict)
