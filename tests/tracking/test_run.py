"""`convoy track` from end to end: folders, prepared data and a SavedModel in, files and scores out."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.preprocess import PictureFormat, decode_and_fit
from models.stack import tf
from pipeline.cli import execute
from pipeline.data.frames import fitted
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sources import SceneSequences
from pipeline.describe import settings_of
from pipeline.errors import ConfigError, DataError
from pipeline.tasks import Classification, Detection
from pipeline.tracking import mot
from pipeline.tracking.appearance import Colours, NetworkFeatures, NoAppearance
from pipeline.tracking.detector import open_detector
from pipeline.tracking.kalman import Kalman
from pipeline.tracking.outcome import Outcome
from pipeline.tracking.particles import Particles
from pipeline.tracking.run import Asked, track
from pipeline.tracking.settings import TrackSettings
from pipeline.tracking.stored import StoredSequence, _objects
from pipeline.tracking.tracker import Detections
from tests.conftest import ROOT
from tests.tracking.given import HEIGHT, WIDTH, Known, exact, known

FRAMES = 24
DIGITS = tuple("0123456789")


class Knowing:
    """A detector that knows frames by their pixels, and what is in them."""

    threshold = 0.6

    def __init__(self, found: dict[int, Detections], class_names: Sequence[str] = DIGITS):
        self._found, self.class_names = found, class_names
        self.batches: list[int] = []

    @classmethod
    def of(cls, scene: Known) -> Knowing:
        return cls({zlib.crc32(scene.pixels(number)): exact(one) for number, one in scene.objects.items()})

    def __call__(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        self.batches.append(len(frames))
        return [self._found[zlib.crc32(np.ascontiguousarray(frame))] for frame in frames]


def silent(done: int, total: int | None = None, /, **fields: float | str) -> None:
    pass


def tracked(detector: Any, output: Path, place: Path, **asked: Any) -> Outcome:
    return track(detector, Asked(place, **asked), TrackSettings(), output, silent)


@pytest.fixture(scope="module")
def scene() -> Known:
    return known(frames=FRAMES)


@pytest.fixture(scope="module")
def detector(scene: Known) -> Knowing:
    return Knowing.of(scene)


@pytest.fixture
def folder(scene: Known, tmp_path: Path) -> Path:
    folder = tmp_path / "video"
    folder.mkdir()
    for number in scene.objects:
        (folder / f"{number}.jpg").write_bytes(scene.picture(number))
    return folder


def write_truth(scene: Known, file: Path) -> Path:
    """As MOTChallenge has it."""
    lines = []
    for number, objects in scene.objects.items():
        sizes = objects.boxes[:, 2:] - objects.boxes[:, :2]
        for identity, (x, y), (width, height) in zip(objects.ids, objects.boxes[:, :2], sizes, strict=True):
            lines.append(f"{number},{identity},{x + 1},{y + 1},{width},{height},1,1,1")
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_a_folder_is_tracked_scored_and_drawn(scene: Known, detector: Knowing, folder: Path, tmp_path: Path) -> None:
    detector.batches.clear()
    truth = write_truth(scene, tmp_path / "gt.txt")
    outcome = tracked(detector, tmp_path / "out", folder, truth=truth, draw=tmp_path / "drawn")
    outcome.require_whole()
    assert detector.batches == [8, 8, 8]
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert written == outcome.document
    assert written["frames"] == {"count": FRAMES, "a_second": None, "width": WIDTH, "height": HEIGHT}
    assert written["scores"]["mota"] > 0.9 and written["scores"]["identity_switches"] == 0
    assert written["scores"]["true_frames_beyond_the_end"] == 0
    assert written["settings"]["new_score"] is None
    assert written["thresholds"] == pytest.approx({"low_score": 0.1, "high_score": 0.6, "new_score": 0.7})
    tracks = mot.read(tmp_path / "out" / "tracks.csv")
    assert sum(map(len, tracks.values())) == written["tracks"]["boxes"]
    assert written["tracks"]["count"] == len({track for one in tracks.values() for track in one.ids.tolist()})
    drawn = sorted(file.name for file in (tmp_path / "drawn").iterdir())
    assert drawn == [f"{number:06}.jpg" for number in scene.objects]
    plain, shown = (np.asarray(Image.open(file)) for file in (folder / "5.jpg", tmp_path / "drawn" / "000005.jpg"))
    assert plain.shape == shown.shape and (plain != shown).any()


def test_gaps_are_filled_in_what_is_written_scored_and_drawn(scene: Known, folder: Path, tmp_path: Path) -> None:
    """Nothing is found for three frames, in which nothing leaves or enters for good."""
    found = {number: exact(one) for number, one in scene.objects.items()}
    hidden = {number: exact(one).where(np.zeros(len(one.ids), bool)) for number, one in scene.objects.items()}
    gap = range(10, 13)
    blind = Knowing({zlib.crc32(scene.pixels(n)): (hidden if n in gap else found)[n] for n in found})
    truth = write_truth(scene, tmp_path / "gt.txt")
    recall, boxes = {}, {}
    for most in (2, 3):
        asked = Asked(folder, truth=truth, draw=tmp_path / f"drawn{most}")
        outcome = track(blind, asked, TrackSettings(fill_gaps=most), tmp_path / f"out{most}", silent)
        recall[most] = outcome.document["scores"]["mota"]
        boxes[most] = sum(len(mot.read(tmp_path / f"out{most}" / "tracks.csv").get(number, ())) for number in gap)
    assert boxes[2] == 0 and boxes[3] >= 3 and recall[3] > recall[2] + 0.05
    empty, shown = (np.asarray(Image.open(tmp_path / f"drawn{most}" / "000011.jpg")) for most in (2, 3))
    assert (empty != shown).any()


def test_broken_frames_cost_little_and_are_told_after_all_is_written(
    scene: Known, detector: Knowing, folder: Path, tmp_path: Path
) -> None:
    for number in (7, 8):
        (folder / f"{number}.jpg").write_bytes(b"broken")
    truth = write_truth(scene, tmp_path / "gt.txt")
    outcome = tracked(detector, tmp_path / "out", folder, truth=truth)
    assert [(one["kind"], one["frame"]) for one in outcome.document["problems"]] == [("broken", 7), ("broken", 8)]
    missed = len(scene.objects[7]) + len(scene.objects[8])
    assert outcome.document["scores"]["misses"] >= missed
    assert outcome.document["scores"]["identity_switches"] == 0
    assert not {7, 8} & mot.read(tmp_path / "out" / "tracks.csv").keys()
    with pytest.raises(DataError, match=r"frame 7 \(7\.jpg\): not a picture.*frame 8.*was tracked and written"):
        outcome.require_whole()


def test_nothing_is_tracked_where_what_is_asked_for_is_wrong(detector: Knowing, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("1,2\n", encoding="utf-8")
    for asked, error in (
        ({"truth": tmp_path / "gt.txt"}, DataError),
        ({"draw": tmp_path / "a.xyz"}, ConfigError),
        ({"draw": folder}, ConfigError),
        ({"rate": 5.0}, ConfigError),
        ({"sequence": "test/0000"}, ConfigError),
    ):
        with pytest.raises(error):
            tracked(detector, tmp_path / "out", folder, **asked)
    assert not (tmp_path / "out").exists()


def test_scores_that_contradict_the_model_are_refused_before_anything_is_read(
    detector: Knowing, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"low_score=0\.7 contradicts the model's own threshold 0\.6"):
        track(detector, Asked(folder), TrackSettings(low_score=0.7), tmp_path / "out", silent)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------- prepared data


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = SceneSequences(
        train=1, validation=1, test=1, frames=8, height=64, width=64, digits=(2, 3), scale=(0.3, 0.4)
    )
    settings = DataSettings(source=source, missing_classes="warn")
    return prepare(settings, tmp_path_factory.mktemp("store"), silent).path


def test_a_sequence_of_prepared_data_is_its_own_truth(store: Path, tmp_path: Path) -> None:
    sequence = StoredSequence.open(store, "train/0000")
    frames = list(sequence.frames())
    assert [one.name for one in frames] == [f"train/0000/{number:06}" for number in range(8)]
    renamed = tuple(reversed(DIGITS))  # the model has its classes in another order than the store
    truth = sequence.truth(64, 64, renamed)
    found = {
        zlib.crc32(np.ascontiguousarray(frame.pixels)): exact(truth[frame.number])
        for frame in frames
        if frame.pixels is not None
    }
    asked = {"sequence": "train/0000", "draw": tmp_path / "drawn.gif"}
    outcome = tracked(Knowing(found, renamed), tmp_path / "out", store, **asked)
    assert outcome.document["scores"]["idf1"] > 0.85
    assert set(outcome.document["tracks"]["classes"]) <= set(DIGITS)
    with Image.open(tmp_path / "drawn.gif") as drawn:
        assert drawn.n_frames == 8  # type: ignore[attr-defined]
    again = tracked(Knowing(found, renamed), tmp_path / "again", store, truth=store, sequence="train/0000")
    assert again.document["scores"] == outcome.document["scores"]


def test_what_is_ignored_of_a_store() -> None:
    """A crowd, a hidden object, one that is seen and not asked for, one without a track, an ordinary one, no object."""
    example = {
        "boxes": np.tile(np.float32([0.0, 0.0, 0.5, 1.0]), (6, 1)),
        "classes": np.array([0, 0, 0, 1, 1, -1]),
        "tracks": np.array([1, 2, 3, 0, 5, 0]),
        "crowd": np.array([1, 0, 0, 0, 0, 0], bool),
        "difficult": np.array([0, 1, 1, 0, 0, 0], bool),
        "visible": np.float32([1.0, 0.7, 0.99, 1.0, 1.0, 0.0]),
    }
    found = _objects(example, np.array([10, 20, 10, 20]), np.array([4, -1]))
    assert found.boxes.tolist() == [[0, 0, 5, 20]] * 5
    assert found.classes.tolist() == [4, 4, 4, -1, -1]
    assert found.ignored.tolist() == [True, True, True, True, False]
    assert found.in_parts.tolist() == [True, True, False, False, False]
    fewer = {name: values for name, values in example.items() if name in ("boxes", "classes", "tracks")}
    assert _objects(fewer, np.array([1, 1, 1, 1]), np.array([0, 1])).ignored.tolist() == [False] * 3 + [True, False]


def test_sequences_that_are_not_there(store: Path) -> None:
    with pytest.raises(DataError, match=r"holds 3 sequences: test/0000, train/0000, validation/0000.*--sequence"):
        StoredSequence.open(store, None)
    with pytest.raises(DataError, match=r"no sequence 'tran/0000'. Did you mean 'train/0000'"):
        StoredSequence.open(store, "tran/0000")


# ------------------------------------------------------------------------------------------------- a model

FORMAT = PictureFormat(height=32, width=64, fit="letterbox")
NAMES = ("red", "green")


class Squares(tf.Module):
    """A detector that needs no training: the box around all red, and around all green."""

    @tf.function(input_signature=[tf.TensorSpec([None, 32, 64, 3], tf.uint8, name="image")])
    def images(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        bright = image[..., :2] > 200  # [B,H,W,2]
        x = self.extent(tf.reduce_any(bright, axis=1))
        y = self.extent(tf.reduce_any(bright, axis=2))
        boxes = tf.stack([x[0], y[0], x[1], y[1]], axis=-1)
        batch = tf.shape(image)[0]
        return {
            "boxes": boxes,
            "classes": tf.tile([[0.0, 1.0]], [batch, 1]),
            "scores": tf.tile([[0.9, 0.8]], [batch, 1]),
            "count": tf.fill([batch], 2.0),
        }

    def extent(self, there: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """bool [B,L,2] -> where each begins and ends, as shares, [B,2]."""
        length = tf.shape(there)[1]
        ones = tf.cast(there, tf.int32)
        last = length - tf.argmax(ones[:, ::-1], axis=1, output_type=tf.int32)
        return tuple(
            tf.cast(place, tf.float32) / tf.cast(length, tf.float32)
            for place in (tf.argmax(ones, axis=1, output_type=tf.int32), last)
        )


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, module = tmp_path_factory.mktemp("export"), Squares()
    tf.saved_model.save(module, str(folder / "saved_model" / "1"), signatures={"images": module.images})
    task = Detection(picture=FORMAT, class_names=NAMES)
    (folder / "contract.json").write_text(json.dumps({"task": task.model_dump(mode="json")}), encoding="utf-8")
    return folder


def written(folder: Path) -> Path:
    """Frames of 80 x 100 pixels in which a red and a green square move towards each other."""
    folder.mkdir()
    for number in range(10):
        pixels = np.zeros((80, 100, 3), np.uint8)
        pixels[10:30, 10 + 5 * number : 30 + 5 * number, 0] = 255
        pixels[50:70, 60 - 5 * number : 90 - 5 * number, 1] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_the_command(export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video, output = written(tmp_path / "video"), tmp_path / "out"
    arguments = ["track", str(export), str(video), "motion.place_noise=0.04", "confirm=1", "--output", str(output)]
    assert execute([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tracks"] == {"count": 2, "classes": {"red": 1, "green": 1}, "mean_frames": 10.0, "boxes": 20}
    assert document["settings"]["motion"]["place_noise"] == 0.04
    assert document["scores"] is None
    boxes = mot.read(output / "tracks.csv")[10].boxes
    # The model's 32 x 64 pixels show 80 rows in 32: one of its pixels is 2.5 of the frame's.
    np.testing.assert_allclose(boxes, [[55, 10, 75, 30], [15, 50, 45, 70]], atol=4)
    assert execute(arguments) == 0
    assert "2 tracks, each seen in 10.0 frames on average: 1 red, 1 green" in capsys.readouterr().out
    (video / "4.png").write_bytes(b"")
    assert execute(arguments) == 3
    told = capsys.readouterr()
    assert "frame 5 (4.png): the file is empty" in told.err and "2 tracks" in told.out


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("motoin=kalman", "Did you mean 'motion'"),
        ("motion=klaman", "Did you mean 'kalman'"),
        ("high_score=0.5 new_score=0.2", "expected low_score <= high_score <= new_score"),
        ("camera.height=3", "camera.height"),
        ("keep_lost", "expected key=value"),
    ],
)
def test_wrong_settings_are_named(setting: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["track", "gone", "gone", *setting.split()]) == 2
    told = capsys.readouterr()
    assert told.out == "" and message in told.err


def test_models_that_find_no_objects_are_refused(tmp_path: Path) -> None:
    task = Classification(class_names=("a", "b"))
    (tmp_path / "contract.json").write_text(json.dumps({"task": task.model_dump(mode="json")}), encoding="utf-8")
    with pytest.raises(ConfigError, match="the task 'classification'; tracking needs one of the task 'detection'"):
        open_detector(tmp_path)


@pytest.mark.parametrize(
    "format", [PictureFormat(height=32, width=40, fit="crop"), FORMAT, PictureFormat(height=30, width=30, channels=2)]
)
def test_frames_are_fitted_as_pictures_of_files_are(format: PictureFormat) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)
    expected = decode_and_fit(tf.io.encode_png(pixels), format).numpy()
    difference = np.abs(fitted(pixels, format).astype(int) - expected)
    assert difference.max() <= (0 if format.colours == 3 else 1)


def test_the_page_names_every_setting() -> None:
    page = (ROOT / "docs" / "tracking.md").read_text(encoding="utf-8")
    for row in settings_of(TrackSettings):
        assert f"| `{row.name}` |" in page and row.meaning in page
    for choice in (Kalman, Particles, NoAppearance, Colours, NetworkFeatures):
        kind, *fields = settings_of(choice)
        assert f"| `{kind.default}` |" in page
        for field in fields:
            assert f"`{field.name}`{f' {field.default}' if field.default else ''}" in page
