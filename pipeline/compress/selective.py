"""Selective quantization: int8, but for the few layers that bear it worst.

Which layers these are is measured, not guessed: each layer alone is quantized while the others stay in float32, and how
far the predictions move on held-out pictures ranks it (Wu et al. 2020, "Integer quantization for deep learning
inference: principles and empirical evaluation", section 5.3, partial quantization). The ranges are measured once; to
quantize and to ask anew takes little.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import Field

from pipeline import console
from pipeline.compress import convert, flatbuffer
from pipeline.compress.base import Compressed, Compression, CompressionJob


class Int8Selective(Compression):
    """Int8 with the few layers in float32 that lose most by it, found by measuring. Where plain int8 loses little it is
    plain int8. Layers that stay in float32 cost speed, and processors without floating point cannot run them."""

    kind: Literal["int8_selective"] = "int8_selective"
    """Weights and activations in int8, but for the worst layers."""
    input_output: Literal["uint8", "int8", "float32"] = "uint8"
    """Type of the file's input and output. With uint8 a picture's bytes go in unchanged (scale 1, zero point 0).
    Outputs that are not between 0 and 1, such as a regression's, are float32 always, and so is what a layer in float32
    reads or gives."""
    max_drop: float = Field(default=0.003, ge=0)
    """How much of the task's metric may be lost, in its own unit, on pictures that `verify` does not judge by: 0.003 of
    accuracy is 0.3 points."""
    max_layers: int = Field(default=4, ge=1)
    """How many layers may stay in float32."""

    def convert(self, job: CompressionJob) -> bytes:
        """The `.tflite` alone."""
        return self.compress(job).content

    def compress(self, job: CompressionJob) -> Compressed:
        """A `.tflite` with as few layers in float32 as keep the limit, or the best one found where none does."""
        network = Network(job)
        plain = self._trial(network, (), job)
        if plain.drop <= self.max_drop:
            return Compressed(plain.content, f"int8 alone drops by {plain.drop:.4g}", self._facts(plain, plain, {}))
        sensitivities = network.sensitivities(job)
        best = self._search(network, job, plain, list(sensitivities))
        return Compressed(best.content, self._says(plain, best), self._facts(plain, best, sensitivities))

    def _search(self, network: Network, job: CompressionJob, plain: Trial, worst_first: list[str]) -> Trial:
        """Keeps one layer more until the limit is kept."""
        trials = [plain]
        for count in range(1, min(self.max_layers, len(worst_first)) + 1):
            trials.append(self._trial(network, tuple(worst_first[:count]), job))
            if trials[-1].drop <= self.max_drop:
                return trials[-1]
        return min(trials, key=lambda trial: trial.drop)

    def _trial(self, network: Network, kept: tuple[str, ...], job: CompressionJob) -> Trial:
        content = convert.with_input_output(network.file(kept), self.input_output)
        return Trial(kept, content, job.drop(content))

    def _says(self, plain: Trial, best: Trial) -> str:
        kept = f"with {', '.join(best.kept)} in float32 by {best.drop:.4g}" if best.kept else "and no layer helps"
        missed = (
            f"; over the limit of {self.max_drop:.4g}: raise max_layers (now {self.max_layers}), or try int8_qat"
            if best.drop > self.max_drop
            else ""
        )
        return f"int8 alone drops by {plain.drop:.4g}, {kept}{missed}"

    def _facts(self, plain: Trial, best: Trial, sensitivities: Mapping[str, float]) -> dict[str, object]:
        return {
            "kept_in_float32": list(best.kept),
            "drop": best.drop,
            "drop_of_int8": plain.drop,
            "within_limit": best.drop <= self.max_drop,
            "sensitivity": {
                name: sensitivities[name] for name in sorted(sensitivities, key=lambda n: -sensitivities[n])
            },
        }


@dataclass(frozen=True)
class Trial:
    """A file with some layers in float32.

    Args:
        kept: these layers.
        drop: of the task's metric, on held-out pictures.
    """

    kept: tuple[str, ...]
    content: bytes
    drop: float


class Network:
    """A trained network, calibrated once, that can be quantized layer by layer.

    Args:
        job: the trained model and its calibration.
    """

    def __init__(self, job: CompressionJob):
        trunk = job.trunk()
        model, self._finish = convert.divided(trunk, job.task)
        self._calibrated = convert.calibrated_file(model, job.calibration, job.ranges)
        self._with_kernel = {layer.name for layer in trunk.layers if any(len(w.shape) > 1 for w in layer.weights)}

    @cached_property
    def layers(self) -> dict[str, list[str]]:
        """Layer -> its operators, by the name of their output, in order. What gives a prediction goes by its name.
        What stays in float in any case is not among them."""
        found: dict[str, list[str]] = {}
        predictions = flatbuffer.signature_outputs(self._calibrated)
        operators = flatbuffer.output_names(self._calibrated)
        for name in (name for name in operators if not flatbuffer.is_decoding(name)):
            layer = predictions.get(name) or layer_of(name, self._with_kernel)
            found.setdefault(layer, []).append(name)
        return found

    def file(self, kept: Iterable[str]) -> bytes:
        """The whole `.tflite` with these layers in float32 and all others in int8; float32 in and out."""
        operators = [name for layer in kept for name in self.layers[layer]]
        return self._finish(convert.quantized(self._calibrated, operators))

    def sensitivities(self, job: CompressionJob) -> dict[str, float]:
        """Layer -> how far the predictions move where it alone is in int8, the worst first."""
        measure = job.distance or job.drop
        found = {}
        with console.progress("sensitivity", unit="layer") as progress:
            for done, layer in enumerate(self.layers, 1):
                found[layer] = measure(self.file([other for other in self.layers if other != layer]))
                progress(done, len(self.layers))
        return dict(sorted(found.items(), key=lambda entry: -entry[1]))


def layer_of(operator: str, with_kernel: set[str]) -> str:
    """The Keras layer that an operator belongs to; of several that were fused, the one with a kernel.

    Args:
        operator: as TFLite names it, such as `serving/relu/Relu;serving/conv/Conv2D`.
        with_kernel: layers that have one.
    """
    names = [path[1] if len(path) > 1 else path[0] for path in flatbuffer.paths_of(operator)]
    return next((name for name in names if name in with_kernel), names[0])
