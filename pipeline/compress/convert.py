"""From a Keras model to a `.tflite` file: builtin operators only, one picture, the signature `serving_default`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from models.heads import IMAGE
from models.stack import keras, tf
from pipeline.compress import flatbuffer
from pipeline.compress.calibration import MinMax, Ranges
from pipeline.compress.compaction import compacted
from pipeline.errors import ExportError
from pipeline.predictors import named

if TYPE_CHECKING:
    from pipeline.tasks.base import Task

FIXED_RANGE_OPERATIONS = {"Softmax", "Sigmoid"}
"""Operations whose quantized output has a range that TFLite fixes at 0..1, as exact as eight bits can be."""
PASSING_OPERATIONS = {"Placeholder", "Identity", "NoOp"}
"""Operations that compute nothing."""
OWN_GRADIENT = "_gradient_op_type"
"""Attribute of operations with a gradient other than that of their type."""
MOST_CONSTANTS = 10_000_000
"""Numbers in the variables of a model that the converter takes as constants, which is faster up to about so many."""

Prepare = Callable[[Any], None]
Convert = Callable[[Any], bytes]


def tflite_file(model: keras.Model, prepare: Prepare = lambda converter: None) -> bytes:
    """A `.tflite` of `model` for one picture, its inputs and outputs by name.

    Args:
        model: functional; float inputs of fixed shape but for the batch.
        prepare: sets options of the converter, such as quantization; none by default.

    Raises:
        ExportError: an operator is not one of TFLite's builtin ones.
    """
    from tensorflow.lite.python.convert import ConverterError

    function, weights = _quickly_saved(_serving_function(model))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], weights)
    prepare(converter)
    try:
        return bytes(converter.convert())
    except ConverterError as error:
        raise ExportError(_refusal(str(error))) from error


def clone(model: keras.Model, change: Callable[[keras.layers.Layer], dict[str, Any]]) -> keras.Model:
    """A copy with the same weights whose layers' configurations are updated by what `change` gives for each."""

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        return layer.__class__.from_config({**layer.get_config(), **change(layer)})

    copy = keras.models.clone_model(model, clone_function=copied)
    for new, old in zip(copy.layers, model.layers, strict=True):
        new.set_weights(old.get_weights())
    return copy


def fixed_statistics(layer: keras.layers.Layer) -> dict[str, Any]:
    """For `clone`: BatchNormalization that keeps its trained statistics, scale and offset in further training."""
    return {"trainable": False} if isinstance(layer, keras.layers.BatchNormalization) else {}


def in_float32(model: keras.Model) -> keras.Model:
    """The same network computing in float32: TFLite and tfmot know no operators of mixed precision's half types."""
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    return clone(model, lambda layer: {"dtype": "float32"})


def with_decoding(trunk: keras.Model, task: Task, convert: Convert) -> bytes:
    """A `.tflite` of the network `trunk`, converted as asked, and the task's decoding.

    Softmax and sigmoid are converted with the network. A decoding with a range of its own (standardised targets brought
    back to their units) follows as a float part of its own, after the network's outputs are dequantized. Otherwise the
    converter folds it into the last layer, where K targets share one scale: a target in thousandths beside one in
    thousands rounds to nothing in int8, and a mean beyond 65504 overflows float16.

    Args:
        trunk: `image` float32 [B, H, W, C] 0..255 in, named raw outputs out.
        convert: makes a `.tflite` with float32 outputs of a model.
    """
    model, finish = divided(trunk, task)
    return finish(convert(model))


def divided(trunk: keras.Model, task: Task) -> tuple[keras.Model, Callable[[bytes], bytes]]:
    """What `with_decoding` converts, and what makes the whole file of the result.

    Raises (the second):
        ExportError: LiteRT refuses the file.
    """
    asked = task.with_views(trunk)
    tail = decoding(task, asked)
    if operations(tail) <= FIXED_RANGE_OPERATIONS:
        return task.serving_model(trunk), lambda content: runnable(compacted(content))
    tail_file = tflite_file(tail)
    return asked, lambda content: runnable(compacted(flatbuffer.join(content, tail_file)))


