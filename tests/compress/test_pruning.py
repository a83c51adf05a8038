from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from models.stack import keras, tf
from pipeline.compress import CompressionJob
from pipeline.compress.inspect import inspect_content
from pipeline.compress.post_training import Float16, Int8
from pipeline.compress.pruning import MagnitudePruning, Pruned, Pruned2Of4
from pipeline.errors import ConfigError, ExportError
from tests.compress.conftest import converted, predictor_of
from tests.compress.stored_kernels import most_in_a_group_of_four, share_of_zeros, stored_kernels
from tests.compress.test_post_training import answers

ENDS = 3
"""Kernels that stay dense: the fixed normalisation, the stem, and the head."""


def schedule(steps: int, **settings: float) -> list[float | None]:
    """The sparsity at each step at which weights are removed."""
    from pipeline.compress.pruning_schedule import PolynomialShares

    made = PolynomialShares(**{"final_sparsity": 0.8, "begin": 0.0, "end": 1.0, "frequency": 1, **settings})
    made.spread(steps)
    turns = (made(tf.constant(step, tf.int64)) for step in range(1, steps + 1))
    return [round(float(sparsity), 6) if is_turn else None for is_turn, sparsity in turns]


def test_sparsity_rises_by_the_cubic_of_zhu_and_gupta() -> None:
    # 0.8 * (1 - (1 - t)^3) at t = 0, 1/4, 1/2, 3/4, 1
    assert schedule(5) == [0.0, 0.4625, 0.7, 0.7875, 0.8]


def test_weights_are_removed_between_begin_and_end_and_at_the_end_for_certain() -> None:
    turns = schedule(20, begin=0.25, end=0.6, frequency=3)  # steps 5 to 12
    assert [step for step, sparsity in enumerate(turns, 1) if sparsity is not None] == [5, 8, 11, 12]
    assert turns[11] == 0.8


@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_training_reaches_the_sparsity(steps: int) -> None:
    assert 0.8 in schedule(steps, end=0.5, frequency=100)


def test_the_file_holds_the_zeros_asked_for(classifier_job, pictures, tmp_path) -> None:
    before = classifier_job.model.get_weights()
    content = converted(Pruned(sparsity=0.75, epochs=12, frequency=2, learning_rate=3e-3, then=Int8()), classifier_job)
    for old, new in zip(before, classifier_job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    normalise, stem, *pruned, head = stored_kernels(content)
    assert len(pruned) == 8
    assert min(map(share_of_zeros, pruned)) >= 0.74
    assert max(map(share_of_zeros, pruned)) <= 0.80
    assert share_of_zeros(stem) < 0.05
    assert share_of_zeros(head) < 0.1
    assert np.count_nonzero(normalise) == 3  # a diagonal, as it was
    scores = answers(content, pictures, tmp_path)["scores"]
    reference = predictor_of(classifier_job)({"image": pictures})["scores"]
    assert np.mean(scores.argmax(1) == reference.argmax(1)) >= 0.9


def test_the_zipped_file_is_smaller(classifier_job) -> None:
    dense = inspect_content(converted(Float16(), classifier_job))
    sparse = inspect_content(converted(Pruned(sparsity=0.75, epochs=1), classifier_job))
    assert sparse.bytes == dense.bytes
    assert sparse.zipped_bytes < 0.75 * dense.zipped_bytes  # names and shapes are a third of so small a file


def test_all_kernels_where_none_is_kept(classifier_job) -> None:
    _, *pruned = stored_kernels(converted(Pruned(epochs=1, keep=()), classifier_job))
    assert min(map(share_of_zeros, pruned)) >= 0.49


def test_two_of_four_along_the_input_channels(classifier_job) -> None:
    kernels = stored_kernels(converted(Pruned2Of4(epochs=1, keep=("first",), then=Int8()), classifier_job))
    _, stem, *pruned = kernels
    assert len(pruned) == 9  # the head too
    assert max(map(most_in_a_group_of_four, pruned)) == 2
    assert most_in_a_group_of_four(stem) == 3


def test_two_of_four_needs_four_input_channels(classifier_job) -> None:
    variant = Pruned2Of4(keep=("last", "stage_*"))  # the stem alone, which has three
    with pytest.raises(ExportError, match=r"None of the layers stem_conv has 4 input channels.*`pruned`"):
        variant.convert(classifier_job)


def test_a_sparsity_that_leaves_nothing_is_refused(classifier_job) -> None:
    with pytest.raises(
        ConfigError, match=r"0.999 leaves none of the 64 weights of .*shortcut_conv.*0.984 or less.*`keep`"
    ):
        Pruned(sparsity=0.999).convert(classifier_job)


def test_begin_after_end_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"begin 0\.8 is after end 0\.5"):
        Pruned(begin=0.8)


def test_a_network_without_layers_to_prune(classifier_job) -> None:
    frozen = keras.models.clone_model(classifier_job.model)
    frozen.trainable = False
    job = CompressionJob(classifier_job.task, frozen, classifier_job.calibration, lambda *_, **__: None, lambda _: 0.0)
    with pytest.raises(ExportError, match="no layer to prune"):
        Pruned().convert(job)


def test_zeros_are_those_of_least_magnitude(classifier_job) -> None:
    """One step of no size: what is left is what was."""
    trunk = classifier_job.trunk()
    pruned = MagnitudePruning(sparsity=0.5, epochs=1, learning_rate=1e-12).pruned(classifier_job, trunk)
    name = "stage_2_block_1_2_conv"
    before, after = (network.get_layer(name).kernel.numpy() for network in (trunk, pruned))
    gone = after == 0
    assert gone.mean() == 0.5
    assert np.abs(before[gone]).max() <= np.abs(before[~gone]).min()
    np.testing.assert_allclose(after[~gone], before[~gone], atol=1e-6)
