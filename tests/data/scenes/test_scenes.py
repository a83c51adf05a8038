"""Scenes: what is said of a picture is what is in it, and the same everywhere."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations, pairwise, product
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.data.example import SPLITS, RawExample, content_of
from pipeline.data.outlines import RunLengths
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sampling import RepeatFactor, shown_classes
from pipeline.data.scenes import backgrounds, light, words
from pipeline.data.scenes.digits import INKS, LUMINANCE, Digit, Stamp
from pipeline.data.scenes.handwriting import any_glyph, glyphs
from pipeline.data.scenes.motion import Frame, Sequence
from pipeline.data.scenes.render import OWN, Laid, Layout, Scene, Seen, draw, paint
from pipeline.data.scenes.render import seen as seen_of
from pipeline.data.sources import Scenes, SceneSequences
from pipeline.data.store import Store
from pipeline.diagnosis import DoctorSettings
from pipeline.diagnosis.examine import Subject, examine
from pipeline.errors import ConfigError
from tests.conftest import ROOT

LAYOUT = Layout(160, 160, (2, 8), (0.10, 0.35), 0.5, 0.28)
SMALL = Scenes(train=6, validation=2, test=2, height=96, width=128)
DIGEST = """
import hashlib, sys
import models
from pipeline.data.sources import Scenes, SceneSequences
for source in (Scenes(train=3, validation=1, test=1), SceneSequences(train=1, validation=1, test=0, frames=3)):
    examples = list(source.examples())[::-1]
    print(hashlib.sha256(b"".join(one.image.read_bytes() for one in examples)).hexdigest())
