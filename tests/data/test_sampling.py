"""Sampling: factors by hand, what a pass holds, resumes."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.augment.geometry import HorizontalFlip, Rotation
from pipeline.data import cache, input, sampling
from pipeline.data.input import InputSettings
from pipeline.data.order import EachOnce, Resampled
from pipeline.data.prepare import DataSettings, prepare
from pipeline.data.sampling import (
    AnySampling,
    Balanced,
    Natural,
    Over,
    Power,
    RepeatFactor,
    Sampling,
    Shown,
    TargetShares,
    Under,
    whole_pass,
)
from pipeline.data.store import Store
from pipeline.errors import ConfigError
from pipeline.tasks.classification import Classification
from tests.data.pictures import class_folders

CACHES = ["decoded", "encoded", "none"]
BATCH = 8
FOLDERS = {"train/a": 24, "train/b": 6, "train/c": 3, "val/a": 2, "val/b": 2, "val/c": 2}
LENGTH = 33
COMBINATIONS = [("over", kept) for kept in CACHES] + [(kind, "decoded") for kind in ("under", "balanced")]
"""A sampler chooses from indices: what is read by them is tried with one."""
SAMPLERS: dict[str, Sampling] = {
    "natural": Natural(),
    "balanced": Balanced(),
    "power": Power(),
    "target": TargetShares(shares={"c": 0.5}),
    "over": Over(limit=3),
    "under": Under(ratio=2),
    "repeat_factor": RepeatFactor(threshold=0.5),
}


def one_class(counts: list[int]) -> Shown:
    """Examples of class 0, then those of class 1, and so on."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return Shown(len(labels), tuple("abcdefgh"[: len(counts)]), np.arange(len(labels)), labels)


def several(rows: list[list[int]], classes: int) -> Shown:
    pairs = [(row, label) for row, labels in enumerate(rows) for label in labels]
    examples, labels = np.array(pairs).T
    return Shown(len(rows), tuple("abcdefgh"[:classes]), examples, labels)


def of_classes(sampler: Sampling, counts: list[int]) -> list[float]:
    """The factor of the examples of each class that has any."""
    factors = sampler.factors(one_class(counts))
    return [float(factors[sum(counts[:k])]) for k, count in enumerate(counts) if count]


# ------------------------------------------------------------------------------------------------- factors


def test_one_class_a_picture_by_hand() -> None:
    counts = [6, 3, 1]
    assert of_classes(Natural(), counts) == [1, 1, 1]
    assert of_classes(Balanced(), counts) == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    assert of_classes(Power(exponent=1.0), counts) == pytest.approx([1, 1, 1])
    assert of_classes(Power(exponent=0.0), counts) == pytest.approx(of_classes(Balanced(), counts))
    roots = 9**0.5 + 1 + 4**0.5  # of 9, 1 and 4 examples: shares 3/6, 1/6, 2/6 of 14
    assert of_classes(Power(), [9, 1, 4]) == pytest.approx([14 * 3 / roots / 9, 14 / roots, 14 * 2 / roots / 4])
    assert of_classes(TargetShares(shares={"c": 0.4}), counts) == pytest.approx([6 / 9, 6 / 9, 4.0])
    assert of_classes(TargetShares(shares={"a": 0.2, "b": 0.3, "c": 0.5}), counts) == pytest.approx([1 / 3, 1, 5])
    assert of_classes(TargetShares(shares={"a": 0.0}), counts) == pytest.approx([0, 2.5, 2.5])
    assert of_classes(Over(), counts) == [1, 2, 6]
    assert of_classes(Over(limit=2.5), counts) == [1, 2, 2.5]
    assert of_classes(Under(), counts) == pytest.approx([1 / 6, 1 / 3, 1])
    assert of_classes(Under(ratio=2), counts) == pytest.approx([2 / 6, 2 / 3, 1])
    assert of_classes(RepeatFactor(threshold=0.4), counts) == pytest.approx([1, (4 / 3) ** 0.5, 2])