def runnable(content: bytes) -> bytes:
    """The same file, after LiteRT has prepared all of its operators: some quantizations convert but do not run.

    Raises:
        ExportError: LiteRT refuses the file.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        Interpreter(model_content=content, num_threads=1).allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ExportError(
            f"The model was converted, but LiteRT cannot run the result: {error} "
            "A network with weights or activations of extreme range, such as an untrained one, does this; "
            "leave this variant out, or train longer."
        ) from error
    return content


def int8_file(model: keras.Model, pictures: np.ndarray, ranges: Ranges | None = None) -> bytes:
    """A `.tflite` in int8 throughout, float32 at its input and outputs; see `with_input_output` for these.

    Args:
        pictures: uint8 [n, H, W, C], from which the ranges of activations come.
        ranges: how; by default the extremes.
    """
    return quantized(calibrated_file(model, pictures, ranges))


def calibrated_file(model: keras.Model, pictures: np.ndarray, ranges: Ranges | None = None) -> bytes:
    """A float32 `.tflite` whose activations hold their ranges: what `quantized` takes. Arguments as of `int8_file`."""
    (image,) = model.input_names
    return calibrated_on(model, {image: pictures}, ranges, image)


def calibrated_on(
    model: keras.Model, inputs: Mapping[str, np.ndarray], ranges: Ranges | None = None, image: str = IMAGE
) -> bytes:
    """The same of a model with several inputs, [n, ...] by name; `image` names the one that is a picture, 0..255.

    The converter's steps are called one by one because only between them can the input's range be set to 0..255, which
    gives scale 1 and zero point 0 in uint8. A picture of extremes among the calibration pictures would also widen the
    ranges of the layers behind it, and a fake quantization at the input leaves a Dequantize/Quantize pair.
    """

    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: representative(inputs)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter._experimental_calibrate_only = True

    extremes = flatbuffer.with_decoding_inside(tflite_file(model, prepare), layers_in_float(model))
    return flatbuffer.with_input_range((ranges or MinMax()).apply(extremes, inputs), image, 0.0, 255.0)


def quantized(calibrated: bytes, kept: Collection[str] = ()) -> bytes:
    """A calibrated file in int8, one scale a channel for weights; a decoding inside stays in float32.

    Args:
        kept: other operators that stay in float32, by the name of their output; a Dequantize before and a Quantize
            behind them join them to the rest.
    """
    from tensorflow.lite.python.convert import mlir_quantize

    decoding = [name for name in flatbuffer.output_names(calibrated) if flatbuffer.is_decoding(name)]
    return bytes(mlir_quantize(calibrated, denylisted_nodes=[*decoding, *kept]))


def layers_in_float(model: keras.Model) -> set[str]:
    """Names of the layers that compute in float32 in every file."""
    from models.layers import InFloat

    return {layer.name for layer in model.layers if isinstance(layer, InFloat)}


def with_input_output(content: bytes, dtype: str) -> bytes:
    """The file with `uint8`, `int8` or `float32` input and outputs. What a float operator reads or gives stays float32,
    such as the outputs of a decoding in float."""
    from tensorflow.lite.python.util import modify_model_io_type

    reading, giving = flatbuffer.border_operators(content)
    inputs = dtype if reading <= {"QUANTIZE"} else "float32"
    outputs = dtype if giving <= {"DEQUANTIZE"} else "float32"
    # TensorFlow's function writes the file anew, with every equal vector as often as it is used.
    return compacted(bytes(modify_model_io_type(content, getattr(tf, inputs), getattr(tf, outputs))))


def int16x8_file(model: keras.Model, pictures: np.ndarray) -> bytes:
    """A `.tflite` with int16 activations and int8 weights; float32 in and out, as TFLite cannot cast uint8 to int16. A
    decoding inside stays in float32."""
    if layers_in_float(model):
        from pipeline.compress import sections

        return sections.int16x8_file(model, pictures)
    (image,) = model.input_names
    return int16x8_on(model, {image: pictures}, image)


def int16x8_on(model: keras.Model, inputs: Mapping[str, np.ndarray], image: str = IMAGE) -> bytes:
    """The same of a model with several inputs, [n, ...] by name, and without a decoding inside; `image` names the one
    that is a picture."""
    widened = with_extremes(inputs, image)
    return wholly_int16x8(model, lambda: representative(widened))


def wholly_int16x8(model: keras.Model, examples: Callable[[], Iterator[Any]]) -> bytes:
    """The same of a network without a decoding inside.

    Args:
        examples: gives inputs as the converter wants them: lists or dicts by name of float32 [1, ...].
    """

    def prepare(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]

    return tflite_file(model, prepare)


def decoding(task: Task, trunk: keras.Model) -> keras.Model:
    """The task's decoding alone, from the raw outputs of `trunk`, as a model."""
    inputs = {
        name: keras.Input(output.shape[1:], dtype=output.dtype, name=name)
        for name, output in zip(trunk.output_names, trunk.outputs, strict=True)
    }
    return keras.Model(inputs, task.decode(inputs), name="decoding")


