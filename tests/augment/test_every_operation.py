"""What holds for every operation there is: eagerly and inside tf.data, grey and colour, no object and many; and for
chains of all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.stack import tf
from pipeline import augment
from pipeline.augment import OPERATIONS, Augmentation
from pipeline.augment.base import PictureOperation
from pipeline.augment.mixing import CopyPaste, CutMix, MixUp, Mosaic
from pipeline.augment.occlusion import Occluders
from pipeline.augment.policies import RandAugment, TrivialAugment
from pipeline.augment.suiting import suited
from pipeline.data.example import Example
from tests.augment.scenes import OBJECTS, empty, operations, put

COUNT = 4
KINDS = [kind for kind, operation in OPERATIONS.items() if issubclass(operation, PictureOperation)]
TEARING = {
    *("vertical_flip", "rotation", "translation", "shear", "zoom", "scale_jitter", "perspective", "elastic"),
    *("random_crop", "random_resized_crop", "mix_up", "cut_mix", "mosaic", "copy_paste"),
    *("rand_augment", "trivial_augment", "augmix"),
}
"""After these a picture of two, one above the other, is not one any more."""
OF_OBJECTS = ("boxes", "corners", "points", "masks", "difficult")


def examples(channels: int, objects: int) -> Example:
    """A group of four; all of them have so many objects."""
    made = empty(COUNT, 20, 27, channels)
    for number in range(COUNT):
        for place in range(objects):
            left, top = 1 + 5 * place + number, 2 + 3 * place
            put(made, number, place, (left, top, left + 6, top + 7))
    made["label"] = np.arange(COUNT)
    made["labels"] = np.eye(COUNT, dtype=np.float32)
    return {name: tf.constant(values) for name, values in made.items()}


def applied(chain: list[Augmentation], batch: Example, seed: int = 5) -> dict[str, np.ndarray]:
    result = augment.apply(suited(chain, batch), batch, seed)
    return {name: values.numpy() for name, values in result.items()}


def in_tf_data(chain: list[Augmentation], batches: list[Example], seed: int = 5) -> list[dict[str, np.ndarray]]:
    whole = {name: tf.concat([batch[name] for batch in batches], 0) for name in batches[0]}
    stream = tf.data.Dataset.from_tensor_slices(whole)
    made = stream.batch(COUNT).map(lambda batch: augment.apply(suited(chain, batch), batch, seed))
    return list(made.as_numpy_iterator())


def assert_sound(result: dict[str, np.ndarray], before: Example) -> None:
    """Shapes and types stay, nothing leaves the picture, and an object that is left out is zero in every field."""
    for name, values in before.items():
        assert result[name].dtype == values.dtype.as_numpy_dtype, name
        places = result[name].shape[1] if name in (*OF_OBJECTS, "classes") else None
        assert places is None or places % OBJECTS == 0
        assert places is not None or result[name].shape == values.shape, name
    for name in ("boxes", "corners", "points"):
        shares = result[name] if name == "boxes" else result[name][..., :2]
        assert np.isfinite(shares).all() and shares.min() >= 0 and shares.max() <= 1, name
    gone = result["classes"] == -1
    assert not any(result[name][gone].any() for name in OF_OBJECTS)
    assert (result["boxes"][~gone][:, 2:] > result["boxes"][~gone][:, :2]).all()
    if "label_shares" in result:
        np.testing.assert_allclose(result["label_shares"].sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(result["labels"].sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_with_no_object_and_many(kind: str, channels: int) -> None:
    for objects in (0, OBJECTS):
        batch = examples(channels, objects)
        result = applied([OPERATIONS[kind](probability=1)], batch)
        assert_sound(result, batch)
    if OPERATIONS[kind]().keeps_halves:
        seen = result["classes"] >= 0
        np.testing.assert_allclose(result["boxes"][seen][:, 1::2], batch["boxes"].numpy()[seen][:, 1::2], atol=1e-6)
    grey = channels == 1 and kind in ("saturation", "hue", "grayscale")
    assert grey or (result["image"] != batch["image"].numpy()).any()


def test_what_moves_or_mixes_does_not_keep_halves() -> None:
    assert {kind for kind, operation in OPERATIONS.items() if not operation().keeps_halves} == TEARING
    assert RandAugment(operations=("contrast", "solarize")).keeps_halves


@pytest.mark.parametrize("kind", KINDS)
def test_in_tf_data_as_eagerly(kind: str) -> None:
    """In colour, and with the engine that is chosen by default; the tests of each sort of operations have the rest."""
    chain: list[Augmentation] = [OPERATIONS[kind](probability=1)]
    batches = [examples(3, 0), examples(3, OBJECTS)]
    for batch, inside in zip(batches, in_tf_data(chain, batches), strict=True):
        result = applied(chain, batch)
        assert set(inside) == set(result)
        for name, values in inside.items():
            if values.dtype == np.float32:
                np.testing.assert_allclose(values, result[name], atol=1e-5, err_msg=name)
            else:
                different = (values != result[name]).mean()
                assert different == 0 or (name == "image" and different < 0.01), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_probability_leaves_out_keeps_every_value(kind: str) -> None:
    batch = examples(3, 2)
    result = applied([OPERATIONS[kind](probability=0)], batch)
    for name, values in batch.items():
        width = values.shape[1] if values.shape.rank > 1 else None
        kept = result[name][:, :width] if name in (*OF_OBJECTS, "classes") else result[name]
        np.testing.assert_array_equal(kept, values.numpy(), err_msg=name)


mixings = st.sampled_from([MixUp(alpha=1.0), CutMix(), Mosaic(), CopyPaste()])
policies = st.sampled_from([RandAugment(magnitude=6), TrivialAugment(), Occluders(), OPERATIONS["cutout"]()])
chains = st.lists(st.one_of(operations(), operations(), mixings, policies), min_size=2, max_size=5).filter(
    lambda chain: sum(isinstance(one, MixUp | CutMix | Mosaic | CopyPaste) for one in chain) <= 2
)


@settings(deadline=None, derandomize=True, max_examples=25, suppress_health_check=list(HealthCheck))
@given(chains, st.integers(0, 10**6), st.sampled_from([1, 3]), st.integers(0, OBJECTS))
def test_all_that_is_known_of_an_object_agrees_after_any_chain(
    chain: list[Augmentation], seed: int, channels: int, objects: int
) -> None:
    batch = examples(channels, objects)
    result = applied(chain, batch, seed)
    assert_sound(result, batch)
    height, width = result["image"].shape[1:3]
    kept = result["classes"] >= 0
    moved = result["boxes"] * [width, height, width, height]
    for mask, (left, top, right, bottom) in zip(result["masks"][kept], moved[kept], strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):  # each resampling to the nearest pixel may add one
            error = 1 + len(chain)
            assert columns.min() >= left - error and rows.min() >= top - error
            assert columns.max() + 1 <= right + error and rows.max() + 1 <= bottom + error
    visible = kept[..., None] & (result["points"][..., 2] > 1)
    low, high = result["boxes"][:, :, None, :2], result["boxes"][:, :, None, 2:]
    places, error = result["points"][..., :2], (1 + len(chain)) / np.array([width, height])
    assert ((places >= low - error) & (places <= high + error)).all(axis=-1)[visible].all()