def test_shares_of_classes_are_met() -> None:
    shown = one_class([50, 7, 3])
    assert shown.shares(Balanced().factors(shown)) == pytest.approx([1 / 3] * 3)
    assert shown.shares(TargetShares(shares={"b": 0.7, "c": 0.2}).factors(shown)) == pytest.approx([0.1, 0.7, 0.2])
    for kind in (Balanced(), Power(), TargetShares(shares={"b": 0.5})):
        assert kind.factors(shown).sum() == pytest.approx(60)


def test_several_classes_a_picture_by_hand() -> None:
    """a in 4 pictures, b in 2, c in 1; one shows nothing."""
    shown = several([[0], [0], [0, 1], [0, 1, 2], []], 3)
    np.testing.assert_array_equal(shown.counts, [4, 2, 1])
    each = np.array([4 / 3 / 4, 4 / 3 / 2, 4 / 3])  # 4 pictures with classes, a third of them by each class
    expected = [each[0], each[0], each[0] + each[1], each.sum(), 1.0]
    np.testing.assert_allclose(Balanced().factors(shown), expected)
    np.testing.assert_allclose(Over().factors(shown), [1, 1, 2, 4, 1])
    np.testing.assert_allclose(Under().factors(shown), [0.25, 0.25, 0.5, 1, 1])
    roots = [1, 1, (0.8 / 0.4) ** 0.5, (0.8 / 0.2) ** 0.5, 1]
    np.testing.assert_allclose(RepeatFactor(threshold=0.8).factors(shown), roots)