def operations(model: keras.Model) -> set[str]:
    """Types of the TensorFlow operations that compute something in a model."""
    graph = _serving_function(model).graph
    return {operation.type for operation in graph.get_operations()} - PASSING_OPERATIONS


def representative(inputs: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Calibration inputs [n, ...] one by one, as the converter wants them: by name, since it has an order of its own,
    float32 [1, ...]."""
    for row in range(len(next(iter(inputs.values())))):
        yield {name: values[row : row + 1].astype(np.float32) for name, values in inputs.items()}


def with_extremes(inputs: Mapping[str, np.ndarray], image: str) -> dict[str, np.ndarray]:
    """The inputs and the first ones again, the picture with a black and a white pixel, so that its range is 0..255.

    The ranges behind the first layers may grow by it, which 16 bits bear.
    """
    first = {name: values[:1].copy() for name, values in inputs.items()}
    first[image][:, 0, 0], first[image][:, -1, -1] = 0, 255
    return {name: np.concatenate([values, first[name]]) for name, values in inputs.items()}


def _serving_function(model: keras.Model) -> Any:
    """The model as a concrete function of one picture; inputs and outputs keep their names."""
    specs = {
        name: tf.TensorSpec([1, *tensor.shape[1:]], tensor.dtype, name=name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    }

    @tf.function(input_signature=list(specs.values()))
    def serve(*inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
        outputs = named(model, model(dict(zip(specs, inputs, strict=True)), training=False))
        _forget_gradients(tf.compat.v1.get_default_graph())
        return outputs

    return serve.get_concrete_function()


def _forget_gradients(graph: tf.Graph) -> None:
    """Takes gradients of their own, as swish has one, from a graph that is never trained again.

    The converter saves them with the graph, which fails where such a gradient reads a tensor of the graph; it then goes
    on without a word, and without the signature.
    """
    for operation in graph.get_operations():
        if OWN_GRADIENT in operation.node_def.attr:
            operation._clear_attr(OWN_GRADIENT)


def _quickly_saved(function: Any) -> tuple[Any, tf.Module]:
    """A concrete function, and what holds its variables, in the form that the converter saves sooner.

    It writes a SavedModel and reads it again before it converts. Each variable costs it milliseconds, each number of a
    constant is copied a dozen times: an EfficientNet-B0 takes 4 s with constants and 10 s with variables, a ResNet50
    14 s and 9 s. Bare variables take a fifth of the time of a Keras model.
    """
    weights = tf.Module()
    if sum(variable.shape.num_elements() for variable in function.variables) <= MOST_CONSTANTS:
        return _with_constants(function), weights
    weights.kept = function.variables
    return function, weights


def _with_constants(function: Any) -> Any:
    """The same concrete function with the values of its variables as constants; inputs and outputs keep their names."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    constant = convert_variables_to_constants_v2(function, lower_control_flow=False)

    @tf.function(input_signature=function.structured_input_signature[0], autograph=False)
    def serve(*inputs: tf.Tensor) -> Mapping[str, tf.Tensor]:
        outputs = tf.nest.flatten(constant(*inputs))
        return tf.nest.pack_sequence_as(function.structured_outputs, outputs)

    return serve.get_concrete_function()


def _refusal(message: str) -> str:
    """The converter's pages in one line: the operators they list, or else their first error."""
    operators = sorted(
        {name for names in re.findall(r"(?:TF Select|Custom) ops: (.+)", message) for name in names.split(", ")}
    )
    if not operators:
        error = re.search(r"error: (.+)", message)
        return f"TFLite cannot express this model: {error[1] if error else message.strip()}"
    return (
        f"The model needs {', '.join(operators)}, which TFLite's builtin operators cannot express. "
        "Use another layer or decoding, or leave the TFLite variants out (compress.variants=[])."
    )
