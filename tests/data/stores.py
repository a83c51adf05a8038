"""Small stores written without `prepare`, so that the input pipeline is tested alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from models.stack import tf
from pipeline.data.example import DataInfo
from pipeline.data.records import Shard
from pipeline.data.store import Store

Size = tuple[int, int]


def feature(value: bytes | int | list[float]) -> tf.train.Feature:
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if isinstance(value, int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value))


def record(number: int, size: Size, channels: int, classes: int) -> bytes:
    """Example number n: a PNG of random pixels whose first pixel is n, class n mod `classes`, labels {0, that}."""
    picture = np.random.default_rng(number).integers(0, 256, (*size, channels), np.uint8)
    picture[0, 0] = number % 256
    label = number % classes
    values = {
        "id": f"{label}/{number}.png".encode(),
        "image": tf.io.encode_png(picture).numpy(),
        "label": label,
        "labels": sorted({0, label}),
    }
    features = tf.train.Features(feature={name: feature(value) for name, value in values.items()})
    return tf.train.Example(features=features).SerializeToString()


def write_shard(path: Path, split: str, records: list[bytes]) -> Shard:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in records:
            writer.write(one)
    return Shard(split=split, file=path.name, bytes=path.stat().st_size, examples=len(records))


def make_store(
    folder: Path, counts: dict[str, int], sizes: list[Size], channels: int = 1, shards: int = 3, classes: int = 4
) -> Store:
    """A store of `counts` examples a split; the picture number n has `sizes[n mod len(sizes)]`."""
    written = []
    for split, count in counts.items():
        records = [record(number, sizes[number % len(sizes)], channels, classes) for number in range(count)]
        parts = [list(part) for part in np.array_split(np.array(records, object), shards)]
        written += [write_shard(folder / f"{split}-{place}", split, part) for place, part in enumerate(parts)]
    heights, widths = zip(*sizes, strict=True)
    info = DataInfo(
        fields=("id", "image", "label", "labels"),
        class_names=tuple(str(number) for number in range(classes)),
        num_examples=counts,
        picture_sizes={split: (min(heights), min(widths), max(heights), max(widths)) for split in counts},
        image_bytes={split: 500 * count for split, count in counts.items()},
    )
    shard_list = [vars(shard) for shard in written]
    return Store(folder, {"info": asdict(info), "shards": shard_list, "warnings": [], "statistics": {}})