"""


def pixels(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def scenes(count: int, split: str = "train") -> list[Scene]:
    return [Scene(LAYOUT, split, number, 0) for number in range(count)]


def test_no_digit_is_in_two_splits() -> None:
    numbers = {split: {glyph.number for of in classes for glyph in of} for split, classes in glyphs().items()}
    assert sum(map(len, numbers.values())) == len(set.union(*numbers.values())) == 1797
    assert min(len(of) for of in glyphs()["validation"]) >= 20
    seen = {split: {one.digit.glyph.number for scene in scenes(60, split) for one in scene.seen()} for split in numbers}
    assert all(seen[split] <= numbers[split] for split in numbers)


def test_the_same_bytes_in_every_process_and_thread() -> None:
    outputs = [
        subprocess.run([sys.executable, "-c", DIGEST], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    ]
    examples = list(Scenes(train=3, validation=1, test=1).examples())
    frames = list(SceneSequences(train=1, validation=1, test=0, frames=3).examples())
    with ThreadPoolExecutor(4) as pool:
        for held in (examples, frames):
            made = list(pool.map(content_of, [one.image for one in held]))
            outputs.append(hashlib.sha256(b"".join(made[::-1])).hexdigest())
    assert outputs[0].split() == outputs[1:]
    other = Scene(LAYOUT, "train", 0, 1)
    assert other.read_bytes() != Scene(LAYOUT, "train", 0, 0).read_bytes()


def test_they_are_as_hard_as_promised() -> None:
    drawn = [scene.seen() for scene in scenes(150)]
    counts = Counter(len(seen) for seen in drawn)
    assert min(counts) >= 1 and max(counts) == 8 and len(counts) >= 7
    everyone = [one for seen in drawn for one in seen]
    assert {one.label for one in everyone} == set("0123456789")
    heights = np.array([one.digit.height for one in everyone]) / 160
    assert 0.10 <= heights.min() < 0.11 and 0.33 < heights.max() <= 0.35
    visible = np.array([one.visible for one in everyone])
    assert visible.min() >= 0.5
    assert 0.2 < np.mean(visible < 0.95) < 0.7
    bright = np.array([pixels(scene.read_bytes()).mean() for scene in scenes(40)])
    assert bright.max() > 2.5 * bright.min()


@pytest.mark.parametrize("least", [0.0, 0.28, 0.4])
def test_inks_differ_from_what_they_lie_on(least: float) -> None:
    generator, digit = np.random.default_rng(3), Digit.drawn(np.random.default_rng(0), "train", 20.0)
    grounds = np.linspace(0.0, 1.0, 41).repeat(5)
    inked = [digit.inked(generator, np.full(3, ground, np.float32), least) for ground in grounds]
    contrasts = np.abs([float(one.shade @ LUMINANCE) for one in inked] - grounds)
    assert least <= contrasts.min() < least + 0.05
    assert len({one.ink for one in inked}) > 4


def test_digits_that_touch_each_other_have_inks_of_their_own() -> None:
    """Where no contrast is asked for, every ink is free to be taken."""
    layout = LAYOUT._replace(least_contrast=0.0)
    touching = 0
    for number in range(12):
        laid = Scene(layout, "train", number, 0)._drawn()[1]
        pairs = [(a, b) for a, b in combinations(laid, 2) if a.stamp.touches(b.stamp)]
        assert all(a.digit.ink != b.digit.ink for a, b in pairs)
        touching += len(pairs)
    assert touching > 10


def test_a_rim_keeps_digits_of_one_ink_apart() -> None:
    """On grey a rim is the only thing that is darker than a light ink and the ground, or lighter than a dark one."""
    stamp = Digit.drawn(np.random.default_rng(0), "train", 40.0).at(30.0, 30.0).stamp()
    laid = Laid(Digit.drawn(np.random.default_rng(0), "train", 40.0), stamp)
    rims = dict.fromkeys(((), tuple(INKS)), 0)
    for taken, seed in product(rims, range(20)):
        canvas = np.full((60, 60, 3), 0.5, np.float32)
        ink = float(draw(np.random.default_rng(seed), canvas, laid, 0.4, taken).digit.shade @ LUMINANCE)
        seen = canvas @ LUMINANCE
        rims[taken] += bool(seen.min() < 0.4 if ink > 0.5 else seen.max() > 0.6)
    assert rims[()] < 12 and rims[tuple(INKS)] == 20


def test_a_white_digit_on_a_bright_ground_in_bright_light_is_still_seen() -> None:
    """By hand: ln(1 + 2.9) / ln(1 + 2.9 * 6) of the 0.4 above the knee for a brightness of 1."""
    lit = np.array([0.3, 0.6, 1.0, 1.6, 2.0, 3.0], np.float32)
    toned = light.toned(lit)
    np.testing.assert_allclose(toned[[0, 1, 2, 5]], [0.3, 0.6, 0.786926, 1.0], atol=1e-5)
    assert 255 * (toned[4] - toned[3]) > 10  # ground and digit, both of which a picture cut off at 1 shows as white
    camera = light.Camera(blur=0.0, noise=0.0, quality=90)
    shown = camera.picture(np.random.default_rng(0), np.repeat(lit, 3).reshape(1, 6, 3))[0, :, 0]
    np.testing.assert_allclose(shown, toned * 255, atol=0.51)


def test_a_store_of_scenes_that_were_drawn_otherwise_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Scenes().fingerprint()
    monkeypatch.setattr(Scenes, "drawing", Scenes.drawing + 1)
    assert Scenes().fingerprint() != before


def test_training_pictures_may_hold_more_digits_than_those_of_the_test() -> None:
    crowded = Scenes(train=6, validation=0, test=6, most_hidden=0.2, train_digits=(14, 20))
    counts: dict[str, list[int]] = {"train": [], "test": []}
    for example in crowded.examples():
        counts[example.split].append(len(example.objects))
    assert min(counts["train"]) > 8 >= max(counts["test"])
    plain = [one.image.read_bytes() for one in Scenes(train=6, validation=0, test=6, most_hidden=0.2).examples()]
    assert [one.image.read_bytes() for one in crowded.examples()][6:] == plain[6:]


def test_whether_stamps_touch_by_hand() -> None:
    stamp = Stamp(10, 20, np.ones((5, 3), np.float32))
    assert stamp.touches(stamp.moved(2, 4)) and stamp.touches(stamp.moved(-2, -4))
    assert not any(stamp.touches(stamp.moved(x, y)) for x, y in ((3, 0), (-3, 0), (0, 5), (0, -5)))


def test_the_contrast_that_is_asked_for_reaches_the_picture() -> None:
    faint, clear = (Scenes(train=1, least_contrast=least).layout() for least in (0.28, 0.45))
    assert faint == LAYOUT
    assert (faint.least_contrast, clear.least_contrast) == (0.28, 0.45)
    changed = [Scene(clear, "train", n, 0).read_bytes() != Scene(faint, "train", n, 0).read_bytes() for n in range(8)]
    assert any(changed)
    moving = [
        [Frame(Sequence(one._replace(most_hidden=0.75), "train", number, 0, 30), 3).read_bytes() for number in range(8)]
        for one in (faint, clear)
    ]
    assert moving[0] != moving[1]


def test_digits_are_where_they_are_said_to_be() -> None:
    """A scene without a digit differs from the same scene with it in that digit's pixels: inside its mask, and hardly
    anywhere else."""
    generator = np.random.default_rng(3)
    stamp = Digit.drawn(generator, "train", 40.0).at(50.0, 60.0).stamp()
    rows, columns, alpha = stamp.within(120, 100)
    assert rows.start <= 60 - 18 and rows.stop >= 60 + 18
    ys, xs = np.nonzero(alpha > 0.5)
    assert abs(ys.mean() + rows.start - 60) < 6 and abs(xs.mean() + columns.start - 50) < 6
    plain = np.full((160, 160, 3), 0.5, np.float32)
    for laid in (one for scene in scenes(10) for one in scene.places()[0]):
        canvas = plain.copy()
        rows, columns, alpha = laid.stamp.within(160, 160)
        paint(canvas[rows, columns], replace(laid.digit, shade=np.ones(3, np.float32)), alpha)
        changed = np.abs(canvas - plain).max(axis=2) > 0.5 * laid.digit.opacity * OWN
        (found,) = seen_of([laid], [], LAYOUT)
        assert found is not None
        assert not (changed & ~cv2.dilate(found.mask.astype(np.uint8), np.ones((3, 3))).astype(bool)).any()
        assert changed[found.mask].mean() > 0.9
        ys, xs = np.nonzero(found.mask)
        assert found.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def test_photographs_are_shared_out() -> None:
    edges = sorted(backgrounds.PARTS.values())
    assert set(backgrounds.PARTS) == set(SPLITS)
    assert (edges[0][0], edges[-1][1]) == (0.0, 1.0)
    assert all(before[1] == after[0] for before, after in pairwise(edges))


def test_questions_have_answers_that_can_be_learned() -> None:
    many = Scenes(train=40, validation=1, test=1, digits=(10, 14), scale=(0.1, 0.12), learn="question")
    assert {one.label for one in many.examples()} <= set(words.ANSWERS)
    assert words.question(np.random.default_rng(0), []) == ("how many digits are there?", "0")


def test_the_visible_share_by_hand() -> None:
    """A square of 10 x 10: half covered by another, then a fifth of that one beyond the edge."""
    from pipeline.data.scenes.render import Owners

    owners = Owners(LAYOUT._replace(height=20, width=20))
    square = Stamp(0, 0, np.ones((10, 10), np.float32))
    owners.add(square)
    owners.add(square.moved(5, 0))
    assert owners.visible() == [0.5, 1.0]
    assert not owners.fits(square.moved(0, 1), 0.4, digit=False)
    assert owners.visible() == [0.5, 1.0]
    owners.add(square.moved(12, 12))
    assert owners.visible() == [0.5, 1.0, 0.64]


def seen(label: int, box: tuple[float, float, float, float], ink: str = "red") -> Seen:
    glyph = any_glyph(np.random.default_rng(0), "train")._replace(label=label)
    digit = Digit(glyph, ink, np.zeros(3), box[3] - box[1], 1.0, 0.0, 0.0, 0.5, 1.0, 0.0, 0.0)
    return Seen(digit, np.zeros((1, 1), bool), box, 1.0)


def test_words_by_hand() -> None:
    held = [seen(8, (60, 40, 80, 60), "orange"), seen(3, (5, 10, 15, 30)), seen(7, (40, 16, 55, 34), "blue")]
    assert words.read(held) == "37 8"
    assert words.caption(held, LAYOUT._replace(height=90, width=90)) == (
        "three digits: a red 3 at the top left, a blue 7 at the top, an orange 8 at the right"
    )
    answers = {words.question(np.random.default_rng(number), held) for number in range(200)}
    questions = dict(answers)
    assert questions["how many digits are there?"] == "3"
    assert questions["what colour is 7?"] == "blue"
    assert questions["which digit is furthest left?"] == "3"
    assert questions["which digit is tallest?"] in "83"
    assert questions["is 8 there?"] == "yes"
    assert questions["how many times is 3 there?"] == "1"
    assert {answer for _, answer in answers} <= set(words.ANSWERS)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    source = SMALL.model_copy(update={"learn": "instances"})
    return prepare(DataSettings(source=source, missing_classes="warn"), tmp_path_factory.mktemp("stores"))


def test_through_prepare(store: Store) -> None:
    from models.stack import tf

    assert store.info.fields == ("id", "image", "boxes", "classes", "visible", "masks")
    assert store.info.num_examples == {"train": 6, "validation": 2, "test": 2}
    assert store.info.picture_sizes["train"] == (96, 128, 96, 128)
    assert store.quarantine() == store.objects_left_out() == []
    expected = {example.id: example for example in SMALL.examples()}
    for record in tf.data.TFRecordDataset(store.files("train")).map(store.parse).as_numpy_iterator():
        raw = expected[record["id"].decode()]
        there = record["classes"] >= 0
        assert record["image"] == content_of(raw.image)
        assert [str(number) for number in record["classes"][there]] == [one.label for one in raw.objects or ()]
        np.testing.assert_allclose(record["visible"][there], [one.visible for one in raw.objects or ()], rtol=1e-6)
        assert not record["visible"][~there].any()
        for box, mask in zip(record["boxes"][there] * (128, 96, 128, 96), record["masks"][there], strict=True):
            rows, columns = np.nonzero(tf.io.decode_png(mask).numpy()[..., 0])
            np.testing.assert_allclose(box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], atol=1e-4)


def test_rare_classes_among_boxes_are_repeated(store: Store) -> None:
    """f = share of the pictures that show a class; a picture's factor is the largest max(1, sqrt(threshold / f))."""
    shown = shown_classes(store)
    frequency = shown.counts / shown.num_examples
    factors = RepeatFactor(threshold=0.5).factors(shown)
    for number, factor in enumerate(factors):
        classes = shown.classes[shown.examples == number]
        assert factor == pytest.approx(max(1.0, *np.sqrt(0.5 / frequency[classes])))
    assert factors.max() > 1.0


