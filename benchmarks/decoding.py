"""The ways to decode a JPEG: how far their pixels lie from Pillow's, and their speed: python -m benchmarks.decoding

Real pictures (`CONVOY_DATA`, flowers) are brought to --size pixels. Differences are grey levels, the mean of a picture,
averaged over all pictures and for the worst one. Speeds are relative to decoding the whole picture accurately and
shrinking it, per second of processor time.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import measure
from models.preprocess import PictureFormat, crop_and_fit, decode_and_fit, decode_picture, decode_window
from models.stack import tf

Way = Callable[[tf.Tensor], tf.Tensor]
WINDOW = (0.1, 0.2, 0.8, 0.9)
"""About half of the picture, as random resized crops take on average."""


def main() -> None:
    parser = measure.arguments(__doc__, rounds=7)
    parser.add_argument("--size", type=int, default=96, help="height and width in pixels (%(default)s)")
    parser.add_argument("--pictures", type=int, default=100, help="how many (%(default)s)")
    parser.add_argument("--enlarge", type=int, default=1, help="times, as cameras take larger pictures (%(default)s)")
    arguments = parser.parse_args()
    machine = measure.host()
    files = [enlarged(data, arguments.enlarge) for data in pictures(arguments.pictures)]
    ways = ways_of(arguments.size)
    for name, way in ways.items():
        print(f"{name:24} {described(differences(files, way, arguments.size, windowed='window' in name))}")
    rates = measure.interleave(
        {name: partial(rate, stream(files, way)) for name, way in ways.items()}, arguments.rounds
    )
    yardstick = rates["accurate"]
    measures = [measure.compare(f"{name} / accurate", rates[name], yardstick, "pictures/s") for name in ways]
    measure.publish(measures, machine, arguments.json)


def pictures(count: int) -> list[bytes]:
    """JPEG files of flowers, spread over the classes."""
    folder = Path(os.environ.get("CONVOY_DATA", measure.ROOT / ".." / "shared" / "data")) / "flowers" / "train"
    files = sorted(folder.glob("*/*.jpg"))
    return [file.read_bytes() for file in files[:: max(len(files) // count, 1)]]


def enlarged(data: bytes, times: int) -> bytes:
    """The same picture with longer sides, as a JPEG; unchanged for 1."""
    if times == 1:
        return data
    picture, file = Image.open(io.BytesIO(data)).convert("RGB"), io.BytesIO()
    picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def ways_of(side: int) -> dict[str, Way]:
    """Name -> encoded picture to uint8 [side, side, 3]."""
    format, window = PictureFormat(height=side, width=side), tf.constant(WINDOW)
    fast = PictureFormat(height=side, width=side, dct="fast")
    return {
        "accurate": lambda data: decode_and_fit(data, format),
        "fast": lambda data: decode_and_fit(data, fast),
        "scaled": lambda data: decode_and_fit(data, format, scaled=True),
        "window of the whole": lambda data: crop_and_fit(decode_picture(data, format), window, format),
        "window alone": lambda data: crop_and_fit(*decode_window(data, window, format), format),
        "window alone, scaled": lambda data: crop_and_fit(*decode_window(data, window, format, scaled=True), format),
    }


def differences(files: list[bytes], way: Way, side: int, *, windowed: bool) -> np.ndarray:
    """Mean difference to Pillow for each picture, float64 [n]."""
    read = tf.function(way)
    return np.array([np.abs(read(tf.constant(data)).numpy() - client(data, side, windowed)).mean() for data in files])


def client(data: bytes, side: int, windowed: bool) -> np.ndarray:
    """What Pillow makes of it, float64 [side, side, 3]."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    y_min, x_min, y_max, x_max = np.array(WINDOW if windowed else (0, 0, 1, 1)) * (picture.size[::-1] * 2)
    resized = picture.resize((side, side), Image.Resampling.BILINEAR, (x_min, y_min, x_max, y_max))
    return np.asarray(resized).astype(float)


def described(apart: np.ndarray) -> str:
    """Differences in a few words."""
    return f"{apart.mean():5.2f} grey levels from Pillow, worst picture {apart.max():5.2f}"


def stream(files: list[bytes], way: Way) -> tf.data.Dataset:
    """All pictures in one batch; traced here, once."""
    return tf.data.Dataset.from_tensor_slices(files).map(way).batch(len(files))


def rate(batches: tf.data.Dataset) -> float:
    """Pictures per second of processor time, which other processes on the machine disturb least."""
    start = time.process_time()
    count = sum(len(batch) for batch in batches)
    return count / (time.process_time() - start)


if __name__ == "__main__":
    main()
