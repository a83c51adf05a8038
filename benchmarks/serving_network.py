"""What the serving benchmarks serve: MobileNetV2 at 224 px, never trained, exported as Convoy exports, and pictures."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure

SIZE, CLASSES = 224, 1000
PICTURES = 64
WARM_UP_SIZES = (1, 2, 3, 4)
SEED = 1


def photographs() -> list[Path]:
    """JPEG files of the data set `flowers`, evenly over its classes."""
    folder = Path(os.environ.get("CONVOY_DATA", measure.ROOT / ".." / "shared" / "data"), "flowers", "train")
    files = sorted(folder.rglob("*.jpg"))
    if not files:
        sys.exit(f"{folder} has no JPEG files. Set CONVOY_DATA to the folder that holds flowers.")
    return files[:: max(len(files) // PICTURES, 1)][:PICTURES]


def network() -> tuple[Any, Any]:
    """The task and its Keras model; the same weights at each call, with statistics that tell pictures apart."""
    from benchmarks.latency import with_statistics
    from models.backbones import MobileNetV2
    from models.preprocess import PictureFormat
    from models.stack import keras
    from pipeline.tasks import Classification

    keras.utils.set_random_seed(SEED)
    names = tuple(str(number) for number in range(CLASSES))
    picture = PictureFormat(height=SIZE, width=SIZE)
    task = Classification(class_names=names, backbone=MobileNetV2(), picture=picture)
    pictures = np.random.default_rng(SEED).integers(0, 256, (32, SIZE, SIZE, 3), np.uint8)
    return task, with_statistics(task.build(), pictures)


def export(folder: Path) -> None:
    """Writes `folder/network/1`, a model `folder/scalar/1` that takes a number, and `folder/pictures`."""
    from benchmarks.serving_fuzz_inputs import save_model
    from pipeline.export import ExportSettings
    from pipeline.export.saved_model import export_saved_model

    files = photographs()
    settings = ExportSettings(warmup_batch_sizes=WARM_UP_SIZES)
    task, model = network()
    export_saved_model(task, model, folder / "network", [file.read_bytes() for file in files], settings)
    save_model(folder / "scalar" / "1")
    (folder / "pictures").mkdir()
    for file in files:
        (folder / "pictures" / file.name).write_bytes(file.read_bytes())


if __name__ == "__main__":
    export(Path(sys.argv[1]))
