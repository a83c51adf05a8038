"""The Example: a dict of tensors with fixed names. Every stage speaks of data in these names and no others.

| name           | dtype, shape of one     | range, meaning                                | held by         |
|----------------|-------------------------|-----------------------------------------------|-----------------|
| `id`           | string []               | unique; the path within the source            | all             |
| `image`        | string [] as stored     | the encoded picture (JPEG or PNG), upright    | all             |
|                | uint8 [H,W,C] decoded   | 0..255, RGB or grey; see `PictureFormat.channels` | all         |
| `label`        | int64 []                | index into the class names; -1: not known     | one class       |
| `labels`       | int64 [any] as stored   | indices of classes, ascending, maybe none     | several classes |
|                | float32 [K] once parsed | 1 where present, else 0; NaN where not known  | several classes |
| `labels_unknown` | int64 [any], stored only | indices of classes that are not known      | several classes |
| `value`        | float32 [K]             | the targets in their units; NaN where not known | regression      |
| `text`         | string []               | UTF-8 text that belongs to the picture        | optional        |
| `numbers`      | float32 [F]             | beside the picture; stored NaN where not known, parsed filled | optional |
| `numbers_known` | bool [F], once parsed  | whether each of them was there                | with `numbers`  |
| `categories`   | int64 [G]               | classes beside the picture; -1 stored, filled as above | optional |
| `categories_known` | bool [G], once parsed | whether each of them was there             | with `categories` |
| `boxes`        | float32 [N,4]           | x_min, y_min, x_max, y_max as shares, 0..1    | objects         |
| `classes`      | int64 [N]               | class of each; -1 where there is none (padding) | objects         |
| `corners`      | float32 [N,4,2]         | corners x, y of rotated boxes, as shares      | rotated boxes   |
| `points`       | float32 [N,P,3]         | x, y as shares, and visibility 0, 1 or 2 (as in COCO) | key points      |
| `difficult`    | bool [N]                | too hard to be asked for                      | objects, optional |
| `crowd`        | bool [N]                | stands for many objects in one                | objects, optional |
| `visible`      | float32 [N]             | the share of the object that is not hidden    | objects, optional |
| `brightness`   | float32 [N]             | mean luminance in its box, 0..1; else NaN      | evaluated objects |
| `tracks`       | int64 [N]               | the same in all pictures of a sequence; 0: none | sequences   |
| `masks`        | string [N] once parsed  | a PNG each; empty where there is no object    | instances       |
|                | uint8 [N,H,W] decoded   | 1 where the object is, else 0; all 0: not known | instances       |
| `mask`         | string [] once parsed   | PNG of the picture's size                     | segmentation    |
|                | uint8 [H,W,1] decoded   | class of a pixel; 255 where it does not count | segmentation    |
| `known`        | uint8 [H,W,1]           | 255 where known, 0 where not; later in `image` | augmentation |
| `label_parts`  | int64 [M]               | labels of the pictures mixed into this one    | after mixing    |
| `label_shares` | float32 [M]             | the share of each; they sum to 1              | after mixing    |
| `epoch`        | int64 []                | passes over the data before this one          | training        |
| `real`         | bool []                 | false for the padding of the last batch       | evaluation      |

In a batch every name has one more axis in front. N is the same for all examples, `DataInfo.max_objects`: an object that
is not there has class -1 and zeros (empty strings, false) everywhere else. An object without corners, where others have
them, has those of its box; one without points has points that are not visible.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pipeline.data.outlines import Outline

if TYPE_CHECKING:
    import numpy as np

Example = dict[str, Any]

ID = "id"
IMAGE = "image"
LABEL = "label"
LABELS = "labels"
LABELS_UNKNOWN = "labels_unknown"
VALUE = "value"
TEXT = "text"
NUMBERS = "numbers"
NUMBERS_KNOWN = "numbers_known"
CATEGORIES = "categories"
CATEGORIES_KNOWN = "categories_known"
BOXES = "boxes"
CLASSES = "classes"
CORNERS = "corners"
POINTS = "points"
DIFFICULT = "difficult"
CROWD = "crowd"
VISIBLE = "visible"
BRIGHTNESS = "brightness"
TRACKS = "tracks"
MASKS = "masks"
MASK = "mask"
KNOWN = "known"
LABEL_PARTS = "label_parts"
LABEL_SHARES = "label_shares"
EPOCH = "epoch"
REAL = "real"

OBJECT_FIELDS = (CLASSES, BOXES, CORNERS, POINTS, DIFFICULT, CROWD, VISIBLE, TRACKS, MASKS)
"""What an example may hold of each of its N objects."""
MARKED = (*OBJECT_FIELDS, MASK, KNOWN)
"""Fields whose values are places in the picture, or belong to one."""
NO_OBJECT = -1
"""The `classes` of an object that is not there."""
IGNORED = 255
"""The `mask` of a pixel that does not count."""

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)


class MadePicture(ABC):
    """A picture that is made when it is stored, such as one that is drawn; what is known of it may come without it."""

    waits: ClassVar[bool] = False
    """Whether making it waits for the disk or decodes, both without the interpreter's lock, and so is worth a thread.
    Drawing holds the lock: two threads are slower than one, and many pictures are worth a process."""

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The encoded picture, the same whenever it is asked for."""

    @property
    @abstractmethod
    def about_bytes(self) -> int:
        """About how large that is."""


