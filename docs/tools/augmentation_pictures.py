"""Draws what each augmentation does, for docs/augmentation.md: python docs/tools/augmentation_pictures.py [KIND ...]

docs/augmentation/KIND.png holds a picture as it was taken and changed three times with the default settings, except
that every example is changed (`probability: 1`), with the box of the object in it. The pictures are those that come
with scikit-learn.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline import augment
from pipeline.augment import OPERATIONS, Augmentation, RandomResizedCrop, random
from pipeline.augment.windows import apply_window
from pipeline.data.example import Example

FOLDER = Path(__file__).resolve().parent.parent / "augmentation"
SIDE, GAP = 98, 4
MOST_BYTES = 30_000
SEED = 241
SAMPLES = {"china.jpg": (0, (62, 26, 374, 400)), "flower.jpg": (100, (68, 84, 347, 360))}
"""The file, the first column of the square that is taken of it, and the object's box in that square, in pixels."""
TIMES_CHANGED = 3
ORDER = (0, 1, 1, 1) * TIMES_CHANGED
"""The samples in a batch. Operations that mix pictures do so in groups of four; the first of each group is shown."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"all by default: {', '.join(OPERATIONS)}")
    kinds = parser.parse_args().kinds or list(OPERATIONS)
    if unknown := set(kinds) - set(OPERATIONS):
        parser.error(f"there is no augmentation {', '.join(sorted(unknown))}; choose from {', '.join(OPERATIONS)}")
    FOLDER.mkdir(exist_ok=True)
    for kind in kinds:
        path = FOLDER / f"{kind}.png"
        path.write_bytes(small_png(strip(OPERATIONS[kind](probability=1.0))))
        print(f"{path}  {path.stat().st_size} bytes")


def strip(operation: Augmentation) -> Image.Image:
    """The first picture as it was taken, then changed a few times."""
    original, changed = examples(), augmented(operation)
    shown = [tile(original, 0), *(tile(changed, 4 * time) for time in range(TIMES_CHANGED))]
    page = Image.new("RGB", (len(shown) * (SIDE + GAP) - GAP, SIDE), "white")
    for place, picture in enumerate(shown):
        page.paste(picture, (place * (SIDE + GAP), 0))
    return page


def augmented(operation: Augmentation) -> Example:
    """The pictures after the operation; a crop at the head is made from the pictures as they were taken."""
    plain = examples()
    if not isinstance(operation, RandomResizedCrop):
        return augment.apply([operation], plain, SEED)
    keys = random.keys(plain["id"], plain["epoch"], SEED)
    windows = operation.window(keys, 427, 427)
    pictures = squares()
    cropped = [fitted(pictures[sample], window) for sample, window in zip(ORDER, windows, strict=True)]
    return {**apply_window(plain, windows, operation.min_visible), "image": tf.stack(cropped)}


def examples() -> Example:
    """The sample pictures with all that an operation may ask for."""
    boxes = np.array([[box] for _, box in SAMPLES.values()], np.float32) / 427
    masks = np.stack([[ellipse(box)] for (box,) in boxes])
    images = tf.stack([fitted(picture, tf.constant([0.0, 0.0, 1.0, 1.0])) for picture in squares()])
    order = np.array(ORDER)
    return {
        "id": tf.constant([f"{number}.jpg" for number in range(len(order))]),
        "epoch": tf.zeros(len(order), tf.int64),
        "image": tf.gather(images, order),
        "label": tf.constant(order, tf.int64),
        "boxes": tf.constant(boxes[order]),
        "classes": tf.constant(order[:, np.newaxis], tf.int64),
        "masks": tf.constant(masks[order]),
    }


def ellipse(box: np.ndarray) -> np.ndarray:
    """About what the object covers, uint8 [SIDE,SIDE]: both are round."""
    mask = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(mask).ellipse([*(box * (SIDE - 1)).round()], fill=1)
    return np.asarray(mask)


def squares() -> list[np.ndarray]:
    """The square of each sample picture, uint8 [427,427,3]."""
    return [load_sample_image(name)[:, first : first + 427] for name, (first, _) in SAMPLES.items()]


def fitted(picture: np.ndarray, window: tf.Tensor) -> tf.Tensor:
    """A window of a picture in the size that is shown."""
    return preprocess.crop_and_fit(picture, window, PictureFormat(height=SIDE, width=SIDE))


def tile(examples: Example, number: int) -> Image.Image:
    """One picture with the boxes of its objects."""
    picture = Image.fromarray(examples["image"][number].numpy())
    for box, label in zip(examples["boxes"][number].numpy(), examples["classes"][number].numpy(), strict=True):
        if label >= 0:
            ImageDraw.Draw(picture).rectangle([*(box * (SIDE - 1)).round()], outline=(255, 230, 0))
    return picture


def small_png(picture: Image.Image) -> bytes:
    """As many colours as fit into MOST_BYTES."""
    for colours in (256, 128, 64, 32, 16):
        file = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        if file.tell() <= MOST_BYTES:
            break
    return file.getvalue()


if __name__ == "__main__":
    main()
