"""What is known of pictures once the model has seen them: how they look, what is answered, the network's features.

n = pictures, D = features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from models.graphs import features_of
from models.preprocess import PictureFormat, decode_and_fit
from models.stack import keras, tf
from pipeline.data.pictures import BadPicture
from pipeline.data.pool import in_order
from pipeline.data.requests.record import Head
from pipeline.diagnosis.facts import Appearance, appearance
from pipeline.predictors import KerasPredictor
from pipeline.tasks.base import Task, named_outputs

if TYPE_CHECKING:
    from pipeline.console import Progress

BATCH = 64
FEATURES = "features_of_the_network"
SIZES = ("height", "width", "aspect")

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Looked:
    """What is known of n pictures.

    Args:
        usable: int64 [n], places of these pictures among those that were given.
        measures: float64 [n] by name: SIZES of the file, and the fields of Appearance as the model sees the picture.
        predictions: the model's, [n, ...] by name.
        features: float32 [n, D], what its last layer with weights is given.
    """

    usable: np.ndarray
    measures: dict[str, np.ndarray]
    predictions: Arrays
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.usable)


class Looker:
    """Shows pictures to a trained model.

    Args:
        task: resolved.
        model: trained; `image` in, raw outputs out.
    """

    def __init__(self, task: Task, model: keras.Model):
        self._task = task
        outputs = {**task.decode(named_outputs(task.with_views(model))), FEATURES: features_of(model)}
        self._predictor = KerasPredictor(keras.Model(model.inputs, outputs))
        self._fitted = _fitting(task.picture)

    def look(self, pictures: Iterable[bytes], progress: Progress, total: int) -> Looked:
        """Shows it every picture once; those that cannot be decoded are passed over.

        Args:
            pictures: JPEG or PNG.
            progress: told how many of `total` are done.
        """
        usable, measures, answers = [], [], []
        for batch in _batches(in_order(self._seen, pictures, lambda _: True)):
            seen = [(place, one) for place, one in batch if not isinstance(one, BadPicture)]
            if seen:
                usable += [place for place, _ in seen]
                measures += [one for _, (_, one) in seen]
                answers.append(self._predictor({"image": np.stack([pixels for _, (pixels, _) in seen])}))
            progress(batch[-1][0] + 1, total)
        joined = {name: np.concatenate([one[name] for one in answers]) for name in (answers[0] if answers else ())}
        features = joined.pop(FEATURES, np.zeros((0, 0), np.float32))
        columns = np.array(measures, np.float64).reshape(-1, len(SIZES) + len(Appearance._fields)).T
        named = dict(zip((*SIZES, *Appearance._fields), columns, strict=True))
        return Looked(np.array(usable, np.int64), named, joined, features)

    def _seen(self, data: bytes) -> tuple[np.ndarray, tuple[float, ...]] | BadPicture:
        try:
            head, pixels = Head.of(data), self._fitted(data).numpy()
        except BadPicture as error:
            return error
        except tf.errors.InvalidArgumentError as error:
            return BadPicture(str(error.message))
        size = (float(head.height), float(head.width), head.width / head.height)
        return pixels, (*size, *_appearance(pixels, self._task.picture))


def _appearance(pixels: np.ndarray, format: PictureFormat) -> Appearance:
    from PIL import Image

    colours = pixels[..., 0] if format.colours == 1 else np.ascontiguousarray(pixels[..., :3])
    picture = Image.fromarray(colours).convert("RGB")
    return appearance(picture, np.asarray(picture.convert("L")))


def _fitting(format: PictureFormat) -> Callable[[bytes], Any]:
    """What the `image_bytes` signature does, for one picture."""
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(lambda data: decode_and_fit(data, format), input_signature=signature, autograph=False)


def _batches(seen: Iterator[tuple[bytes, Any]]) -> Iterator[list[tuple[int, Any]]]:
    numbered = enumerate(result for _, result in seen)
    while batch := list(islice(numbered, BATCH)):
        yield batch
