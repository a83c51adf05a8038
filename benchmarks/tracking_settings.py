"""What the settings of `convoy track` do to its scores: python -m benchmarks.tracking_settings [--json FILE]

Scene sequences are drawn, and a detector is put in place of which all errors are known: it finds nine in ten of the
digits that are asked for, with boxes off by 5 % of their sides and scores of 0.8 +- 0.15, and takes 0.3 places a frame
for digits that are none. So the scores tell of the tracker alone. `ratio` is each setting's MOTA to that of the
defaults, sequence by sequence.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import measure
from pipeline.data.example import TEST
from pipeline.data.prepare import DataSettings, prepare
from pipeline.files import write_file
from pipeline.tracking.filling import filled
from pipeline.tracking.mot import Objects
from pipeline.tracking.particles import Particles
from pipeline.tracking.scores import scores
from pipeline.tracking.settings import TrackSettings
from pipeline.tracking.stored import StoredSequence
from pipeline.tracking.tracker import Detections, Tracker

SEQUENCES, FRAMES, SIDE = 12, 120, 160
DEFAULTS = "defaults"
COMPARED = {
    DEFAULTS: TrackSettings(),
    "fill_gaps=20": TrackSettings(fill_gaps=20),
    "low_score=0.6": TrackSettings(low_score=0.6),
    "across_classes=true": TrackSettings(across_classes=True),
    "motion=particles": TrackSettings(motion=Particles()),
}
TOLD = {"mota": "MOTA", "idf1": "IDF1", "hota": "HOTA", "identity_switches": "switches a sequence"}
FOUND, OFF, SCORE, SPREAD, FALSE = 0.9, 0.05, 0.8, 0.15, 0.3
"""Of the detector: the share of objects that it finds, how far its boxes are off, as a share of their sides, mean and
spread of its scores, and false detections a frame."""


@dataclass(frozen=True)
class Watched:
    """A sequence: what is there and what the detector says, by the number of the frame."""

    truth: Mapping[int, Objects]
    detections: Mapping[int, Detections]


def main() -> None:
    parser = measure.arguments(__doc__, rounds=1)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    arguments = parser.parse_args()
    machine, sequences = measure.host(), drawn(SEQUENCES)
    found = {name: [judged(settings, one) for one in sequences] for name, settings in COMPARED.items()}
    mota = {name: [one["mota"] for one in results] for name, results in found.items()}
    measures = [measure.compare(f"MOTA, {name} / {DEFAULTS}", mota[name], mota[DEFAULTS], "MOTA") for name in found]
    measure.publish(measures[1:], machine, arguments.json)
    table = markdown(found)
    print(table)
    if arguments.markdown:
        write_file(arguments.markdown, table)


def drawn(count: int) -> list[Watched]:
    """Sequences as the source `scene_sequences` draws and `prepare` writes them."""
    source = {"kind": "scene_sequences", "train": 1, "validation": 0, TEST: count, "frames": FRAMES}
    with tempfile.TemporaryDirectory() as folder:
        settings = DataSettings.model_validate({"source": source | {"height": SIDE, "width": SIDE}})
        store = prepare(settings, Path(folder) / "store", lambda *_, **__: None)
        random = np.random.default_rng(0)
        return [watched(store.path, f"{TEST}/{number:04}", random) for number in range(count)]


def watched(store: Path, name: str, random: np.random.Generator) -> Watched:
    sequence = StoredSequence.open(store, name)
    truth = sequence.truth(SIDE, SIDE, sequence.class_names)
    return Watched(truth, {number: detected(one, random) for number, one in truth.items()})


def detected(there: Objects, random: np.random.Generator) -> Detections:
    """What the detector says of a frame."""
    asked = there.where(~there.ignored)
    seen = asked.where(random.random(len(asked)) < FOUND)
    sizes = np.tile(seen.boxes[:, 2:] - seen.boxes[:, :2], 2)
    wrong = random.poisson(FALSE)
    boxes = np.concatenate([seen.boxes + random.normal(0, OFF, sizes.shape) * sizes, nowhere(wrong, random)])
    classes = np.concatenate([seen.classes, random.integers(0, 10, wrong)])
    return Detections(boxes, np.clip(random.normal(SCORE, SPREAD, len(boxes)), 0.05, 1.0), classes)


def nowhere(count: int, random: np.random.Generator) -> np.ndarray:
    """Boxes of a digit's size at any place, [count,4]."""
    middles, sides = random.uniform(0.1 * SIDE, 0.9 * SIDE, (count, 2)), random.uniform(0.1, 0.35, (count, 2)) * SIDE
    return np.concatenate([middles - sides / 2, middles + sides / 2], axis=1)


def judged(settings: TrackSettings, sequence: Watched) -> dict[str, float]:
    """The scores of the tracks that these settings make of a sequence."""
    tracker = Tracker(settings)
    tracks = {number: tracker.update(one).seen for number, one in sequence.detections.items()}
    tracked = {number: Objects.of(one) for number, one in filled(tracks, settings.fill_gaps).items()}
    return scores(sequence.truth, tracked, list(sequence.truth))


def markdown(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The means over the sequences."""
    lines = [f"| | {' | '.join(TOLD.values())} |", "|" + "---|" * (len(TOLD) + 1)]
    for name, results in found.items():
        means = {key: statistics.mean(one[key] for one in results) for key in TOLD}
        shown = [f"{value:.1f}" if key == "identity_switches" else f"{value:.3f}" for key, value in means.items()]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
