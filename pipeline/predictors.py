"""Predictors: callables from a batch of inputs to decoded predictions, whatever runs behind them.

All take and give dicts of numpy arrays by name: `image` uint8 [B, H, W, C] 0..255 (or `image_bytes`, encoded pictures
[B]) in, the task's predictions [B, ...] out. So evaluation, verification and
`convoy predict` need not know what they call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from models.stack import keras, tf
from pipeline.errors import RunError, nearest

if TYPE_CHECKING:
    from pipeline.run import Run

Arrays = Mapping[str, np.ndarray]

SAVED_MODEL = "saved_model.pb"
SIGNATURE = "serving_default"


class Predictor(Protocol):
    """A batch of inputs by name -> predictions by name."""

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """`inputs`: [B, ...] each, B >= 1; entries that the predictor has no use for are passed over."""


class KerasPredictor:
    """A Keras model that gives decoded predictions, such as `task.serving_model(model)`.

    Args:
        model: functional, inputs and outputs named.
    """

    def __init__(self, model: keras.Model):
        self._specs = {
            name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name)
            for name, tensor in zip(model.input_names, model.inputs, strict=True)
        }
        self._function = tf.function(
            lambda inputs: named(model, model(inputs, training=False)), input_signature=[self._specs]
        )

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Predictions of the model in inference mode."""
        tensors = {name: tf.cast(inputs[name], spec.dtype) for name, spec in self._specs.items()}
        return {name: value.numpy() for name, value in self._function(tensors).items()}


class SavedModelPredictor:
    """A SavedModel, as TensorFlow Serving loads it.

    Args:
        path: its folder, or the folder above its numbered versions, of which the highest is taken.
        signature: `images` takes `image` uint8 [B, H, W, C], `serving_default` takes `image_bytes` [B].

    Raises:
        RunError: there is no SavedModel, it is damaged, or it has no such signature.
    """

    def __init__(self, path: Path, signature: str = "images"):
        folder = _newest_version(path)
        try:
            self._model = tf.saved_model.load(str(folder))  # kept: the signature holds its variables only weakly
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise RunError(f"{folder} is damaged ({error}). Run `convoy export` again.") from error
        if signature not in self._model.signatures:
            raise RunError(f"{folder} has no signature {signature!r}. {nearest(signature, self._model.signatures)}")
        self._function = self._model.signatures[signature]
        self._specs = self._function.structured_input_signature[1]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Predictions of the chosen signature."""
        tensors = {name: tf.constant(inputs[name], spec.dtype) for name, spec in self._specs.items()}
        return {name: value.numpy() for name, value in self._function(**tensors).items()}

    def frozen(self) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        """The same for use inside a graph, its weights made constants: the one input [B, ...] -> predictions."""
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        function = convert_variables_to_constants_v2(self._function)
        names = sorted(self._function.structured_outputs)  # as TensorFlow flattens a dict

        def answer(values: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = function(values)
            return dict(zip(names, outputs if isinstance(outputs, list | tuple) else [outputs], strict=True))

        return answer


class TFLitePredictor:
    """A `.tflite` file in LiteRT with its XNNPACK kernels, picture by picture, as a phone runs it.

    Batches gain nothing: LiteRT's kernels take as long for 64 pictures at once as for 64 one by one (measured for
    float32, dynamic int8, int8 and int16x8), and give the same bits. What gains, most of all with int16x8, for
    which XNNPACK has no kernels, is several interpreters side by side.

    Args:
        path: the file.
        threads: of one interpreter.
        workers: interpreters that share a batch.

    Raises:
        RunError: the file is missing, or LiteRT cannot run it.
    """

    def __init__(self, path: Path, threads: int = 1, workers: int = 1):
        if not Path(path).is_file():
            raise RunError(f"There is no file {path}; `convoy compress` and `convoy export` write .tflite files.")
        self._interpreters = [_Interpreter(path, threads) for _ in range(workers)]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Predictions as real numbers; quantized inputs and outputs are converted here."""
        pieces = [piece for piece in _pieces(inputs, len(self._interpreters)) if _count(piece)]
        if len(pieces) < 2:
            return self._interpreters[0].run(inputs)
        with ThreadPoolExecutor(len(pieces)) as pool:
            answers = list(pool.map(lambda worker, piece: worker.run(piece), self._interpreters, pieces))
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