@pytest.mark.parametrize(
    ("learn", "fields"),
    [
        ("objects", ("boxes", "classes", "visible")),
        ("regions", ("mask",)),
        ("labels", ("labels",)),
        ("count", ("value",)),
        ("reading", ("text",)),
        ("question", ("label", "text")),
    ],
)
def test_every_answer_can_be_learned(learn: str, fields: tuple[str, ...], tmp_path: Path) -> None:
    source = SMALL.model_copy(update={"learn": learn})
    store = prepare(DataSettings(source=source, missing_classes="warn"), tmp_path)
    assert store.info.fields == ("id", "image", *fields)


def test_answers_agree() -> None:
    def given(learn: str) -> list[RawExample]:
        return list(SMALL.model_copy(update={"learn": learn}).examples())

    rows = zip(*map(given, ("instances", "regions", "labels", "count", "reading", "caption")), strict=True)
    for instances, regions, labels, count, reading, caption in rows:
        names = [one.label for one in instances.objects or ()]
        assert labels.labels == sorted(set(names))
        assert count.value == [len(names)]
        assert sorted((reading.text or "").replace(" ", "")) == sorted(names)
        assert all(f" {name} at the " in (caption.text or "") for name in names)
        for one in instances.objects or ():
            assert isinstance(one.mask, RunLengths)
            assert set(regions.mask[one.mask.pixels(96, 128) > 0]) == {int(one.label) + 1}  # type: ignore[index]
        assert {example.image.read_bytes() for example in (instances, regions, caption)} == {
            instances.image.read_bytes()
        }


def test_doctor_finds_nothing_wrong_with_them() -> None:
    source = Scenes(train=20, validation=5, test=5)
    findings = examine(Subject(source, missing_classes="warn"), DoctorSettings()).findings
    assert [finding for finding in findings if finding.severity == "error"] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("digits=[5, 2]", r"expected \[least, most\].*got \[5, 2\]"),
        ("train_digits=[9, 2]", r"expected \[least, most\].*got \[9, 2\]"),
        ("scale=[0.5, 0.2]", r"expected \[least, largest\]"),
        ("train=0", "train"),
        ("learn=objcts", "Did you mean 'objects'"),
    ],
)
def test_mistakes(changes: str, message: str) -> None:
    from pipeline.config import loads

    text = "data: {source: {kind: scenes}}\ntask: {kind: multi_label}\n"
    with pytest.raises(ConfigError, match=message):
        loads(text, [f"data.source.{changes}"])
