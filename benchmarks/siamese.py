"""A Siamese tracker against template matching: python -m benchmarks.siamese MODEL [KEY=VALUE ...] [--json FILE]

Both follow the object of `vot_bag` (196 frames, CONVOY_DATA), which `configs/single_object.yaml` never saw. The
baseline is normalised correlation (OpenCV's `matchTemplate`, TM_CCOEFF_NORMED) with the object as it was in the first
frame: searched in the whole frame, or around the place where it was, also at three scales. `ratio` is by how much the
tracker's mean IoU is above the baseline's, which should be 0.1; all frames but the first count. Of the speed it is
frames a second by those of the baseline; pictures are in memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import measure
from pipeline.data import followed_boxes
from pipeline.data.sources.followed import frames_of
from pipeline.tracking.follow_run import way_of
from pipeline.tracking.follower import FollowSettings, SiameseNetwork
from pipeline.tracking.frames import Frame, pixels_of
from pipeline.tracking.siamese import open_network
from pipeline.tracking.single_scores import scores

ASKED = 0.1
"""Mean IoU above the baseline."""
SCALES = (0.95, 1.0, 1.05)
Pictures = Sequence[np.ndarray]
Search = Callable[[Pictures, np.ndarray], np.ndarray]


def main() -> None:
    parser = measure.arguments(__doc__, rounds=3)
    parser.add_argument("model", type=Path, help="a trained Run, or the SavedModel or .tflite of its exported parts")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of the follower")
    arguments = parser.parse_args()
    machine, network = measure.host(), open_network(arguments.model)
    settings = FollowSettings.model_validate(dict(one.split("=", 1) for one in arguments.settings))
    frames, truth = bag()
    sides: dict[str, Search] = {
        "siamese": lambda pictures, start: followed(network, settings, pictures, start),
        "whole frame": lambda pictures, start: matched(pictures, start, 0.0, (1.0,)),
        "nearby": lambda pictures, start: matched(pictures, start, 1.0, (1.0,)),
        "nearby, three scales": lambda pictures, start: matched(pictures, start, 1.0, SCALES),
    }
    found, rates = {}, {}
    for name, side in sides.items():
        found[name], rates[name] = judged(side, frames, truth, arguments.rounds)
        print(name, {key: round(value, 3) for key, value in found[name].items() if value is not None}, flush=True)
    gains = [gain(found["siamese"]["mean_iou"], found[name]["mean_iou"], name) for name in list(sides)[1:]]
    speed = measure.compare("frames a second / whole frame", rates["siamese"], rates["whole frame"], "frames/s")
    measure.publish([measure.at_least(gains[0], ASKED), *gains[1:], speed], machine, arguments.json)


def bag() -> tuple[list[np.ndarray], np.ndarray]:
    """Frames uint8 [h,w,3], and the upright boxes around the object, [n,4]."""
    default = measure.ROOT / ".." / "shared" / "data"
    file = Path(os.environ.get("CONVOY_DATA", default)) / "vot_bag" / followed_boxes.FILE_NAMES[0]
    return [pixels_of(frame.read_bytes()) for frame in frames_of(file)], followed_boxes.read(file)


def judged(side: Search, frames: Pictures, truth: np.ndarray, rounds: int) -> tuple[dict[str, float], list[float]]:
    """The scores, and frames a second of each round."""
    rates, boxes = [], truth
    for _ in range(rounds):
        began = time.perf_counter()
        boxes = side(frames, truth[0])
        rates.append(len(frames) / (time.perf_counter() - began))
    return scores(truth, boxes), rates


def gain(ours: float, theirs: float, name: str) -> measure.Measure:
    """By how much a mean IoU is above another."""
    above = ours - theirs
    return measure.Measure(f"mean IoU above matching, {name}", above, above, above, None, None, ours, "mean IoU")


def followed(network: SiameseNetwork, settings: FollowSettings, frames: Pictures, start: np.ndarray) -> np.ndarray:
    """Boxes [n,4]; where the object is taken for hidden, the last one, as the baseline has always one."""
    numbered = (Frame(number, "", pixels) for number, pixels in enumerate(frames, 1))
    way = way_of(network, numbered, settings, lambda number: start)
    return np.stack([one.box for one in way.frames.values()])


def matched(frames: Pictures, start: np.ndarray, reach: float, scales: Sequence[float]) -> np.ndarray:
    """Template matching.

    Args:
        reach: sides of the object from its middle that are searched in each direction; 0 is the whole frame.
        scales: tried at each frame, as factors of the one before.
    """
    height, width = frames[0].shape[:2]
    x_min, y_min, x_max, y_max = np.clip(np.rint(start), 0, [width, height, width, height]).astype(int)
    template, box, scale, found = frames[0][y_min:y_max, x_min:x_max], np.asarray(start), 1.0, [start]
    for pixels in frames[1:]:
        tried = [(one, _best(pixels, template, box, reach, scale * one)) for one in scales]
        factor, (_, box) = max(tried, key=lambda pair: pair[1][0])
        scale *= factor
        found.append(box)
    return np.stack(found)


def _best(
    pixels: np.ndarray, template: np.ndarray, box: np.ndarray, reach: float, scale: float
) -> tuple[float, np.ndarray]:
    """The highest correlation and its box; the old one where the template is larger than what is searched."""
    import cv2

    sized = cv2.resize(template, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    sides = np.array(sized.shape[1::-1])
    low, high = np.zeros(2, int), np.array(pixels.shape[1::-1])
    if reach:
        middle = (box[:2] + box[2:]) / 2
        low = np.clip(middle - sides * reach, 0, high).astype(int)
        high = np.clip(middle + sides * reach, 0, high).astype(int)
    if np.any(high - low < sides):
        return -1.0, box
    answers = cv2.matchTemplate(pixels[low[1] : high[1], low[0] : high[0]], sized, cv2.TM_CCOEFF_NORMED)
    _, score, _, place = cv2.minMaxLoc(answers)
    corner = low + place
    return score, np.concatenate([corner, corner + sides]).astype(np.float64)


if __name__ == "__main__":
    main()
