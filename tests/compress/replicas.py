"""Makes variants on two replicas: `python -m tests.compress.replicas FOLDER`.

A program of its own, as TensorFlow takes its number of logical devices once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.stack import keras, tf
from pipeline.compress import VARIANTS, CompressionJob
from tests.collector import collect_less_often
from tests.compress.conftest import CLASSES, SIZE, network, striped

STEPS = {"epochs": 1, "learning_rate": 1e-2}
SETTINGS = {
    "pruned_2_4": STEPS,
    "channel_pruned": {"ratio": 0.5, **STEPS},
    "pcqat": {
        "prune": {"sparsity": 0.75, "frequency": 1, **STEPS},
        "cluster": {"number_of_clusters": 8, **STEPS},
        "quantize": STEPS,
    },
}
"""One for each way of training; `pcqat` holds three: pruning, clustering, quantization-aware training."""


def copies_differ(model: keras.Model) -> list[str]:
    """Names of the weights whose copies on the two replicas are not the same; batch statistics are not kept equal."""
    pairs = [(weight.name, [value.numpy() for value in weight.values]) for weight in model.trainable_weights]
    return [name for name, (one, other) in pairs if not np.array_equal(one, other)]


def main(folder: Path) -> None:
    from models.preprocess import PictureFormat
    from pipeline.tasks import Classification

    collect_less_often()
    physical = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(physical, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    pictures, labels = striped(32)
    task = Classification(class_names=CLASSES, backbone=network(), picture=PictureFormat(height=SIZE, width=SIZE))
    targets = np.eye(len(CLASSES))[labels]

    def fine_tune(
        model: keras.Model,
        epochs: int,
        learning_rate: float,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> None:
        with strategy.scope():
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
            # one operator a variable: traced in half the time
            model.compile(keras.optimizers.legacy.Adam(learning_rate), {model.output_names[0]: loss})
        batches = tf.data.Dataset.from_tensor_slices((pictures.astype(np.float32), targets)).batch(8)
        model.fit(batches, epochs=epochs, callbacks=list(callbacks), verbose=0)
        assert not copies_differ(model), copies_differ(model)

    job = CompressionJob(task, task.build(), pictures, fine_tune, lambda _: 0.0, scope=strategy.scope)
    for kind, settings in SETTINGS.items():
        (folder / f"{kind}.tflite").write_bytes(VARIANTS[kind](**settings).convert(job))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
