from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.stack import keras
from pipeline.compress import CompressionJob, convert
from pipeline.compress.inspect import inspect_content
from pipeline.compress.post_training import Int8
from pipeline.compress.selective import Int8Selective, Network, layer_of
from pipeline.predictors import KerasPredictor
from tests.compress.test_post_training import answers

WILD = "stage_2_block_1_1_conv"
"""Whose first channel is made large; it is read by the layer below, and by no other."""
NEXT = "stage_2_block_1_2_conv"
CHANNEL = 3000.0


def wild(classifier: keras.Model) -> keras.Model:
    """The same function, since ReLU is homogeneous, with one channel three thousand times as large as its neighbours:
    a scale for all of them leaves those nothing."""
    model = convert.clone(classifier, lambda layer: {})
    normalisation = model.get_layer(WILD.replace("_conv", "_bn"))
    gamma, beta, *statistics = normalisation.get_weights()
    gamma[0], beta[0] = gamma[0] * CHANNEL, beta[0] * CHANNEL
    normalisation.set_weights([gamma, beta, *statistics])
    kernel, *others = model.get_layer(NEXT).get_weights()
    kernel[:, :, 0] /= CHANNEL
    model.get_layer(NEXT).set_weights([kernel, *others])
    return model


@pytest.fixture(scope="module")
def job(classifier_job, classifier, pictures) -> CompressionJob:
    """Judged by the share of pictures that the trained model answers otherwise."""
    model = wild(classifier)
    expected = KerasPredictor(classifier_job.task.serving_model(model))({"image": pictures})["scores"]
    return replace(classifier_job, model=model, drop=judged(pictures, expected, "drop"), distance=None)


def judged(pictures, expected, measure):
    def judge(content: bytes) -> float:
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            found = answers(content, pictures, Path(folder))["scores"]
        if measure == "drop":
            return float(np.mean(found.argmax(1) != expected.argmax(1)))
        return float(np.abs(found - expected).mean())

    return judge


def with_distance(job: CompressionJob, pictures: np.ndarray) -> CompressionJob:
    expected = KerasPredictor(job.task.serving_model(job.model))({"image": pictures})["scores"]
    return replace(job, distance=judged(pictures, expected, "distance"))


def test_the_model_is_the_same_function_and_plain_int8_loses_it(job, classifier, pictures):
    expected = KerasPredictor(job.task.serving_model(classifier))({"image": pictures})["scores"]
    found = KerasPredictor(job.task.serving_model(job.model))({"image": pictures})["scores"]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert job.drop(Int8().convert(job)) > 0.1


def test_the_layers_on_either_side_of_the_wild_channel_are_found(job, pictures):
    made = Int8Selective(max_drop=0.02, max_layers=3).compress(with_distance(job, pictures))
    assert set(made.facts["kept_in_float32"]) == {WILD, NEXT}
    assert list(made.facts["sensitivity"])[:2] in ([WILD, NEXT], [NEXT, WILD])
    assert made.facts["drop"] <= 0.02 < made.facts["drop_of_int8"]
    assert made.facts["within_limit"] is True
    assert WILD in made.says and NEXT in made.says
    file = inspect_content(made.content)
    assert file.inputs[0].dtype == "uint8"
    assert file.dtypes["float32"] > 0
    assert 2 <= file.float_operators <= 4  # the two convolutions, and how they are joined to the rest


def test_a_limit_that_is_not_reached_gives_the_best_and_says_so(job, pictures):
    made = Int8Selective(max_drop=0.02, max_layers=1).compress(with_distance(job, pictures))
    assert made.facts["within_limit"] is False
    assert "raise max_layers (now 1)" in made.says
    assert made.facts["drop"] <= made.facts["drop_of_int8"]


def test_what_int8_bears_stays_int8_and_nothing_is_measured(classifier_job):
    def never(content: bytes) -> float:
        raise AssertionError("not to be asked")

    made = Int8Selective().compress(replace(classifier_job, distance=never))
    assert made.content == Int8().convert(classifier_job)
    assert made.facts["kept_in_float32"] == []
    assert made.says == "int8 alone drops by 0"


def test_what_a_layer_in_float_reads_and_gives_is_float(classifier_job):
    network = Network(classifier_job)
    file = inspect_content(convert.with_input_output(network.file(["normalise"]), "uint8"))
    assert (file.inputs[0].dtype, file.outputs[0].dtype) == ("float32", "uint8")
    file = inspect_content(convert.with_input_output(network.file(["scores"]), "uint8"))
    assert (file.inputs[0].dtype, file.outputs[0].dtype) == ("uint8", "float32")


def test_a_regression_keeps_its_decoding_behind(regressor_job):
    network = Network(regressor_job)
    first = next(iter(network.layers))
    file = inspect_content(network.file([first]))
    assert file.decode_operators == 2
    assert file.float_operators > 0


def test_every_layer_with_weights_can_be_kept(classifier_job):
    network = Network(classifier_job)
    kernels = {layer.name for layer in classifier_job.model.layers if hasattr(layer, "kernel")}
    assert {*kernels, "scores"} <= set(network.layers)
    assert inspect_content(network.file(network.layers)).dtypes.keys() <= {"float32", "int32"}


@pytest.mark.parametrize(
    ("operator", "layer"),
    [
        ("serving/stem_relu/Relu;serving/stem_conv/Conv2D", "stem_conv"),
        ("serving/stride_1/Relu;serving/add/add", "stride_1"),
        ("scores", "scores"),
    ],
)
def test_operators_go_by_the_layer_with_a_kernel(operator, layer):
    assert layer_of(operator, {"stem_conv"}) == layer