class _Interpreter:
    """One LiteRT interpreter of one file."""

    def __init__(self, path: Path, threads: int):
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
            runner = self._interpreter.get_signature_runner(SIGNATURE)
        except (RuntimeError, ValueError) as error:
            raise RunError(f"LiteRT cannot run {path}: {error}") from error
        self._inputs = runner.get_input_details()
        self._outputs = runner.get_output_details()

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """[B, ...] in, [B, ...] out."""
        stored = {name: quantized(inputs[name], detail) for name, detail in self._inputs.items()}
        answers = [self._run_one(stored, index) for index in range(_count(stored))]
        return {
            name: dequantized(np.stack([answer[name] for answer in answers]), detail)
            for name, detail in self._outputs.items()
        }

    def _run_one(self, stored: Arrays, index: int) -> dict[str, np.ndarray]:
        for name, detail in self._inputs.items():
            self._interpreter.set_tensor(detail["index"], stored[name][index : index + 1])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(detail["index"])[0] for name, detail in self._outputs.items()}


def quantized(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """Real numbers as a file's input stores them: stored = round(real / scale) + zero point, clipped to its type."""
    dtype, (scale, zero_point) = detail["dtype"], detail["quantization"]
    if scale == 0:
        return np.asarray(values).astype(dtype)
    limits = np.iinfo(dtype)
    stored = np.round(np.asarray(values, np.float64) / scale) + zero_point
    return np.clip(stored, limits.min, limits.max).astype(dtype)


def dequantized(stored: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """A file's output as real numbers, float32 where it is quantized."""
    scale, zero_point = detail["quantization"]
    if scale == 0:
        return stored
    return ((stored.astype(np.float32) - zero_point) * scale).astype(np.float32)


def open_predictor(path: Path, threads: int = 1) -> Predictor:
    """The Predictor for a `.tflite` file, a SavedModel folder (or the folder above its versions), or a Run folder.

    Args:
        threads: of a `.tflite` file's interpreter.

    Raises:
        RunError: the path is none of these.
    """
    from pipeline.run import Run

    path = Path(path)
    if path.suffix == ".tflite":
        return TFLitePredictor(path, threads)
    if _versions(path):
        return SavedModelPredictor(path)
    if Run(path).model.is_file():
        return trained_predictor(Run(path))
    raise RunError(
        f"{path} is nothing to predict with. Expected a .tflite file, the folder of a SavedModel or of its versions, "
        "or the folder of a Run that has been trained."
    )


def trained_predictor(run: Run) -> KerasPredictor:
    """The Predictor of a Run's trained model.

    Raises:
        RunError: the Run has not been trained.
    """
    from pipeline.trained import load_model, load_task

    return KerasPredictor(load_task(run).serving_model(load_model(run)))


def named(model: keras.Model, outputs: Any) -> dict[str, tf.Tensor]:
    """A functional model's outputs by name, whether it gives a dict, a list or one tensor."""
    if isinstance(outputs, dict):
        return outputs
    values = outputs if isinstance(outputs, list | tuple) else [outputs]
    return dict(zip(model.output_names, values, strict=True))


def _versions(path: Path) -> list[Path]:
    """The folder itself where it is a SavedModel, else its numbered SavedModels, oldest first."""
    if (path / SAVED_MODEL).is_file():
        return [path]
    numbered = [folder for folder in path.glob("*") if folder.name.isdigit() and (folder / SAVED_MODEL).is_file()]
    return sorted(numbered, key=lambda folder: int(folder.name))


def _newest_version(path: Path) -> Path:
    versions = _versions(Path(path))
    if not versions:
        raise RunError(f"{path} holds no SavedModel: neither {SAVED_MODEL} nor a numbered folder with one.")
    return versions[-1]


def _pieces(inputs: Arrays, count: int) -> Iterator[dict[str, np.ndarray]]:
    """The batch in `count` parts of nearly equal length, in order."""
    parts = {name: np.array_split(values, count) for name, values in inputs.items()}
    return (dict(zip(parts, piece, strict=True)) for piece in zip(*parts.values(), strict=True))


def _count(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))
