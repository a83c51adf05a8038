from __future__ import annotations

import numpy as np
import pytest

from models.backbones import SmallResNet
from models.preprocess import PictureFormat
from models.stack import keras
from pipeline.compress import CompressionJob
from pipeline.compress.judging import Judge, held_out_batches, held_out_split
from pipeline.compress.post_training import Float32, Int8
from pipeline.data.example import ID, REAL
from pipeline.tasks import Classification
from tests.data.stores import make_store

TASK = Classification(
    class_names=("a", "b", "c", "d"),
    picture=PictureFormat(height=12, width=12, channels=1),
    backbone=SmallResNet(depth=6, widths=(8, 8)),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    splits = {"train": 8, "validation": 40, "test": 3}
    return make_store(tmp_path_factory.mktemp("store"), splits, [(12, 12)])


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(3)
    return TASK.build()


def job_of(model: keras.Model) -> CompressionJob:
    pictures = np.random.default_rng(1).integers(0, 255, (8, 12, 12, 1), np.uint8)
    return CompressionJob(TASK, model, pictures, lambda *_, **__: None, lambda _: 0.0)


def ids(batches) -> list[bytes]:
    return [name for batch in batches for name in batch[ID].numpy()]


def test_the_split_that_verify_judges_by_is_never_asked(store, tmp_path):
    assert held_out_split(store.info) == "validation"
    assert held_out_split(make_store(tmp_path, {"train": 4, "validation": 4}, [(12, 12)]).info) == "train"
    assert held_out_split(make_store(tmp_path, {"train": 4, "test": 4}, [(12, 12)]).info) == "train"


@pytest.mark.parametrize("most", [1, 32, 33, 40, 1000])
def test_as_many_pictures_as_allowed_each_once(store, most):
    found = list(held_out_batches(store, TASK, most))
    names = ids(found)
    assert len(names) == len(set(names)) == min(most, 40)
    assert all(batch[REAL].numpy().all() for batch in found)


def always(model: keras.Model, answer: int) -> keras.Model:
    """The model with such a bias that it gives one class whatever it sees."""
    changed = keras.models.clone_model(model)
    *others, bias = model.get_weights()
    changed.set_weights([*others, 1000.0 * (np.arange(len(bias)) == answer)])
    return changed


def test_the_drop_is_that_of_the_metric(store, model):
    """Of the first 38 pictures ten are of class 0, and nine of class 3."""
    judge = Judge(TASK, always(model, 0), lambda: held_out_batches(store, TASK, 38))
    assert judge.drop(Float32().convert(job_of(always(model, 0)))) == 0.0
    assert judge.drop(Float32().convert(job_of(always(model, 3)))) == pytest.approx(1 / 38)


def test_the_distance_shows_what_alters_no_answer(store, model):
    judge = Judge(TASK, model, lambda: held_out_batches(store, TASK, 40))
    exact, coarse = (judge.distance(variant.convert(job_of(model))) for variant in (Float32(), Int8()))
    assert exact < 1e-4 < coarse


def test_the_trained_model_is_asked_once(store, model):
    class Counting(Judge):
        asked = 0

        def _score(self, predictor):
            self.asked += predictor is self._trained
            return super()._score(predictor)

    judge = Counting(TASK, model, lambda: held_out_batches(store, TASK, 8))
    assert judge.asked == 0
    content = Float32().convert(job_of(model))
    assert judge.drop(content) == judge.drop(content) == 0.0
    assert judge.asked == 1
