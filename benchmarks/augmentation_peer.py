"""The peers of `benchmarks.augmentation` with worker processes: albumentations under grain and under PyTorch's
DataLoader, in an environment of their own.

Started as `python -m benchmarks.augmentation_peer WORKERS`. For each line `LOADER CASE FOLDER SECONDS` on stdin it
prints the pictures per second of that case.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import albumentations
import cv2
import grain.python as grain
import numpy as np
import torch.utils.data

from benchmarks.pace import pictures_per_second

BATCH = 32


class Files:
    """Encoded pictures with their boxes."""

    def __init__(self, folder: Path):
        self.files: list[Any] = [file.read_bytes() for file in sorted(folder.glob("*.jpg"))]
        self.boxes = [np.load(file) for file in sorted(folder.glob("*.npy"))] or [None] * len(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        return self.files[index], self.boxes[index]


class Pixels(Files):
    """The same, decoded beforehand."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.files = [decode(file) for file in self.files]


class Change(grain.MapTransform):
    """Decoding where needed, then a list of albumentations."""

    def __init__(self, transform: Any):
        self.transform = transform

    def map(self, element: Any) -> Any:
        picture, boxes = element
        picture = decode(picture) if isinstance(picture, bytes) else picture
        if boxes is None:
            return self.transform(image=picture)["image"].astype(np.float32)
        changed = self.transform(image=picture, bboxes=boxes, labels=np.zeros(len(boxes)))
        padded = np.zeros((64, 4), np.float32)
        padded[: len(changed["bboxes"])] = changed["bboxes"]
        return changed["image"].astype(np.float32), padded


def decode(data: bytes) -> Any:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


def jitter(p: float = 1.0) -> Any:
    return albumentations.ColorJitter(
        brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(0, 0), p=p
    )


def turn(**more: Any) -> Any:
    return albumentations.Affine(rotate=(-15, 15), shear=(-10, 10), p=1.0, **more)


CASES = {
    "memory": (
        Pixels,
        lambda: [
            albumentations.HorizontalFlip(p=0.5),
            turn(translate_percent=(-0.1, 0.1), scale=(0.9, 1.1)),
            jitter(),
            albumentations.CoarseDropout(
                num_holes_range=(1, 1), hole_height_range=(56, 56), hole_width_range=(56, 56), p=1.0
            ),
        ],
    ),
    "files": (
        Files,
        lambda: [
            albumentations.RandomResizedCrop((224, 224), scale=(0.25, 1.0), p=1.0),
            albumentations.HorizontalFlip(p=0.5),
            turn(),
            jitter(),
        ],
    ),
    "boxes": (
        Files,
        lambda: [
            albumentations.RandomResizedCrop((512, 512), scale=(0.25, 1.0), p=1.0),
            albumentations.HorizontalFlip(p=0.5),
            turn(),
            jitter(),
        ],
    ),
}


def change_of(case: str) -> Change:
    """What is done to each element of a case."""
    boxes = albumentations.BboxParams("albumentations", label_fields=["labels"]) if case == "boxes" else None
    return Change(albumentations.Compose(CASES[case][1](), bbox_params=boxes))


def by_grain(data: Files, change: Change, workers: int) -> Iterator[Any]:
    """Endless batches."""
    loader = grain.DataLoader(
        data_source=data,
        sampler=grain.IndexSampler(len(data), grain.NoSharding(), shuffle=True, num_epochs=None, seed=0),
        operations=[change, grain.Batch(BATCH)],
        worker_count=workers,
    )
    return iter(loader)


class Changed(torch.utils.data.Dataset):
    """The elements as PyTorch asks for them."""

    def __init__(self, data: Files, change: Change):
        self.data, self.change = data, change

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return self.change.map(self.data[index])


def by_torch(data: Files, change: Change, workers: int) -> Iterator[Any]:
    """Endless batches; a sampler without an end, so that no worker is started twice."""
    endless = torch.utils.data.RandomSampler(data, replacement=True, num_samples=10**9)
    loader = torch.utils.data.DataLoader(
        Changed(data, change), BATCH, sampler=endless, num_workers=workers, prefetch_factor=4
    )
    return iter(loader)


LOADERS: dict[str, Callable[[Files, Change, int], Iterator[Any]]] = {"grain": by_grain, "torch": by_torch}


def rate(loader: str, case: str, folder: Path, seconds: float, workers: int) -> float:
    """Pictures per second, after the first batches."""
    batches = LOADERS[loader](CASES[case][0](folder), change_of(case), workers)
    return pictures_per_second(batches, BATCH, seconds, warm_up=2 * workers)


def main() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for line in sys.stdin:
        loader, case, folder, seconds = line.split()
        print(rate(loader, case, Path(folder), float(seconds), int(sys.argv[1])), flush=True)


if __name__ == "__main__":
    main()
