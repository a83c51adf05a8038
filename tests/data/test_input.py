"""The input pipeline: which examples come when, resumes, replicas, padding, caches."""

from __future__ import annotations

import functools
import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import preprocess
from models.preprocess import PictureFormat
from models.stack import tf
from pipeline.augment import Augmentation, random
from pipeline.augment.colour import ColourJitter
from pipeline.augment.crops import RandomCrop, RandomResizedCrop
from pipeline.augment.engines import Engine
from pipeline.augment.geometry import HorizontalFlip, Rotation
from pipeline.augment.opencv_engine import OpenCV
from pipeline.augment.tensorflow_engine import TensorFlow
from pipeline.data import cache, input, order
from pipeline.data.input import InputSettings
from pipeline.data.reading import SOURCES, crop_batch
from pipeline.data.store import Store
from pipeline.errors import ConfigError, DataError
from pipeline.tasks.classification import Classification
from tests.data.stores import make_store

CACHES = ["decoded", "encoded", "none"]
COUNT, BATCH = 37, 8
AUGMENTED = (HorizontalFlip(), RandomCrop(padding=2), Rotation(), ColourJitter())
CROPPED = (RandomResizedCrop(), *AUGMENTED)


class Named(Classification):
    """A task that hands on who is who."""

    def encode(self, examples: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs, targets = super().encode(examples)
        named = {name: examples[name] for name in ("id", "epoch") if name in examples}
        return {**inputs, **named}, targets


TASK = Named(class_names=("0", "1", "2", "3"), picture=PictureFormat(height=12, width=12, channels=1))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Grey pictures of 12 x 12 pixels, 37 for training, 10 for validation, no test."""
    return make_store(tmp_path_factory.mktemp("store"), {"train": COUNT, "validation": 10, "test": 0}, [(12, 12)])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Colour pictures of two sizes."""
    counts = {"train": COUNT, "validation": 11, "test": 5}
    return make_store(tmp_path_factory.mktemp("mixed"), counts, [(16, 20), (30, 10)], channels=3)


def stream(
    store: Store, kept: str = "auto", operations: tuple[Augmentation, ...] = (), first: int = 0, **settings: Any
) -> tf.data.Dataset:
    picture = PictureFormat(height=12, width=12, channels=1 if store.info.picture_sizes["train"][0] == 12 else 3)
    task = TASK.model_copy(update={"picture": picture})
    options = InputSettings(cache=kept, shuffle_buffer=10, **settings)
    return input.training_batches(store, task, operations, options, BATCH, seed=5, first_step=first)


def take(batches: tf.data.Dataset, count: int) -> list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    return list(itertools.islice(batches.as_numpy_iterator(), count))


@pytest.fixture(scope="module")
def plain(store: Store) -> Callable[[str], list]:
    """Cache -> 8 passes without augmentation."""
    return functools.cache(lambda kept: take(stream(store, kept), COUNT))


@pytest.fixture(scope="module")
def whole(store: Store) -> Callable[[str], list]:
    """Cache -> the first 16 batches, augmented."""
    return functools.cache(lambda kept: take(stream(store, kept, CROPPED), 16))


def assert_equal(left: list, right: list) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for name, values in {**one[0], **one[1]}.items():
            np.testing.assert_array_equal(values, {**other[0], **other[1]}[name], err_msg=name)


@pytest.mark.parametrize("kept", CACHES)
def test_every_pass_holds_every_example_once_in_a_new_order(plain: Callable[[str], list], kept: str) -> None:
    batches = plain(kept)
    ids = np.concatenate([inputs["id"] for inputs, _ in batches]).reshape(8, COUNT)
    epochs = np.concatenate([inputs["epoch"] for inputs, _ in batches]).reshape(8, COUNT)
    np.testing.assert_array_equal(epochs, np.arange(8)[:, None] * np.ones(COUNT, int))
    assert all(len(set(row)) == COUNT for row in ids)
    assert len({tuple(row) for row in ids}) == 8
    assert all(len(inputs["id"]) == BATCH for inputs, _ in batches)


@pytest.mark.parametrize("kept", CACHES)
def test_pictures_and_targets_belong_to_their_ids(plain: Callable[[str], list], kept: str) -> None:
    for inputs, targets in plain(kept)[:6]:
        numbers = [int(name.split(b"/")[1].split(b".")[0]) for name in inputs["id"]]
        assert inputs["image"].dtype == np.uint8 and inputs["image"].shape == (BATCH, 12, 12, 1)
        np.testing.assert_array_equal(inputs["image"][:, 0, 0, 0], numbers)
        np.testing.assert_array_equal(targets["logits"].argmax(axis=1), np.array(numbers) % 4)


@pytest.mark.parametrize("kept", CACHES)
def test_a_stream_resumed_with_other_threads_is_the_same_bit_for_bit(
    store: Store, whole: Callable[[str], list], kept: str
) -> None:
    for first, threads in ((4, 1), (11, 7)):
        tf.random.set_seed(first)  # the state of TensorFlow's own generators plays no part
        resumed = stream(store, kept, CROPPED, first, threads=threads)
        assert_equal(take(resumed, 3), whole(kept)[first : first + 3])


@pytest.mark.parametrize("operations", [(), AUGMENTED], ids=["plain", "augmented"])
def test_decoded_and_encoded_give_the_same_stream(mixed: Store, operations: tuple[Augmentation, ...]) -> None:
    assert_equal(take(stream(mixed, "decoded", operations), 6), take(stream(mixed, "encoded", operations), 6))


def test_a_resized_crop_is_the_same_from_decoded_and_encoded(store: Store) -> None:
    crop = (RandomResizedCrop(area=(0.2, 0.9)),)
    pairs = zip(take(stream(store, "decoded", crop), 6), take(stream(store, "encoded", crop), 6), strict=True)
    for (one, _), (other, _) in pairs:
        np.testing.assert_array_equal(one["id"], other["id"])
        assert np.abs(one["image"].astype(int) - other["image"]).max() <= 1


def test_a_resized_crop_that_shrinks_is_the_same_from_decoded_and_encoded(tmp_path: Path) -> None:
    large = make_store(tmp_path, {"train": COUNT}, [(40, 30)], channels=3)
    crop = (RandomResizedCrop(area=(0.5, 0.9)),)
    assert_equal(take(stream(large, "decoded", crop), 4), take(stream(large, "encoded", crop), 4))


def test_the_seed_changes_order_and_augmentation(store: Store) -> None:
    streams = [take(input.training_batches(store, TASK, AUGMENTED, InputSettings(), BATCH, seed), 5) for seed in (0, 1)]
    ids = [np.concatenate([inputs["id"] for inputs, _ in batches]) for batches in streams]
    assert (ids[0] != ids[1]).mean() > 0.8


def test_batches_larger_than_the_data(store: Store) -> None:
    for kept in CACHES:
        batches = input.training_batches(store, TASK, (), InputSettings(cache=kept), 100, seed=0, first_step=1)
        (inputs, _), *_ = take(batches, 1)
        assert Counter(inputs["epoch"].tolist()) == {2: 11, 3: 37, 4: 37, 5: 15}


def test_orders_are_uniform() -> None:
    """Where an example comes in a pass, over 3000 passes: chi-square of 10 x 10 cells."""
    passes = tf.data.Dataset.range(3000).map(lambda epoch: order.permutation(10, epoch, 0))
    places = passes.batch(3000).get_single_element().numpy()
    counts = np.stack([np.bincount(places[:, place], minlength=10) for place in range(10)])
    assert ((counts - 300) ** 2 / 300).sum() < 81 + 5 * np.sqrt(2 * 81)


def context(hosts: int, host: int, replicas: int) -> tf.distribute.InputContext:
    return tf.distribute.InputContext(hosts, host, replicas)


@pytest.mark.parametrize("kept", CACHES)
def test_replicas_together_see_the_batches_of_one(store: Store, whole: Callable[[str], list], kept: str) -> None:
    settings = InputSettings(cache=kept, shuffle_buffer=10)
    shares = take(input.training_batches(store, TASK, CROPPED, settings, BATCH, 5, 3, context(1, 0, 2)), 8)
    for step, (inputs, targets) in enumerate(whole(kept)[3:7]):
        for name, values in inputs.items():
            both = np.concatenate([shares[2 * step][0][name], shares[2 * step + 1][0][name]])
            np.testing.assert_array_equal(both, values)
        assert len(targets["logits"]) == 2 * len(shares[2 * step][1]["logits"])


@pytest.mark.parametrize("kept", ["decoded", "encoded"])
def test_hosts_together_see_the_batches_of_one(store: Store, whole: Callable[[str], list], kept: str) -> None:
    settings = InputSettings(cache=kept)
    hosts = [
        take(input.training_batches(store, TASK, CROPPED, settings, BATCH, 5, 3, context(2, host, 4)), 8)
        for host in (0, 1)
    ]
    for step, (inputs, _) in enumerate(whole(kept)[3:7]):
        parts = [hosts[host][2 * step + replica][0]["image"] for host in (0, 1) for replica in (0, 1)]
        np.testing.assert_array_equal(np.concatenate(parts), inputs["image"])


def test_hosts_read_different_files(store: Store) -> None:
    settings = InputSettings(cache="none", shuffle_buffer=5)

    @functools.cache
    def ids(host: int, first: int, count: int) -> list[bytes]:
        batches = input.training_batches(store, TASK, (), settings, BATCH, 5, first, context(2, host, 2))
        return [name for inputs, _ in take(batches, count) for name in inputs["id"]]

    lengths = store.shard_lengths("train")
    assert len(set(ids(0, 0, 12))) == lengths[0] + lengths[2] and len(set(ids(1, 0, 12))) == lengths[1]
    assert not set(ids(0, 0, 12)) & set(ids(1, 0, 12))
    assert ids(1, 7, 5) == ids(1, 0, 12)[-20:]
    with pytest.raises(DataError, match="4 hosts cannot share 3 shard files"):
        input.training_batches(store, TASK, (), settings, BATCH, 5, 0, context(4, 0, 4))


@pytest.mark.parametrize("kept", CACHES)
def test_two_hosts_share_every_step_and_every_pass(store: Store, kept: str) -> None:
    """Half a batch each, no example twice in a pass, none left out."""
    settings = InputSettings(cache=kept, shuffle_buffer=5)
    hosts = [
        take(input.training_batches(store, TASK, (), settings, BATCH, 5, 0, context(2, host, 2)), 3 * COUNT // BATCH)
        for host in (0, 1)
    ]
    assert all(len(inputs["id"]) == BATCH // 2 for batches in hosts for inputs, _ in batches)
    seen = [
        {place for inputs, _ in batches for place in zip(inputs["epoch"].tolist(), inputs["id"], strict=True)}
        for batches in hosts
    ]
    assert all(
        len(places) == sum(len(inputs["id"]) for inputs, _ in batches)
        for places, batches in zip(seen, hosts, strict=True)
    )
    assert not seen[0] & seen[1]
    assert len({name for epoch, name in seen[0] | seen[1] if epoch == 0}) == COUNT


def test_an_uneven_batch_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"batch of 8 .* 3 replicas.*multiple of 3, such as 9"):
        input.training_batches(store, TASK, (), InputSettings(), BATCH, 5, 0, context(1, 0, 3))


DISTRIBUTED = """
import sys
from pathlib import Path
from models.stack import tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.config.experimental.enable_op_determinism()
import numpy as np
from pipeline.data import input
from pipeline.strategy import shared_out
from tests.data import stores, test_input
store = stores.make_store(Path(sys.argv[1]), {"train": 37}, [(12, 12)])
operations = (test_input.RandomResizedCrop(), *test_input.AUGMENTED)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for kept in test_input.CACHES:
    settings = input.InputSettings(cache=kept, shuffle_buffer=10)
    def batches(context):
        return input.training_batches(store, test_input.TASK, operations, settings, 8, 5, 2, context)
    alone = test_input.take(batches(None), 4)
    together = iter(shared_out(strategy, batches))
    for inputs, targets in alone:
        mine, theirs = next(together)
        for name, values in {**inputs, **targets}.items():
            parts = strategy.experimental_local_results({**mine, **theirs}[name])
            assert len(parts) == 2
            np.testing.assert_array_equal(np.concatenate([part.numpy() for part in parts]), values)
print("the same")
"""


def test_two_replicas_of_a_strategy_under_op_determinism(tmp_path: Path) -> None:
    """In a process of its own, because devices and determinism are chosen before TensorFlow starts."""
    command = [sys.executable, "-c", DISTRIBUTED, str(tmp_path)]
    # With a limit, because a thread that works ahead in Python can keep a process from ever ending.
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "the same" in result.stdout


@pytest.mark.parametrize("batch_size", [4, 11, 16])
def test_evaluation_counts_every_example_once_in_order(mixed: Store, batch_size: int) -> None:
    task = Classification(class_names=("0", "1", "2", "3"), picture=PictureFormat(height=12, width=14, fit="letterbox"))
    batches = list(input.evaluation_batches(mixed, task, "validation", batch_size).as_numpy_iterator())
    records = [mixed.parse(record) for record in cache.records(mixed, "validation")]
    assert len(batches) == -(-11 // batch_size)
    fields = {"id", "image", "label", "labels", "real"}
    assert all(
        set(batch) == fields and all(len(values) == batch_size for values in batch.values()) for batch in batches
    )
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in fields}
    np.testing.assert_array_equal(whole["real"], np.arange(len(whole["real"])) < 11)
    for name in ("id", "label", "labels"):
        np.testing.assert_array_equal(whole[name][:11], [record[name].numpy() for record in records])
    pictures = [preprocess.decode_and_fit(record["image"], task.picture).numpy() for record in records]
    np.testing.assert_array_equal(whole["image"][:11], pictures)
    assert not whole["image"][11:].any() and set(whole["id"][11:]) <= {b""}


def test_evaluation_shapes_are_fixed(mixed: Store) -> None:
    spec = input.evaluation_batches(mixed, TASK, "validation", 4).element_spec
    assert spec["image"].shape == (4, 12, 12, 1) and spec["real"].shape == (4,) and spec["labels"].shape == (4, 4)


@pytest.mark.parametrize("kept", CACHES)
def test_validation_weighs_padding_with_zero(mixed: Store, kept: str) -> None:
    batches = input.validation_batches(mixed, TASK, "validation", 4, InputSettings(cache=kept))
    for _ in range(2):
        weights = np.concatenate([weight for _, _, weight in batches.as_numpy_iterator()])
        np.testing.assert_array_equal(weights, [1.0] * 11 + [0.0])


def test_validation_is_decoded_once(tmp_path: Path) -> None:
    copy = make_store(tmp_path, {"validation": 11, "train": 3}, [(9, 9)])
    batches = input.validation_batches(copy, TASK, "validation", 4)
    first = list(batches.as_numpy_iterator())
    for file in copy.files("validation"):
        Path(file).unlink()
    assert_equal(list(batches.as_numpy_iterator()), first)


def test_evaluation_uses_the_test_split_where_there_is_one(store: Store, mixed: Store) -> None:
    assert input.evaluation_split(store.info) == "validation"
    assert input.evaluation_split(mixed.info) == "test"


def test_an_empty_split_is_refused(store: Store) -> None:
    with pytest.raises(DataError, match=r"'test' holds no example .*train 37, validation 10, test 0"):
        input.evaluation_batches(store, TASK, "test", 4)


def test_the_cache_is_chosen_by_an_estimate(store: Store, mixed: Store) -> None:
    def chosen(store: Store, limit_bytes: float, crop: RandomResizedCrop | None = None, wish: Any = "auto") -> str:
        need = cache.Need(store.info, "train", PictureFormat(height=12, width=12, channels=1), crop)
        return cache.choose(wish, limit_bytes / cache.GIB, need)

    assert chosen(store, 37 * 144) == "decoded"
    assert chosen(store, 37 * 144 - 1) == "none"  # 500 bytes each encoded
    assert chosen(mixed, 37 * 500, RandomResizedCrop()) == "encoded"
    assert chosen(store, 37 * 144, RandomResizedCrop()) == "decoded"
    assert chosen(store, 0, wish="decoded") == "decoded"
    with pytest.raises(ConfigError, match=r"input\.cache.*differ in size"):
        chosen(mixed, 0, RandomResizedCrop(), "decoded")


@pytest.mark.parametrize("engine", [OpenCV(), TensorFlow()], ids=["opencv", "tensorflow"])
@pytest.mark.parametrize("cached", CACHES)
@pytest.mark.parametrize("fit", ["stretch", "crop", "letterbox"])
def test_what_a_crop_spares_is_fitted_as_in_evaluation(tmp_path: Path, fit: Any, cached: Any, engine: Engine) -> None:
    """Pictures are made larger here; what is shrunk goes through another filter where crop and decoding are one."""
    store = make_store(tmp_path, {"train": 8, "validation": 8}, [(12, 10)], channels=3)
    task = Named(class_names=TASK.class_names, picture=PictureFormat(height=16, width=16, channels=3, fit=fit))
    settings = InputSettings(cache=cached)
    never = (RandomResizedCrop(area=(0.2, 0.4), probability=0.0),)
    read = replace(input.reading_of(store, task, never, settings, 8, seed=3), engine=engine)
    spared = next(iter(SOURCES[cached](read)))
    evaluated = next(iter(input.evaluation_batches(store, task, "validation", 8)))
    ours, theirs = (
        {one: picture.astype(int) for one, picture in zip(batch["id"].numpy(), batch["image"].numpy(), strict=True)}
        for batch in (spared, evaluated)
    )
    assert ours.keys() == theirs.keys()
    assert max(np.abs(ours[one] - theirs[one]).max() for one in ours) <= (1 if fit == "stretch" else 0)


def test_a_crop_that_spares_some_takes_the_others() -> None:
    """The very windows that it would take of all."""
    crop, format = RandomResizedCrop(probability=0.5), PictureFormat(height=16, width=16, channels=1, fit="letterbox")
    pictures = tf.constant(np.random.default_rng(0).integers(0, 200, (32, 20, 40, 1), np.uint8))
    keys = random.keys(tf.strings.as_string(tf.range(32)), tf.zeros(32, tf.int64), 0)
    boxes = tf.tile([[[0.25, 0.25, 0.75, 0.75]]], [32, 1, 1])
    batch = {"image": pictures, "boxes": boxes, "classes": tf.zeros([32, 1], tf.int64)}
    made = crop_batch(batch, crop, keys, format, OpenCV())
    applies = crop.applies(keys).numpy()
    assert 8 < applies.sum() < 24
    bars = (made["image"].numpy()[:, 0] == preprocess.LETTERBOX_GREY).all(axis=(1, 2))
    np.testing.assert_array_equal(bars, ~applies)
    whole = crop_batch(batch, crop, keys, format.model_copy(update={"fit": "stretch"}), OpenCV())
    assert np.abs(made["image"].numpy()[applies].astype(int) - whole["image"].numpy()[applies]).max() <= 1
    np.testing.assert_allclose(made["boxes"].numpy()[applies], whole["boxes"].numpy()[applies])
    np.testing.assert_allclose(
        made["boxes"].numpy()[~applies], [[[0.25, 0.375, 0.75, 0.625]]] * (~applies).sum(), atol=1e-6
    )
