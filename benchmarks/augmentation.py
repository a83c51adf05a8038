"""Augmentation beside its peers and its limit: python -m benchmarks.augmentation [--json FILE]

Three cases, two threads each: `memory`, the same changes of 224 px pictures that are in memory already; `files`, JPEG
photographs (flowers) -> random resized crop 224, flip, rotation, shear, colour jitter -> float batches; `boxes`, the
same with boxes (bccd, 640x480 -> 512). Beside keras-cv's layers; Keras 3's for `memory`; albumentations under grain and
under PyTorch's DataLoader, two worker processes each (where CONVOY_PEERS_PYTHON names an interpreter that has all
three); and for `files` the decoding alone, by tf.data.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.pace import pictures_per_second
from models.stack import tf

BATCH, THREADS, SECONDS = 32, 2, 4.0
PEER, KERAS = "benchmarks.augmentation_peer", "benchmarks.augmentation_keras"
ROOT = Path(__file__).parents[1]
LEGACY = "TF_USE_LEGACY_KERAS"
Rate = Callable[[], float]


def main() -> None:
    arguments = measure.arguments(__doc__, rounds=5).parse_args()
    machine = measure.host()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        peer = stack.enter_context(peers())
        measures = [
            *in_memory(Path(folder), peer, arguments.rounds),
            *from_files(Path(folder), peer, arguments.rounds),
            *with_boxes(Path(folder), peer, arguments.rounds),
        ]
    measure.publish(measures, machine, arguments.json)


@contextmanager
def peers() -> Iterator[Peer | None]:
    """The process of albumentations under grain and under PyTorch, if there is an interpreter for it."""
    if python := os.environ.get("CONVOY_PEERS_PYTHON"):
        with Peer.started(python, PEER) as peer:
            yield peer
    else:
        yield None


@dataclass(frozen=True)
class Peer:
    """A process that prints pictures per second for each line that it is sent."""

    process: subprocess.Popen[str]

    @classmethod
    @contextmanager
    def started(cls, python: str, module: str) -> Iterator[Peer]:
        """It runs as long as the context."""
        environment = {name: value for name, value in os.environ.items() if name != LEGACY}
        command = [python, "-m", module, str(THREADS)]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True, env=environment, cwd=ROOT
        ) as process:
            try:
                yield cls(process)
            finally:
                process.kill()

    def ask(self, *words: object) -> float:
        """Pictures per second."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("The peer was started without pipes.")
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def sides(self, case: str, folder: Path) -> dict[str, Rate]:
        """Each loader that albumentations runs under."""
        return {name: partial(self.ask, loader, case, folder, SECONDS) for name, loader in ALBUMENTATIONS.items()}


ALBUMENTATIONS = {"albumentations, grain": "grain", "albumentations, PyTorch": "torch"}


