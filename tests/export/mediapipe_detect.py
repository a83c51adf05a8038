"""Run by mediapipe's own interpreter; `python mediapipe_detect.py PICTURES.npy FILE.tflite ...` prints JSON.

PICTURES.npy holds uint8 [n, H, W, 3]; printed is file -> `found`: for each picture [[label, score, left, top, width,
height], ...], best first, in pixels; `metadata`: as mediapipe's generated code reads it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import mediapipe as mp
import numpy as np
from mediapipe.tasks.metadata import metadata_schema_py_generated as schema
from mediapipe.tasks.metadata import schema_py_generated as tflite
from mediapipe.tasks.python import vision
from mediapipe.tasks.python.core.base_options import BaseOptions


def detect(file: str, pictures: np.ndarray) -> list[list[Any]]:
    options = vision.ObjectDetectorOptions(base_options=BaseOptions(model_asset_path=file))
    with vision.ObjectDetector.create_from_options(options) as detector:
        return [answer(detector, picture) for picture in pictures]


def answer(detector: vision.ObjectDetector, picture: np.ndarray) -> list[Any]:
    image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
    return [one(found) for found in detector.detect(image).detections]


def one(found: Any) -> tuple[str, float, int, int, int, int]:
    (category,), box = found.categories, found.bounding_box
    return category.category_name, category.score, box.origin_x, box.origin_y, box.width, box.height


def metadata(file: str) -> Any:
    model = tflite.ModelT.InitFromPackedBuf(Path(file).read_bytes())
    (place,) = [entry.buffer for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    return plain(schema.ModelMetadataT.InitFromPackedBuf(bytes(model.buffers[place].data)))


def plain(value: Any) -> Any:
    """Tables as dicts of what is set."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | np.ndarray):
        return [plain(one) for one in value]
    if hasattr(value, "__dict__"):
        return {name: plain(one) for name, one in vars(value).items() if one is not None}
    return value.item() if isinstance(value, np.generic) else value


if __name__ == "__main__":
    pictures_file, *files = sys.argv[1:]
    pictures = np.load(pictures_file)
    print(json.dumps({file: {"found": detect(file, pictures), "metadata": metadata(file)} for file in files}))
