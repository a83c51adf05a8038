"""A network of simple layers -> the same with fake quantization at each place where an int8 file rounds.

In place of tfmot's own graph transformations, which know few patterns and take time that grows with the cube of the
number of layers. Its wrapper, quantizers, and the weights' configurations of its schemes are what this puts together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from tensorflow_model_optimization.python.core.quantization.keras import quantize_wrapper
from tensorflow_model_optimization.quantization.keras.default_8bit import Default8BitQuantizeScheme

from models import rewire
from models.folding import foldable
from models.stack import keras, tf
from pipeline.compress.qat import configs, graph

Tensor = Any

PREFIX = "quant_"
"""How the names of layers with fake quantization begin."""


def fake_quantized(network: keras.Model, scheme: Any = None, skip: Collection[str] = ()) -> keras.Model:
    """The network with fake quantization; its ranges are not set yet.

    Args:
        network: what `simplify.simplified` gives; each layer has a treatment.
        scheme: a tfmot QuantizeScheme, which says how weights are quantized; by default eight bits.
        skip: layers whose weights stay in float32. What they give is rounded all the same, for the layers behind.
    """
    registry = (scheme or Default8BitQuantizeScheme()).get_quantize_registry()
    unrounded = unrounded_layers(network)
    inputs = [keras.Input(tensor.shape[1:], name=tensor._keras_history.layer.name) for tensor in network.inputs]
    starts = {old.ref(): _input_levels(new) for old, new in zip(network.inputs, inputs, strict=True)}

    def replace(call: rewire.Call) -> Tensor:
        treatment = configs.OUTPUT if call.layer.name in skip else configs.treatment(call.layer)
        config = treatment and treatment.config(call.layer, registry, call.layer.name not in unrounded)
        return wrapped(call, config) if config else rewire.copy(call)

    outputs = rewire.rewire(list(network.output.values()), starts, replace)
    named = dict(zip(network.output, outputs, strict=True))
    return with_frozen_kernels(keras.Model(inputs, named, name=network.name))


def wrapped(call: rewire.Call, config: Any) -> Tensor:
    """The call by a copy of its layer in tfmot's wrapper; one, however often the layer is called."""
    made = call.copies.get(id(call.layer))
    if made is None:
        layer = call.layer.__class__.from_config(call.layer.get_config())
        # Before the wrapper is built: schemes that preserve sparsity or clusters look at the weights then.
        with tf.name_scope(layer.name):
            layer.build(tf.nest.map_structure(lambda tensor: tensor.shape, call.inputs))
        layer.set_weights(call.layer.get_weights())
        made = call.copies[id(call.layer)] = quantize_wrapper.QuantizeWrapperV2(layer, config, name_prefix=PREFIX)
    return made(call.inputs, **call.keywords)


def unrounded_layers(network: keras.Model) -> set[str]:
    """Names of the layers whose output the file never holds in int8: the next operator's is what is rounded.

    Convolutions with their BatchNormalization, sums with their ReLU, and the inputs of a concatenation, whose levels
    are its own.
    """
    readers = graph.readers(network)
    found = set(foldable(network))
    for node in graph.calls(network):
        before = [parent.layer for parent in node.parent_nodes]
        if isinstance(node.layer, keras.layers.Concatenate):
            found.update(layer.name for layer in before)
        elif configs.is_fusable(node.layer) and _fuses(before[0]) and len(readers[before[0].name]) == 1:
            found.add(before[0].name)
    return found


def _fuses(layer: keras.layers.Layer) -> bool:
    """Whether the layer's int8 operator does a ReLU behind it too."""
    treatment = configs.treatment(layer)
    return treatment is not None and treatment.fuses_activation and not _has_activation(layer)


def _has_activation(layer: keras.layers.Layer) -> bool:
    activation = getattr(layer, "activation", keras.activations.linear)
    return activation is not keras.activations.linear


def with_frozen_kernels(quantized: keras.Model) -> keras.Model:
    """The same model. tfmot's wrappers train the kernels of frozen layers too, and hold some weights twice, which
    makes their files unreadable: each gets the weights that a loaded one has, as trainable as its layer is."""
    for layer in quantized.layers:
        if isinstance(layer, quantize_wrapper.QuantizeWrapper):
            kernels = [weight for weight, _, _ in layer._weight_vars]
            learned = [*kernels, *_others(layer._trainable_weights, [*kernels, *layer.layer.weights])]
            fixed = _others(layer._non_trainable_weights, learned)
            layer._non_trainable_weights = fixed if layer.trainable else [*learned, *fixed]
            layer._trainable_weights = learned if layer.trainable else []  # last: Keras adds what it sees assigned
    return quantized


def _others(weights: Sequence[tf.Variable], known: Sequence[tf.Variable]) -> list[tf.Variable]:
    """Those of the weights that are not among the known ones."""
    return [weight for weight in weights if not any(weight is other for other in known)]


def _input_levels(image: Tensor) -> Tensor:
    """Pictures in the 256 levels that they have anyway; where a fake-quantized network begins, for the converter."""
    levels = keras.layers.Activation("linear", name="levels")
    return quantize_wrapper.QuantizeWrapperV2(levels, configs.fixed_output(0.0, 255.0), name_prefix=PREFIX)(image)