def rate_of(batches: tf.data.Dataset) -> float:
    """Pictures per second that a dataset of batches gives, after the first ones."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = THREADS
    return pictures_per_second(iter(batches.with_options(options)), BATCH, SECONDS)


# ---------------------------------------------------------------------------------------------------- in memory


def in_memory(folder: Path, peer: Peer | None, rounds: int) -> list[measure.Measure]:
    """The same changes of pictures in memory."""
    own = folder / "memory"
    photographs(own, 128, (224, 224))
    pictures = np.stack([tf.io.decode_jpeg(file.read_bytes()).numpy() for file in sorted(own.glob("*.jpg"))])
    sides: dict[str, Rate] = {
        "convoy": lambda: rate_of(convoy_in_memory(pictures)),
        "keras-cv": lambda: rate_of(keras_cv_in_memory(pictures)),
    }
    sides |= peer.sides("memory", own) if peer else {}
    with Peer.started(sys.executable, KERAS) as keras_3:
        rates = measure.interleave({**sides, "Keras 3": lambda: keras_3.ask(own, SECONDS)}, rounds)
    return compared("in memory, 224 px", rates, {"keras-cv": 10.0})


def batches_of(pictures: np.ndarray) -> tf.data.Dataset:
    """Endless batches of pictures in memory."""
    numbers = tf.data.Dataset.range(len(pictures)).repeat().batch(BATCH, drop_remainder=True)
    kept = tf.constant(pictures)
    return numbers.map(
        lambda index: {"id": tf.strings.as_string(index), "epoch": index, "image": tf.gather(kept, index)}
    )


def convoy_in_memory(pictures: np.ndarray) -> tf.data.Dataset:
    from pipeline import augment
    from pipeline.augment import OPERATIONS

    settings: dict[str, dict[str, float]] = {
        "horizontal_flip": {},
        "rotation": {"degrees": 15},
        "translation": {},
        "shear": {},
        "zoom": {},
        "colour_jitter": {},
        "cutout": {"size": 0.25},
    }
    operations = [OPERATIONS[kind](**values) for kind, values in settings.items()]

    def change(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.cast(augment.apply(operations, batch, 0)["image"], tf.float32)

    return batches_of(pictures).map(change, THREADS).prefetch(2)


def keras_cv_in_memory(pictures: np.ndarray) -> tf.data.Dataset:
    from keras_cv import layers

    changes = [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(15 / 360, fill_mode="constant"),
        layers.RandomTranslation(0.1, 0.1, fill_mode="constant"),
        layers.RandomShear(0.17, 0.17, fill_mode="constant"),
        layers.RandomZoom(0.1, fill_mode="constant"),
        layers.RandomBrightness(0.2, value_range=(0, 255)),
        layers.RandomContrast(value_range=(0, 255), factor=0.2),
        layers.RandomSaturation(factor=(0.4, 0.6)),
        layers.RandomCutout(0.25, 0.25),
    ]

    def change(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        values = {"images": tf.cast(batch["image"], tf.float32)}
        for layer in changes:
            values = layer(values, training=True)
        return values["images"]

    return batches_of(pictures).map(change, THREADS).prefetch(2)


# ---------------------------------------------------------------------------------------------------- from files


def from_files(folder: Path, peer: Peer | None, rounds: int) -> list[measure.Measure]:
    """JPEG photographs to augmented float batches."""
    own = folder / "files"
    own.mkdir()
    for number, file in enumerate(sorted((data() / "flowers" / "train").rglob("*.jpg"))):
        (own / f"{number:04}.jpg").write_bytes(file.read_bytes())
    files = [file.read_bytes() for file in sorted(own.glob("*.jpg"))]
    sides: dict[str, Rate] = {
        "convoy": lambda: rate_of(convoy_from_files(files, 224)),
        "decoding alone": lambda: rate_of(decoding(files)),
        "keras-cv": lambda: rate_of(keras_cv_from_files(files, 224)),
    }
    sides |= peer.sides("files", own) if peer else {}
    rates = measure.interleave(sides, rounds)
    return compared("photographs to 224 px", rates, {"decoding alone": 0.7, **dict.fromkeys(ALBUMENTATIONS, 1.3)})


def data() -> Path:
    """Where the real data sets are."""
    return Path(os.environ.get("CONVOY_DATA", "../shared/data"))


def numbers(count: int) -> tf.data.Dataset:
    """The numbers of pictures in random order, for ever."""
    return tf.data.Dataset.range(count).shuffle(count, seed=0).repeat()


def decoding(files: list[bytes]) -> tf.data.Dataset:
    """Decoding and nothing else, as any tf.data input begins; what counts as a batch is how many were decoded."""
    kept = tf.constant(files)
    decoded = numbers(len(files)).map(
        lambda index: tf.shape(tf.io.decode_jpeg(kept[index], channels=3, dct_method="INTEGER_ACCURATE")), THREADS
    )
    return decoded.batch(BATCH)


def convoy_from_files(files: list[bytes], size: int, boxes: list[np.ndarray] | None = None) -> tf.data.Dataset:
    from models.preprocess import PictureFormat
    from pipeline.augment import OPERATIONS, RandomResizedCrop
    from pipeline.data.cropping import crop_and_augment

    crop = RandomResizedCrop()
    others = [OPERATIONS[kind]() for kind in ("horizontal_flip", "rotation", "shear", "colour_jitter")]
    kept, format = tf.constant(files), PictureFormat(height=size, width=size)
    places = None if boxes is None else tf.constant(padded(boxes))

    def change(index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = {"id": tf.strings.as_string(index), "epoch": index, "image": tf.gather(kept, index)}
        if places is not None:
            batch |= {"boxes": tf.gather(places, index), "classes": tf.zeros([BATCH, places.shape[1]], tf.int64)}
        changed = crop_and_augment(batch, crop, [crop, *others], format, 0)
        return tf.cast(changed["image"], tf.float32), changed.get("boxes", tf.zeros([]))

    return numbers(len(files)).batch(BATCH, drop_remainder=True).map(change, THREADS).prefetch(2)


def keras_cv_from_files(files: list[bytes], size: int, boxes: list[np.ndarray] | None = None) -> tf.data.Dataset:
    from keras_cv import layers

    crop = layers.RandomCropAndResize((size, size), crop_area_factor=(0.25, 1.0), aspect_ratio_factor=(0.75, 1.33))
    resize = layers.JitteredResize((size, size), scale_factor=(1.0, 2.0), bounding_box_format="rel_xyxy")
    changes = [
        layers.RandomFlip("horizontal", bounding_box_format="rel_xyxy"),
        layers.RandomRotation(15 / 360, fill_mode="constant", bounding_box_format="rel_xyxy"),
        layers.RandomShear(0.17, 0.17, fill_mode="constant", bounding_box_format="rel_xyxy"),
        layers.RandomColorJitter((0, 255), 0.2, 0.2, (0.4, 0.6), 0.0),
    ]
    kept, places = tf.constant(files), None if boxes is None else tf.constant(padded(boxes))

    def decode(index: tf.Tensor) -> dict[str, tf.Tensor]:
        picture = tf.cast(tf.io.decode_jpeg(kept[index], channels=3), tf.float32)
        if places is None:
            return crop({"images": picture}, training=True)
        marked = {"boxes": places[index], "classes": tf.zeros([places.shape[1]])}
        moved = resize({"images": picture, "bounding_boxes": marked}, training=True)
        left = moved["bounding_boxes"]
        missing = places.shape[1] - tf.shape(left["classes"])[0]
        ends = {"boxes": [[0, missing], [0, 0]], "classes": [[0, missing]]}
        filled = {name: tf.pad(left[name], end) for name, end in ends.items()}
        filled = {name: tf.ensure_shape(values, marked[name].shape) for name, values in filled.items()}
        return {"images": tf.ensure_shape(moved["images"], [size, size, 3]), "bounding_boxes": filled}

    def change(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        for layer in changes:
            batch = layer(batch, training=True)
        return batch

    examples = numbers(len(files)).map(decode, THREADS).batch(BATCH, drop_remainder=True)
    return examples.map(change, THREADS).prefetch(2)


def padded(boxes: list[np.ndarray]) -> np.ndarray:
    """Boxes of all pictures, filled up with zeros: float32 [n,N,4]."""
    most = max(len(some) for some in boxes)
    return np.stack([np.pad(some, [(0, most - len(some)), (0, 0)]) for some in boxes]).astype(np.float32)


# ---------------------------------------------------------------------------------------------------- with boxes


def with_boxes(folder: Path, peer: Peer | None, rounds: int) -> list[measure.Measure]:
    """Microscope pictures with boxes to augmented float batches of 512 px."""
    own = folder / "boxes"
    own.mkdir()
    files, boxes = blood_cells(own)
    sides: dict[str, Rate] = {
        "convoy": lambda: rate_of(convoy_from_files(files, 512, boxes)),
        "keras-cv": lambda: rate_of(keras_cv_from_files(files, 512, boxes)),
    }
    sides |= peer.sides("boxes", own) if peer else {}
    rates = measure.interleave(sides, rounds)
    return compared("with boxes, 640x480 to 512 px", rates, {"keras-cv": 5.0, **dict.fromkeys(ALBUMENTATIONS, 1.0)})


def blood_cells(folder: Path) -> tuple[list[bytes], list[np.ndarray]]:
    """bccd's pictures with their boxes as shares; written for the peer as well."""
    from pipeline.data.sources.voc import PascalVoc

    files, boxes = [], []
    for number, example in enumerate(PascalVoc(path=data() / "bccd").examples()):
        places = [one.box for one in example.objects or () if one.box is not None]
        objects = [box for box in places if box[2] > box[0] and box[3] > box[1]]
        files.append(Path(example.image).read_bytes())
        boxes.append(np.clip(np.array(objects, np.float32) / [640, 480, 640, 480], 0, 1).astype(np.float32))
        (folder / f"{number:04}.jpg").write_bytes(files[-1])
        np.save(folder / f"{number:04}.npy", boxes[-1])
    return files, boxes


# ---------------------------------------------------------------------------------------------------- shared


def photographs(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Photographs of one size."""
    from PIL import Image

    folder.mkdir()
    for number, file in enumerate(sorted((data() / "flowers" / "train").rglob("*.jpg"))[:count]):
        Image.open(file).convert("RGB").resize(size).save(folder / f"{number:04}.jpg", quality=95)


def compared(case: str, rates: dict[str, list[float]], goals: dict[str, float]) -> list[measure.Measure]:
    """Convoy's rate over that of each other side."""
    lines = []
    for name, values in rates.items():
        if name != "convoy":
            line = measure.compare(f"Convoy / {name}, {case}", rates["convoy"], values, "pictures/s")
            lines.append(measure.at_least(line, goals[name]) if name in goals else line)
    return lines


if __name__ == "__main__":
    main()
