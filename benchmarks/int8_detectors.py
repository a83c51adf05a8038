"""Where int8 detectors lose their boxes: python -m benchmarks.int8_detectors RUN [--pictures N] [--json FILE]

A trained Run's network, quantized after training in four forms; the suppression is in float in all of them. `ratio` is
mAP 50:95 as a share of the float network's, on the evaluation split.

    one tensor      boxes and scores decoded within int8, and joined: the form that published detectors collapse in
    decoded within  the same, but boxes and scores are tensors of their own
    boxes within    boxes are decoded within int8, scores behind it
    shipped         nothing is decoded within int8, as the variant `int8` of `convoy compress`

`boxes within` is for detectors of one stage alone: the scores of a second one need the proposals.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from models.detectors.base import OneStage
from models.graphs import with_float_input
from models.stack import keras, tf
from pipeline import stages
from pipeline.compress import convert
from pipeline.compress.calibration import Calibration, calibration_pictures
from pipeline.data.example import IMAGE, REAL
from pipeline.data.input import evaluation_batches, evaluation_split
from pipeline.data.store import Store
from pipeline.evaluate import labels_of
from pipeline.predictors import TFLitePredictor
from pipeline.run import Run
from pipeline.tasks import Detection
from pipeline.tasks.base import named_outputs
from pipeline.trained import load_model, load_task

GOAL = 0.97
BOXES_WITHIN = "boxes within"
Tensors = Mapping[str, Any]
Form = tuple[Callable[[Detection, Tensors], Tensors], Callable[[Detection, Tensors], Tensors]]


def main() -> None:
    parser = measure.arguments(__doc__, rounds=1)
    parser.add_argument("run", type=Path, metavar="RUN", help="trained on the task `detection`")
    parser.add_argument("--pictures", type=int, default=200, help="for calibration (%(default)s)")
    arguments = parser.parse_args()
    machine = measure.host()
    run = Run(arguments.run)
    task, model, store = load_task(run), load_model(run), stages.open_store(run)
    if not isinstance(task, Detection):
        parser.error(f"{arguments.run} was trained on the task {task.name}, not on detection")
    task = task.model_copy(update={"flips": ()})  # what is compared is one view
    pictures = calibration_pictures(Calibration(count=arguments.pictures), store, task)
    trunk = with_float_input(model)
    whole = average_precision(task, store, convert.tflite_file(network(trunk, task, FORMS["shipped"])), "shipped")
    found = {name: int8_average_precision(task, store, trunk, pictures, name) for name in forms_of(task)}
    lines = [measure.compare(f"int8, {name} / float", [value], [whole], "mAP") for name, value in found.items()]
    shipped = [measure.at_least(line, GOAL) if "shipped" in line.name else line for line in lines]
    measure.publish(shipped, machine, arguments.json)


def forms_of(task: Detection) -> list[str]:
    """The forms that a task's detector has; says which it has not."""
    if isinstance(task.detector, OneStage):
        return list(FORMS)
    why = f"{task.detector.kind} has two stages, and the scores of the second need the proposals, which are not kept"
    print(f"{BOXES_WITHIN}: left out, since {why}.", file=sys.stderr, flush=True)
    return [name for name in FORMS if name != BOXES_WITHIN]


def int8_average_precision(task: Detection, store: Store, trunk: keras.Model, pictures: np.ndarray, form: str) -> float:
    """mAP 50:95 of the network in int8."""
    content = convert.int8_file(network(trunk, task, FORMS[form]), pictures)
    return average_precision(task, store, content, form)


def network(trunk: keras.Model, task: Detection, form: Form) -> keras.Model:
    """The network with what the form decodes within it."""
    return keras.Model(trunk.inputs, form[0](task, named_outputs(trunk)))


def average_precision(task: Detection, store: Store, content: bytes, form: str) -> float:
    """mAP 50:95 of a `.tflite` on the evaluation split."""
    evaluator = task.evaluator()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.tflite")
        file.write_bytes(content)
        predictor = TFLitePredictor(file, workers=2)
        for batch in evaluation_batches(store, task, evaluation_split(store.info), 32):
            real = batch[REAL].numpy()
            outputs = predictor({IMAGE: batch[IMAGE].numpy()[real].astype(np.float32)})
            decoded = FORMS[form][1](task, {name: tf.constant(values) for name, values in outputs.items()})
            evaluator.update(labels_of(batch, real), {name: value.numpy() for name, value in decoded.items()})
    return float(evaluator.result()["map"])


def raw_numbers(task: Detection, outputs: Tensors) -> Tensors:
    """Nothing is decoded."""
    return outputs


def boxes_of(task: Detection, outputs: Tensors) -> Any:
    return tf.clip_by_value(task.detector.found(task.layout, outputs)[0] / task.layout.scale(), 0.0, 1.0)


def scores_of(task: Detection, outputs: Tensors) -> Any:
    return task.detector.found(task.layout, outputs)[1]


def decoded_within(task: Detection, outputs: Tensors) -> Tensors:
    """Boxes and scores of all places, each a tensor."""
    return {"boxes": named(boxes_of(task, outputs), "boxes"), "scores": named(scores_of(task, outputs), "scores")}


def one_tensor(task: Detection, outputs: Tensors) -> Tensors:
    """The same in one."""
    both = tf.concat([boxes_of(task, outputs), scores_of(task, outputs)], axis=-1)
    return {"both": named(both, "both")}


def boxes_within(task: Detection, outputs: Tensors) -> Tensors:
    """Boxes of all places, and the classes' raw numbers."""
    classes = {name: value for name, value in outputs.items() if name.startswith("classes")}
    return {**classes, "boxes": named(boxes_of(task, outputs), "boxes")}


def named(tensor: Any, name: str) -> Any:
    return keras.layers.Activation("linear", name=name)(tensor)


def suppressed(task: Detection, boxes: Any, scores: Any) -> Tensors:
    chosen: Tensors = task.suppression.select(boxes, scores)
    return chosen


def rest_of_boxes_within(task: Detection, outputs: Tensors) -> Tensors:
    """Scores are still to be made of the raw numbers; the boxes' take no part in that."""
    maps = {f"boxes_{stride}": outputs[f"classes_{stride}"][..., :0] for stride in task.strides}
    return suppressed(task, outputs["boxes"], scores_of(task, {**maps, **outputs}))


FORMS: Mapping[str, Form] = {
    "one tensor": (one_tensor, lambda task, out: suppressed(task, out["both"][..., :4], out["both"][..., 4:])),
    "decoded within": (decoded_within, lambda task, out: suppressed(task, out["boxes"], out["scores"])),
    BOXES_WITHIN: (boxes_within, rest_of_boxes_within),
    "shipped": (raw_numbers, lambda task, out: task.decode(out)),
}


if __name__ == "__main__":
    main()
