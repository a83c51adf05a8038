from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.compress.clustering import Clustered, WeightClustering
from pipeline.compress.inspect import inspect_content
from pipeline.compress.post_training import Float16, Int8
from pipeline.compress.pruning import MagnitudePruning
from pipeline.errors import ConfigError
from tests.compress.conftest import converted, predictor_of
from tests.compress.stored_kernels import most_values_of_a_channel, stored_kernels
from tests.compress.test_post_training import answers


def test_the_file_holds_so_many_values(classifier_job, pictures, tmp_path) -> None:
    before = classifier_job.model.get_weights()
    content = converted(Clustered(number_of_clusters=8, epochs=2, then=Int8()), classifier_job)
    for old, new in zip(before, classifier_job.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    _, stem, *clustered, head = stored_kernels(content)
    assert max(map(most_values_of_a_channel, clustered)) <= 8
    assert min(map(most_values_of_a_channel, (stem, head))) > 8
    scores = answers(content, pictures, tmp_path)["scores"]
    reference = predictor_of(classifier_job)({"image": pictures})["scores"]
    assert np.mean(scores.argmax(1) == reference.argmax(1)) >= 0.9


def test_the_zipped_file_is_smaller(classifier_job) -> None:
    plain = inspect_content(converted(Float16(), classifier_job))
    clustered = inspect_content(converted(Clustered(number_of_clusters=8, epochs=1), classifier_job))
    assert clustered.bytes == plain.bytes
    assert clustered.zipped_bytes < 0.85 * plain.zipped_bytes


@pytest.mark.parametrize("initialisation", ["kmeans_plus_plus", "linear", "density", "random"])
def test_each_kernel_has_so_many_values_before_the_conversion(classifier_job, initialisation) -> None:
    settings = WeightClustering(number_of_clusters=5, initialisation=initialisation, epochs=1)
    trunk = classifier_job.trunk()
    network = settings.clustered(classifier_job, trunk)
    for name in settings.layers(trunk):
        assert len(np.unique(network.get_layer(name).kernel.numpy())) <= 5
    for name in ("normalise", "stem_conv"):
        assert len(np.unique(network.get_layer(name).kernel.numpy())) == len(np.unique(trunk.get_layer(name).kernel))
    assert [layer.name for layer in network.layers] == [layer.name for layer in trunk.layers]


def test_zeros_stay_zero(classifier_job) -> None:
    sparse = MagnitudePruning(epochs=1).pruned(classifier_job, classifier_job.trunk())
    settings = WeightClustering(number_of_clusters=8, epochs=2, learning_rate=1e-2)
    network = settings.clustered(classifier_job, sparse, keep_zeros=True)
    for name in settings.layers(sparse):
        before, after = (one.get_layer(name).kernel.numpy() for one in (sparse, network))
        assert len(np.unique(after)) <= 8
        np.testing.assert_array_equal(after[before == 0], 0)


def test_kernels_of_fewer_weights_than_clusters_stay(classifier_job) -> None:
    trunk = classifier_job.trunk()
    assert "stage_2_block_1_shortcut_conv" in WeightClustering(number_of_clusters=63).layers(trunk)
    assert "stage_2_block_1_shortcut_conv" not in WeightClustering(number_of_clusters=64).layers(trunk)


def test_no_kernel_is_large_enough(classifier_job) -> None:
    settings = WeightClustering(number_of_clusters=256, keep=("stage_*", "last"))
    with pytest.raises(ConfigError, match=r"is 256, but the largest kernel .* has 216 weights"):
        settings.clustered(classifier_job, classifier_job.trunk())


def test_two_clusters_are_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        Clustered(number_of_clusters=2)
