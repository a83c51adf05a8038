"""Quantization-aware training knows every layer that a network of Convoy can hold; a new one fails here without.

Those of backbones are in `test_backbone_families`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.attention import ATTENTIONS
from models.graphs import with_float_input
from models.pooling import POOLINGS
from models.stack import keras
from pipeline.tasks import Classification
from tests.contracts.subjects import VARIETIES, store_for, task_class, tiny_task

EXEMPT = {
    "ToFloat": "cut off before: files take pictures as they are",
    "Suppress": "a part of decoding, which stays in float behind the quantized network",
}
"""Layers of Convoy that never come before quantization-aware training, and why."""


def network(**settings: Any) -> keras.Model:
    task = Classification.model_validate({"class_names": ["one", "another"], **settings})
    return with_float_input(task.build())


def unknown(network: keras.Model) -> set[str]:
    from pipeline.compress.qat import check, graph, simplify

    return {check.described(layer) for layer in graph.layers(network) if not simplify.is_known(layer)}


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_layer_of_attention_is_known(attention: str) -> None:
    regularisation = {"stochastic_depth": 0.2, "spatial_dropout": 0.1, "l2": 1e-4}
    backbone = {"kind": "small_resnet", "depth": 8, "widths": [8, 8, 8], "attention": {"kind": attention}}
    picture = {"height": 16, "width": 16}
    assert unknown(network(backbone={**backbone, "regularisation": regularisation}, picture=picture)) == set()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_layer_of_a_head_is_known(pooling: str) -> None:
    backbone = {"kind": "small_resnet", "depth": 8, "widths": [8, 8, 8]}
    head = {"pooling": pooling, "dropout": 0.5}
    assert unknown(network(backbone=backbone, picture={"height": 16, "width": 16}, head=head)) == set()


@pytest.mark.parametrize("kind", VARIETIES)
def test_every_layer_of_a_task_is_known(kind: str, table: Path) -> None:
    task = tiny_task(kind, store_for(task_class(kind), table))
    assert unknown(with_float_input(task.build())) == set()


def test_every_layer_class_of_convoy_is_known() -> None:
    """Those that no test above happens to build, too."""
    from models import activations, layers
    from models.detectors import layers as of_detectors
    from models.siamese import layers as of_pairs
    from pipeline.compress.qat import configs, simplify

    classes = {
        one
        for module in (activations, layers, of_detectors, of_pairs)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, keras.layers.Layer) and one.__module__ == module.__name__
    }
    made = {one for one in classes if keras.saving.get_registered_name(one) != one.__name__}
    assert {one.__name__ for one in made if one not in configs.TREATMENTS and one not in simplify.EXPANSIONS} == set(
        EXEMPT
    )
