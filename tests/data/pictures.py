"""Small picture files for the data tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def noise(seed: int, height: int = 12, width: int = 16) -> Image.Image:
    """A smooth random RGB picture, the same for the same seed."""
    small = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def write(path: Path, seed: int = 0) -> Path:
    """A PNG file; folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(noise(seed)))
    return path


def class_folders(root: Path, counts: dict[str, int]) -> Path:
    """`counts` pictures in each folder, such as {"train/cat": 3}."""
    for name, count in counts.items():
        for number in range(count):
            write(root / name / f"{number}.png", seed=number)
    return root