def test_a_class_without_training_pictures_changes_nothing() -> None:
    for sampler in SAMPLERS.values():
        if not isinstance(sampler, TargetShares):
            assert of_classes(sampler, [6, 3, 0]) == pytest.approx(of_classes(sampler, [6, 3]))
    assert of_classes(TargetShares(shares={"a": 0.5, "c": 0}), [6, 3, 0]) == pytest.approx([0.75, 1.5])


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"bb": 0.5}, "no class 'bb'. Did you mean 'b'"),
        ({"a": 0.7, "b": 0.6}, "add up to 1.3; expected less than 1"),
        ({"a": 0.5, "b": 0.5}, "add up to 1; expected less than 1"),
        ({"a": 0.5, "b": 0.2, "c": 0.2}, "add up to 0.9; expected 1"),
        ({"a": -0.5}, "is negative"),
        ({"d": 0.5}, "cannot be reached"),
    ],
)
def test_shares_that_cannot_be(shares: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TargetShares(shares=shares).factors(one_class([6, 3, 1, 0]))


def test_settings_are_a_choice_by_kind() -> None:
    adapter: TypeAdapter[Sampling] = TypeAdapter(AnySampling)
    for kind, sampler in SAMPLERS.items():
        assert adapter.validate_python(sampler.model_dump()) == sampler
        assert sampler.model_dump()["kind"] == kind
    assert InputSettings().sampling == Natural()


# ------------------------------------------------------------------------------------------------- passes


def test_a_pass_has_a_whole_number_of_examples() -> None:
    assert whole_pass(np.array([0.5, 0.75, 1.0])).sum() == pytest.approx(3)
    np.testing.assert_array_equal(whole_pass(np.array([1.0, 2.0, 4.0])), [1, 2, 4])
    with pytest.raises(ConfigError, match="leaves no training example"):
        whole_pass(np.zeros(3))


FACTORS = whole_pass(np.random.default_rng(3).gamma(0.7, 2.0, 300))


def test_each_example_comes_its_factors_floor_or_ceiling_times() -> None:
    drawn = Resampled(FACTORS)
    passes = [drawn.examples(tf.constant(epoch, tf.int64), seed=4) for epoch in range(50)]
    counts = np.stack([np.bincount(one["index"], minlength=300) for one in passes])
    assert (counts.sum(axis=1) == drawn.length).all()
    assert ((counts >= np.floor(FACTORS)) & (counts <= np.ceil(FACTORS))).all()
    assert len({tuple(row) for row in counts}) > 45
    np.testing.assert_allclose(counts.mean(axis=0), FACTORS, atol=0.06)  # three in 50: a Weyl sequence, not luck


def test_every_appearance_has_an_epoch_of_its_own() -> None:
    drawn = Resampled(np.array([3.5, 0.25, 0.25, 1.0]))
    seen = [
        pair
        for epoch in range(20)
        for one in [drawn.examples(tf.constant(epoch, tf.int64), seed=0)]
        for pair in zip(one["index"].numpy().tolist(), one["epoch"].numpy().tolist(), strict=True)
    ]
    assert len(seen) == len(set(seen)) == 100


def test_a_thinned_class_is_gone_through_in_turns() -> None:
    """Of 12 examples with factor 1/4, each comes in 4 passes about once, and none twice in two."""
    drawn = Resampled(np.full(12, 0.25))
    passes = [drawn.examples(tf.constant(epoch, tf.int64), seed=0)["index"].numpy() for epoch in range(40)]
    assert all(not set(one) & set(other) for one, other in itertools.pairwise(passes))
    assert set(np.bincount(np.concatenate(passes)).tolist()) <= {9, 10, 11}


# ------------------------------------------------------------------------------------------------- streams


class Named(Classification):
    """A task that hands on who is who."""

    def encode(self, examples: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs, targets = super().encode(examples)
        return {**inputs, "id": examples["id"], "epoch": examples["epoch"]}, targets


TASK = Named(class_names=("a", "b", "c"), picture=PictureFormat(height=12, width=16))
Stream = Callable[..., list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """24 pictures of a, 6 of b, 3 of c."""
    folder = tmp_path_factory.mktemp("classes")
    class_folders(folder / "pictures", FOLDERS)
    source = {"kind": "folders", "path": str(folder / "pictures")}
    return prepare(DataSettings.model_validate({"source": source}), folder / "stores")


@pytest.fixture(scope="module")
def stream(store: Store) -> Stream:
    def take(kept: str, sampler: Sampling, count: int, first: int = 0, **more: Any) -> list:
        settings = InputSettings(cache=kept, sampling=sampler, shuffle_buffer=10, threads=more.pop("threads", None))
        operations = more.pop("operations", (HorizontalFlip(), Rotation()))
        batches = input.training_batches(store, TASK, operations, settings, BATCH, 5, first, **more)
        return list(itertools.islice(batches.as_numpy_iterator(), count))

    return take


@pytest.fixture(scope="module")
def whole(stream: Stream) -> Callable[[str, str], list]:
    """Sampler and cache -> the first 14 batches."""
    return functools.cache(lambda kind, kept: stream(kept, SAMPLERS[kind], 14))


def assert_equal(left: list, right: list) -> None:
    for one, other in zip(left, right, strict=True):
        for name, values in {**one[0], **one[1]}.items():
            np.testing.assert_array_equal(values, {**other[0], **other[1]}[name], err_msg=name)


@pytest.mark.parametrize(("kind", "kept"), [*COMBINATIONS[1:3], *((kind, "decoded") for kind in SAMPLERS)])
def test_passes_hold_what_the_factors_say(store: Store, stream: Stream, kind: str, kept: str) -> None:
    sampler = SAMPLERS[kind]
    factors = sampling.factors_of(store, sampler)
    factors = np.ones(LENGTH) if factors is None else whole_pass(factors)
    length = sampling.pass_of(store, sampler).length
    assert length == round(factors.sum())
    batches = stream(kept, sampler, 3 * length // BATCH, operations=())
    ids = np.concatenate([inputs["id"] for inputs, _ in batches])
    in_order = [store.parse(record)["id"].numpy() for record in cache.records(store, "train")]
    for number in range(3 * length // BATCH * BATCH // length):
        counts = Counter(ids[number * length : (number + 1) * length].tolist())
        came = np.array([counts[name] for name in in_order])
        assert came.sum() == length
        assert ((came >= np.floor(factors)) & (came <= np.ceil(factors - 1e-9))).all()


@pytest.mark.parametrize(("kind", "kept"), COMBINATIONS)
def test_resumes_and_threads_do_not_change_the_stream(
    stream: Stream, whole: Callable[[str, str], list], kind: str, kept: str
) -> None:
    for first, threads in ((3, 5), (10, None)):
        tf.random.set_seed(first)
        assert_equal(stream(kept, SAMPLERS[kind], 3, first, threads=threads), whole(kind, kept)[first : first + 3])


@pytest.mark.parametrize("kept", CACHES)
def test_replicas_together_see_the_batches_of_one(stream: Stream, whole: Callable[[str, str], list], kept: str) -> None:
    shares = stream(kept, SAMPLERS["over"], 8, 2, input_context=tf.distribute.InputContext(1, 0, 2))
    for step, (inputs, _) in enumerate(whole("over", kept)[2:6]):
        for name, values in inputs.items():
            both = np.concatenate([shares[2 * step][0][name], shares[2 * step + 1][0][name]])
            np.testing.assert_array_equal(both, values)


def test_repeats_in_a_pass_are_augmented_differently(stream: Stream) -> None:
    batches = stream("decoded", TargetShares(shares={"c": 0.9}), 4)
    pictures = np.concatenate([inputs["image"] for inputs, _ in batches])
    ids = np.concatenate([inputs["id"] for inputs, _ in batches])
    rare = [picture.tobytes() for picture, name in zip(pictures, ids, strict=True) if name == b"train/c/0.png"]
    assert len(rare) >= 7 and len(set(rare)) > 5


def test_hosts_draw_from_their_own_files(tmp_path: Path) -> None:
    from tests.data.stores import make_store

    store = make_store(tmp_path, {"train": 37}, [(12, 16)], classes=3)
    lengths = [sampling.pass_of(store, Over(), slice(host, None, 2)).length for host in (0, 1)]
    whole = sampling.pass_of(store, Over()).length
    assert lengths[0] > lengths[1] and abs(sum(lengths) - whole) <= 1
    settings = InputSettings(cache="none", sampling=Over(), shuffle_buffer=5)
    task = TASK.model_copy(update={"class_names": ("0", "1", "2")})
    seen = []
    for host in (0, 1):
        context = tf.distribute.InputContext(2, host, 2)
        batches = input.training_batches(store, task, (), settings, BATCH, 5, 0, context)
        seen.append({name for inputs, _ in itertools.islice(batches.as_numpy_iterator(), 15) for name in inputs["id"]})
    assert not seen[0] & seen[1] and len(seen[0] | seen[1]) == 37


def test_the_length_of_an_epoch_follows(store: Store, tmp_path: Path) -> None:
    from pipeline.learners import Supervised
    from pipeline.train import TrainingJob, TrainSettings

    def steps(sampler: Sampling) -> int:
        settings, folder = TrainSettings(batch_size=6), tmp_path
        inputs = InputSettings(sampling=sampler)
        job = TrainingJob(TASK, Supervised(), store, (), inputs, settings, 0, folder, folder, folder, lambda *_: None)
        return job.steps_per_epoch

    assert steps(Natural()) == 6  # 33 examples
    assert steps(Over()) == 12  # 72
    assert steps(Under()) == 2  # 9


def test_what_training_sees_is_said(store: Store) -> None:
    assert sampling.described(store, Natural()) is None
    said = sampling.described(store, Over())
    assert said == (
        "72 examples a pass instead of 33, each 1.00 to 8.00 times; share of the pictures that show a class: "
        "a 72.7% -> 33.3%, b 18.2% -> 33.3%, c 9.1% -> 33.3%"
    )


def test_data_without_classes_is_refused(tmp_path: Path) -> None:
    from tests.contracts.tables import data_settings, write_table

    table = write_table(tmp_path, 30)
    numbers = prepare(DataSettings.model_validate(data_settings(table, "value")), tmp_path / "stores")
    assert isinstance(sampling.pass_of(numbers, Natural()), EachOnce)
    with pytest.raises(ConfigError, match=r"goes by classes, but the data holds id, image, value"):
        sampling.pass_of(numbers, Balanced())


def test_labels_of_several_classes_are_read_from_the_store(tmp_path: Path) -> None:
    from tests.data.stores import make_store

    store = make_store(tmp_path, {"train": 12}, [(8, 8)], classes=4)
    one = store.info
    store.info = type(one)(**{**vars(one), "fields": ("id", "image", "labels")})
    shown = sampling.shown_classes(store)
    np.testing.assert_array_equal(shown.counts, [12, 3, 3, 3])  # number n shows 0 and n mod 4
    assert len(shown.examples) == 21 and shown.labelled.all()
    np.testing.assert_array_equal(sampling.PAIRS["classes"](np.array([[2, 1, -1], [-1, -1, -1]])), [[0, 0], [2, 1]])
