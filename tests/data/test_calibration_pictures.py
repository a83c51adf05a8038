"""Which pictures calibrate: classes in turns, an example of several by its rarest."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np

from models.preprocess import PictureFormat
from pipeline.data import choosing
from pipeline.tasks.classification import Classification
from tests.data.stores import make_store

TASK = Classification(class_names=("0", "1", "2", "3"), picture=PictureFormat(height=12, width=12, channels=1))


def test_calibration_takes_classes_in_turns(tmp_path: Path) -> None:
    """Class 3 has 2 of 10 pictures."""
    store = make_store(tmp_path, {"train": 10, "validation": 1}, [(12, 12)])
    chosen, classes = choosing.choose_examples(store, "train", 8, seed=0)
    np.testing.assert_array_equal(chosen % 4, classes)
    assert Counter(classes.tolist()) == {0: 2, 1: 2, 2: 2, 3: 2}
    pictures = choosing.pictures_of(store, TASK, "train", chosen)
    assert pictures.shape == (8, 12, 12, 1) and pictures.dtype == np.uint8
    np.testing.assert_array_equal(pictures[:, 0, 0, 0], sorted(chosen))
    np.testing.assert_array_equal(choosing.choose_examples(store, "train", 8, seed=0)[0], chosen)
    assert len(choosing.choose_examples(store, "train", 99, seed=0)[0]) == 10
    assert any(set(choosing.choose_examples(store, "train", 4, seed)[0]) != set(chosen[:4]) for seed in range(1, 5))


def test_calibration_may_leave_classes_as_frequent_as_they_are(tmp_path: Path) -> None:
    store = make_store(tmp_path, {"train": 40, "validation": 1}, [(12, 12)])
    draws = [choosing.choose_examples(store, "train", 8, seed, "natural")[1] for seed in range(5)]
    assert all(len(classes) == 8 for classes in draws)
    assert any(np.bincount(classes, minlength=4).max() > 2 for classes in draws)


def test_an_example_with_several_labels_counts_for_its_rarest() -> None:
    labels = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]], np.float32)
    np.testing.assert_array_equal(choosing.class_of({"labels": labels, "hash": np.zeros(4)}), [1, 0, 2, -1])
    np.testing.assert_array_equal(choosing.class_of({"hash": np.zeros(2)}), [0, 0])


def test_an_example_with_objects_counts_for_its_rarest() -> None:
    classes = np.array([[2, 0, -1], [0, 0, 0], [-1, -1, -1], [1, 2, -1]])
    assert choosing.shown(classes).tolist() == [
        [True, False, True],
        [True, False, False],
        [False] * 3,
        [False, True, True],
    ]
    np.testing.assert_array_equal(choosing.class_of({"classes": classes, "hash": np.zeros(4)}), [0, 0, -1, 1])
    assert choosing.shown(np.full((2, 3), -1)).tolist() == [[False], [False]]


def test_many_objects_take_no_more_than_their_classes() -> None:
    """2,000 pictures of 200 objects of 500 classes: 200 MB for each pair of an object and a class, 1 MB for a picture
    and a class, and 16 bytes for each object."""
    classes = np.random.default_rng(0).integers(0, 500, (2000, 200))
    tracemalloc.start()
    try:
        assert choosing.shown(classes).shape == (2000, 500)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()
