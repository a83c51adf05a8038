"""Policies: what is drawn, how strong it is, and that a batch is worked on as each example alone would be."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from pydantic import ValidationError
from scipy import stats

from models.stack import tf
from pipeline import augment
from pipeline.augment import plan, random
from pipeline.augment.base import PictureShape
from pipeline.augment.engines import Engine
from pipeline.augment.geometry import HorizontalFlip
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.policies import AugMix, Mixture, RandAugment, TrivialAugment, dirichlet
from pipeline.augment.policy import MOVES, Name
from pipeline.augment.suiting import changes, suited
from pipeline.augment.tensorflow_engine import TensorFlow
from pipeline.augment.warp import Warp
from pipeline.errors import ConfigError
from tests.augment.pictures import batch

SHAPE = PictureShape(331, 331, 3)
STRENGTHS = RandAugment.strengths


def keys(count: int) -> tf.Tensor:
    return random.keys(tf.strings.as_string(tf.range(count)), tf.zeros(count, tf.int64), 0)


@pytest.mark.parametrize(
    ("name", "at_ten", "at_five", "at_thirty"),
    [
        ("rotation", 30, 15, 90),
        ("shear_x", 0.3, 0.15, 0.9),
        ("translation_y", 150 / 331, 75 / 331, 450 / 331),
        ("brightness", 0.9, 0.45, 2.7),
        ("sharpness", 0.9, 0.45, 2.7),
        ("solarize", 256, 128, 256),
        ("posterize", 4, 2, 7),
        ("autocontrast", 1, 1, 1),
        ("identity", 0, 0, 0),
    ],
)
def test_magnitudes_of_rand_augment(name: Name, at_ten: float, at_five: float, at_thirty: float) -> None:
    levels = tf.constant([[1.0, 0.5, 3.0]])
    found = STRENGTHS.amounts([name], levels, tf.ones([1, 3]))[0, :, 0]
    np.testing.assert_allclose(found, [at_ten, at_five, at_thirty], rtol=1e-6)
    back = STRENGTHS.amounts([name], levels, -tf.ones([1, 3]))[0, :, 0]
    turned = name in MOVES or name in ("brightness", "sharpness")
    expected = [-at_ten, -at_five, -at_thirty] if turned else [at_ten, at_five, at_thirty]
    lowest = -np.inf if name in MOVES else -1.0  # a factor below 0 would be a negative
    np.testing.assert_allclose(back, np.maximum(expected, lowest), rtol=1e-6)


def test_each_slot_draws_each_operation_equally_often_in_both_directions() -> None:
    policy = RandAugment(num_operations=3)
    draws = random.uniform(keys(14000), 0, policy.num_draws)[:, 1:7]
    drawn = policy.drawn(tf.reshape(draws, [-1, 3, 2]), tf.ones([14000, 3]), STRENGTHS).numpy()
    names = policy.operations
    used = (drawn != 0)[..., [number for number, name in enumerate(names) if name != "identity"]]
    assert used.sum(axis=-1).max() == 1
    for slot in range(3):
        counts = [*used[:, slot].sum(axis=0), (~used[:, slot].any(axis=-1)).sum()]
        assert stats.chisquare(counts).pvalue > 1e-3
    rotations = drawn[..., names.index("rotation")]
    assert abs((rotations > 0).sum() / (rotations != 0).sum() - 0.5) < 0.03
    pairs, _, _ = np.histogram2d(*(np.argmax(drawn[:, slot] != 0, axis=-1) for slot in (0, 1)), bins=14)
    assert stats.chisquare(pairs.ravel()).pvalue > 1e-4  # slots are independent


def test_trivial_augment_draws_wide_ranges_evenly() -> None:
    policy = TrivialAugment(operations=("rotation",))
    turns = policy.transform(random.uniform(keys(6000), 0, policy.num_draws), SHAPE).parts()[0]
    degrees = np.degrees(np.arctan2(turns.matrices[:, 1, 0], turns.matrices[:, 0, 0]).astype(float)).round(1)
    values, counts = np.unique(np.abs(degrees), return_counts=True)
    np.testing.assert_allclose(values, np.arange(31) * 4.5, atol=0.11)
    assert stats.chisquare(counts).pvalue > 1e-3
    shifted = TrivialAugment(operations=("translation_x",))
    matrices = shifted.transform(random.uniform(keys(500), 0, 4), SHAPE).parts()[0].matrices.numpy()
    assert matrices[:, 0, 2].min() == -32 and matrices[:, 0, 2].max() == 32
    np.testing.assert_array_equal(matrices[:, 0, 2], matrices[:, 0, 2].round())


def single(name: Name, level: float, picture: np.ndarray, engine: Engine, positive: bool = True) -> np.ndarray:
    """The picture after one operation at a magnitude."""
    policy = RandAugment(num_operations=1, magnitude=level, operations=(name,))
    draws = tf.constant([[0.0, 0.0, 0.9 if positive else 0.1] + [0.0] * (policy.num_draws - 3)])
    examples = {"image": tf.constant(picture[np.newaxis])}
    for transform in plan.fuse([policy.transform(draws, PictureShape(*picture.shape))]):
        examples = transform(examples, engine)
    return examples["image"].numpy()[0].astype(int)


@pytest.mark.parametrize("engine", [OpenCV(), TensorFlow()])
def test_operations_equal_pillow(engine: Engine) -> None:
    picture = batch(1, 20, 20, 3)["image"][0]
    picture = (picture * 0.6 + 30).astype(np.uint8)
    image = Image.fromarray(picture)
    expected = {
        ("autocontrast", 9): ImageOps.autocontrast(image),
        ("equalize", 9): ImageOps.equalize(image),
        ("solarize", 5): ImageOps.solarize(image, 128),
        ("posterize", 5): ImageOps.posterize(image, 6),
        ("brightness", 5): ImageEnhance.Brightness(image).enhance(1.45),
        ("contrast", 5): ImageEnhance.Contrast(image).enhance(1.45),
        ("saturation", 5): ImageEnhance.Color(image).enhance(1.45),
        ("identity", 9): image,
    }
    for (name, level), result in expected.items():
        assert np.abs(single(name, level, picture, engine) - np.asarray(result, int)).max() <= 1, name
    sharper = np.asarray(ImageEnhance.Sharpness(image).enhance(1.45), int)
    assert np.abs(single("sharpness", 5, picture, engine) - sharper)[1:-1, 1:-1].max() <= 1
    for name, shift, axis in (("translation_x", round(0.5 * 150 / 331 * 20), 1), ("translation_y", 5, 0)):
        moved = single(name, 5, picture, engine)
        kept = np.take(moved, range(shift, 20), axis)
        np.testing.assert_array_equal(kept, np.take(picture, range(20 - shift), axis))
        assert (np.take(moved, range(shift), axis) == 128).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "policy",
    [RandAugment(num_operations=3, magnitude=6), TrivialAugment(), AugMix(), AugMix(width=1, depth=(4, 4), alpha=0.3)],
)
def test_a_batch_equals_each_example_alone(policy: RandAugment | TrivialAugment | AugMix, channels: int) -> None:
    examples = {name: tf.constant(values) for name, values in batch(12, 24, 20, channels).items()}
    together = augment.apply([policy], examples, 3)["image"].numpy()
    for number in range(12):
        alone = {name: values[number : number + 1] for name, values in examples.items()}
        np.testing.assert_array_equal(augment.apply([policy], alone, 3)["image"].numpy()[0], together[number])


def test_geometry_is_one_resampling_and_comes_first() -> None:
    steps = plan.fuse(plan.transforms([HorizontalFlip(), RandAugment(num_operations=4)], keys(3), SHAPE))
    names = [type(step).__name__ for step in steps]
    slot = ["Filter", "Recolour", "Lookup"]
    # Lookups of the first two slots are neighbours and become one, and so on.
    assert names == ["Warp", *slot, "Recolour", "Filter", *slot, "Recolour", "Filter"]
    flat = plan.fuse(plan.transforms([RandAugment(operations=("solarize", "posterize"))], keys(3), SHAPE))
    assert [type(step).__name__ for step in flat] == ["Lookup"]


def test_boxes_and_masks_move_with_the_picture() -> None:
    examples = {name: tf.constant(values) for name, values in batch(60, 32, 32).items()}
    boxes = tf.tile(tf.constant([[[0.25, 0.25, 0.75, 0.75]]]), [60, 1, 1])
    mask = np.zeros((60, 32, 32, 1), np.uint8)
    mask[:, 8:24, 8:24] = 1
    examples |= {"boxes": boxes, "classes": tf.zeros([60, 1], tf.int64), "mask": tf.constant(mask)}
    policy = RandAugment(operations=("translation_x", "translation_y", "brightness"), magnitude=4)
    result = augment.apply([policy], examples, 0)
    moved = 0
    for box, plane in zip(result["boxes"].numpy()[:, 0], result["mask"].numpy()[..., 0], strict=True):
        rows, columns = np.nonzero(plane == 1)
        around = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 32
        np.testing.assert_allclose(box, around, atol=1e-5)
        moved += bool(np.any(box != boxes[0, 0].numpy()))
    assert 30 < moved < 60


def test_augmix_keeps_labels_and_moves_nothing_that_is_marked() -> None:
    examples = {name: tf.constant(values) for name, values in batch(6, 16, 16).items()}
    plain = augment.apply([AugMix()], examples, 0)
    assert all(plain[name] is examples[name] for name in examples if name != "image")
    examples |= {"boxes": tf.random.stateless_uniform([6, 2, 4], [0, 1]), "mask": tf.ones([6, 16, 16, 1], tf.uint8)}
    with pytest.raises(ConfigError, match="marks places in its pictures"):
        augment.apply([AugMix()], examples, 0)
    (policy,) = suited([AugMix()], examples)
    result = augment.apply([policy], examples, 0)
    assert all(result[name] is examples[name] for name in examples if name != "image")
    assert (result["image"].numpy() != examples["image"].numpy()).any(axis=(1, 2, 3)).sum() > 3


@pytest.mark.parametrize("channels", [1, 3])
def test_augmix_of_marked_pictures_leaves_every_pixel_in_its_place(channels: int) -> None:
    """A picture of two halves, each of one value: whatever is done to values, the border stays where it was."""
    pixels = np.where(np.arange(20) < 7, 60, 180).astype(np.uint8)
    examples = {name: tf.constant(values) for name, values in batch(40, 20, 20, channels).items()}
    examples["image"] = tf.constant(np.broadcast_to(pixels[:, None], (40, 20, 20, channels)))
    (policy,) = suited([AugMix(severity=10.0, depth=(3, 3))], ("id", "image", "masks"))
    result = augment.apply([policy], examples, 1)["image"].numpy()
    assert (result[:, :, :7] == result[:, :, :1]).all() and (result[:, :, 7:] == result[:, :, 7:8]).all()
    assert len(np.unique(result[:, 0, 0, 0])) > 10


def test_what_is_left_of_augmix_and_what_is_said_of_it() -> None:
    fields = ("id", "image", "boxes", "classes")
    listed = (HorizontalFlip(), AugMix(operations=("rotation", "solarize", "shear_x", "posterize"), width=2))
    assert suited(listed, ("id", "image", "label")) == listed and changes(listed, ("id", "label")) == []
    assert suited(listed, fields) == (listed[0], AugMix(operations=("solarize", "posterize"), width=2))
    assert changes(listed, fields) == [
        "augment.1 (augmix) leaves out what would tear marks from the pictures; operations: [solarize, posterize]"
    ]
    for moves in (("rotation",), ("shear_x", "identity")):
        with pytest.raises(ConfigError, match=r"`augment\.0`: augmix has only .*rand_augment") as failure:
            suited([AugMix(operations=moves)], fields)
        assert failure.value.place == ("augment", 0)
    others = [RandAugment(), TrivialAugment()]
    assert suited(others, fields) == tuple(others)  # their moves take the marks along


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_have_their_distributions(alpha: float) -> None:
    policy = AugMix(alpha=alpha)
    weights = policy.transform(random.uniform(keys(4000), 0, policy.num_draws), SHAPE).weights.numpy()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert weights.min() >= 0
    assert stats.kstest(1 - weights[:, 0], stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    shares = dirichlet(random.uniform(keys(4000), 1, 3), alpha).numpy()
    assert stats.kstest(shares[:, 0], stats.beta(alpha, 2 * alpha).cdf).pvalue > 1e-3  # the margin of a Dirichlet


def test_depths_of_augmix() -> None:
    """Shares of chains whose operations are all of one kind that always shows: 1, 2 or 3 shifts by a third and less."""
    policy = AugMix(operations=("translation_x",), severity=10.0, width=1)
    mixture = policy.transform(random.uniform(keys(3000), 0, policy.num_draws), PictureShape(300, 300, 3))
    assert isinstance(mixture, Mixture) and isinstance(mixture.sequences[0][0], Warp)
    shifts = mixture.sequences[0][0].matrices.numpy()[:, 0, 2]
    assert 250 < np.abs(shifts).max() <= 300
    # A sum of n shifts, each of either sign and uniform from 1 to 100 pixels, has variance n * 100**2 / 3.
    assert abs(shifts.var() / (2 * 100**2 / 3) - 1) < 0.08


@pytest.mark.parametrize("wrong", [(), ("rotatoin",)])
def test_a_policy_without_operations_is_refused(wrong: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as failure:
        RandAugment.model_validate({"operations": wrong})
    (error,) = failure.value.errors()
    assert "at least one operation" in error["msg"] or "'rotation'" in error["msg"]


@pytest.mark.parametrize("posterized", [False, True])
def test_weak_operations_of_augmix(posterized: bool) -> None:
    """The authors' posterize keeps 4 - int(level * 4 / 10) bits: 4, or 3 from level 2.5 on."""
    policy = AugMix(operations=("posterize",), width=1, depth=(1, 1), severity=3.0)
    levels = tf.constant([[2.6 if posterized else 2.4]]) / 10
    amount = policy.drawn(tf.zeros([1, 1, 2]), levels, policy.strengths)
    assert float(amount[0, 0, 0]) == (5 if posterized else 4)