@dataclass(frozen=True)
class RawObject:
    """One object in a picture, as a source gives it.

    All places are of the picture as it is shown, upright: where the file carries an EXIF orientation, of the turned
    picture, as annotation tools show it. x grows to the right, y downwards. In pixels the left edge of the first pixel
    is 0 and its right edge 1, so that a box around all of a picture is (0, 0, width, height).

    Args:
        label: its class.
        box: x_min, y_min, x_max, y_max: edges, not centres of pixels. None: the box around its corners, else its mask,
            else its visible points.
        corners: four corners x, y of a rotated box, in order around it.
        points: key points x, y, visibility: 0 not labelled, 1 hidden, 2 visible (as in COCO); the same for all objects.
        mask: uint8 or bool [height, width] of the picture, or a PNG of that size: not 0 where the object is; or its
            outlines or runs of pixels.
        where: file and line to name in a message about this object.
        difficult: too hard to be asked for (Pascal VOC).
        crowd: stands for many objects in one (COCO's `iscrowd`).
        area: in square pixels, where the source gives one (COCO); kept when data is converted.
        visible: the share of the object that is not hidden, 0..1, where that is known.
        track: from 1; the same for the same object in all pictures of a sequence.
        unit: of all places: pixels, or shares of the picture (its width for x, its height for y).
        unusable: why this object cannot be used, where the source can tell; it is then left out and listed.
    """

    label: str
    box: tuple[float, float, float, float] | None = None
    corners: Sequence[tuple[float, float]] | None = None
    points: Sequence[tuple[float, float, float]] | None = None
    mask: bytes | np.ndarray | Outline | None = None
    where: str = ""
    difficult: bool = False
    crowd: bool = False
    area: float | None = None
    visible: float | None = None
    track: int | None = None
    unit: Literal["pixel", "picture"] = "pixel"
    unusable: str = ""


@dataclass(frozen=True)
class RawExample:
    """One example as a source gives it, before its picture is looked at.

    Args:
        id: unique in the data set, such as `roses/12.jpg`.
        image: the picture's encoded bytes in any format, the path of a file with them or a MadePicture (read or made
            only when it is stored), or uint8 pixels [H, W] or [H, W, C] (they become PNG).
        split: `train`, `validation` or `test` where the source says so, else None (split by `data.splits`).
        group: what the example belongs to, such as a patient or a video: no group is drawn into two splits. Empty where
            it stands for itself.
        label: class name, for one class a picture; empty where it is not known.
        labels: class names, for any number of classes a picture.
        labels_unknown: class names of which it is not known whether they belong to `labels`.
        value: numbers [K], for regression; NaN where not known.
        text: text that belongs to the picture.
        numbers: what goes into the model beside the picture, as many as the source's `number_names`; NaN where not
            known.
        categories: the same as text, as many as the source's `category_names`; empty where not known.
        objects: what is where in the picture; empty where it shows nothing.
        mask: the class index of every pixel (255: does not count), uint8 [height, width] of the upright picture, or a
            PNG of that size, grey or with a palette.
        missing: a picture of the same size (its bytes or file) that is not 0 where something is missing.
        where: file (and line) to name in a message about this example.
        unusable: why it cannot be used, where the source can tell, such as a file of labels that is cut short: it then
            goes to the quarantine.
    """

    id: str
    image: Any
    split: str | None = None
    group: str = ""
    label: str | None = None
    labels: Sequence[str] | None = None
    labels_unknown: Sequence[str] = ()
    value: Sequence[float] | None = None
    text: str | None = None
    numbers: Sequence[float] = ()
    categories: Sequence[str] = ()
    objects: Sequence[RawObject] | None = None
    mask: bytes | np.ndarray | None = None
    missing: bytes | Path | None = None
    where: str = ""
    unusable: str = ""

    @property
    def usable_objects(self) -> list[RawObject]:
        """Its objects without those that the source itself calls unusable."""
        return [one for one in self.objects or () if not one.unusable]


def content_of(image: Any) -> Any:
    """An example's `image` with files read and pictures made: encoded bytes, or pixels.

    Raises:
        OSError: the file cannot be read.
    """
    return image.read_bytes() if isinstance(image, Path | MadePicture) else image


@dataclass(frozen=True)
class DataInfo:
    """What is known of a prepared data set without reading its examples.

    Args:
        fields: names of the Example's fields that every record holds, such as ("id", "image", "label").
        class_names: of `label`, `labels`, `classes` or `mask`, in index order; empty for regression.
        value_names: of the K numbers of `value`; empty otherwise.
        num_examples: split -> count.
        class_counts: split -> count per class, in index order: of pictures, or of objects where there are objects.
        value_mean, value_std: of the training split, [K]; a std of 0 is given as 1.
        picture_sizes: split -> (least height, least width, largest height, largest width) in pixels.
        image_bytes: split -> sum of the encoded pictures' sizes, in bytes.
        max_objects: the most objects of any example, N of `boxes` and its like; 0 where there are none.
        num_points: key points of an object, P of `points`.
        number_names: of the F `numbers`; empty where there are none.
        number_mean, number_std: of the training split, over what is known, [F]; a std of 0 is given as 1.
        number_fill: what takes the place of a number that is not known, [F].
        category_names: of the G `categories`.
        category_values: of each, what its numbers stand for.
        category_fill: the number that takes the place of one that is not known, [G].
        marks_missing: whether pictures are transparent where they were missing.
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
    max_objects: int = 0
    num_points: int = 0
    number_names: tuple[str, ...] = ()
    number_mean: tuple[float, ...] = ()
    number_std: tuple[float, ...] = ()
    number_fill: tuple[float, ...] = ()
    category_names: tuple[str, ...] = ()
    category_values: tuple[tuple[str, ...], ...] = ()
    category_fill: tuple[int, ...] = ()
    marks_missing: bool = False
