"""How fast detectors train beside keras-cv's RetinaNet: python -m benchmarks.detector_training [--json FILE]

Pictures a second of training steps in `fit` on the same batch in memory, MobileNetV2 as the backbone, Adam. Once with
RetinaNet's published head on both sides (pyramid and towers of 256 channels, four convolutions, strides 8 to 128, nine
anchors), and once with what Convoy takes by default. keras-cv encodes its labels inside its step, as Convoy matches
anchors inside its loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks import measure
from models.detectors import DETECTORS
from models.stack import keras, tf
from pipeline.data.example import BOXES, CLASSES, TRAIN, DataInfo
from pipeline.tasks import Detection

SIDE, BATCH, OBJECTS, NUM_CLASSES = 256, 8, 8, 20
STEPS = 4
GOAL = 1.3
LEVELS = {"P3": "block_6_expand_relu", "P4": "block_13_expand_relu", "P5": "out_relu"}
PUBLISHED: Mapping[str, Any] = {
    "strides": [8, 16, 32, 64, 128],
    "neck": {"kind": "fpn", "channels": 256},
    "detector": {"kind": "retinanet", "head_depth": 4, "head_width": 256, "box_loss": "smooth_l1"},
}
INFO = DataInfo(
    fields=("id", "image", BOXES, CLASSES),
    class_names=tuple(str(number) for number in range(NUM_CLASSES)),
    num_examples={TRAIN: 100},
    class_counts={TRAIN: [40] * NUM_CLASSES},
    max_objects=OBJECTS,
)


def main() -> None:
    arguments = measure.arguments(__doc__, rounds=5).parse_args()
    machine = measure.host()
    pictures, boxes, classes = batch()
    sides = {
        "keras-cv": peer(pictures, boxes, classes),
        "published": convoy(PUBLISHED, pictures, boxes, classes),
        **{kind: convoy({"detector": {"kind": kind}}, pictures, boxes, classes) for kind in DETECTORS},
    }
    rates = measure.interleave(sides, arguments.rounds)
    names = {
        "published": "RetinaNet, the published head",
        "faster_rcnn": "Faster R-CNN",
        "retinanet": "RetinaNet",
        "ssd": "SSD",
        "yolo": "YOLO",
    }
    found = [
        measure.compare(f"{said} / keras-cv RetinaNet", rates[name], rates["keras-cv"], "pictures/s")
        for name, said in names.items()
    ]
    measure.publish([measure.at_least(one, GOAL) for one in found], machine, arguments.json)


def batch() -> tuple[tf.Tensor, np.ndarray, np.ndarray]:
    """Noise with boxes: uint8 [B, H, W, 3], float32 [B, N, 4] in pixels, int64 [B, N]."""
    generator = np.random.default_rng(1)
    pictures = tf.constant(generator.integers(0, 256, (BATCH, SIDE, SIDE, 3), dtype=np.uint8))
    low = generator.uniform(0.0, 0.6, (BATCH, OBJECTS, 2))
    boxes = np.concatenate([low, low + generator.uniform(0.1, 0.4, low.shape)], axis=-1).astype(np.float32)
    return pictures, boxes * SIDE, generator.integers(0, NUM_CLASSES, (BATCH, OBJECTS))


def convoy(
    settings: Mapping[str, Any], pictures: tf.Tensor, boxes: np.ndarray, classes: np.ndarray
) -> Callable[[], float]:
    """Trains Convoy's detector."""
    network = {"picture": {"height": SIDE, "width": SIDE}, "backbone": {"kind": "mobilenet_v2"}}
    task = Detection.model_validate({**network, **settings}).resolve(INFO)
    model = task.training_model(task.build())
    model.compile(keras.optimizers.Adam(1e-4), loss=task.losses(), jit_compile=False)
    examples = {"image": pictures, BOXES: tf.constant(boxes / SIDE), CLASSES: tf.constant(classes)}
    return fitting(model, task.encode(examples))


def peer(pictures: tf.Tensor, boxes: np.ndarray, classes: np.ndarray) -> Callable[[], float]:
    """Trains keras-cv's."""
    import keras_cv

    backbone = keras.applications.MobileNetV2(input_shape=(SIDE, SIDE, 3), include_top=False, weights=None)
    backbone.pyramid_level_inputs = LEVELS
    model = keras_cv.models.RetinaNet(num_classes=NUM_CLASSES, bounding_box_format="xyxy", backbone=backbone)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-4), classification_loss="focal", box_loss="smoothl1", jit_compile=False
    )
    labels = {"boxes": tf.constant(boxes), "classes": tf.constant(classes, tf.float32)}
    return fitting(model, (tf.cast(pictures, tf.float32), labels))


def fitting(model: keras.Model, one: tuple[Any, Any]) -> Callable[[], float]:
    """Gives pictures a second of some steps on one batch."""
    batches = tf.data.Dataset.from_tensors(one).repeat()

    def rate() -> float:
        begun = time.perf_counter()
        model.fit(batches, steps_per_epoch=STEPS, epochs=1, verbose=0)
        return STEPS * BATCH / (time.perf_counter() - begun)

    return rate


if __name__ == "__main__":
    main()
