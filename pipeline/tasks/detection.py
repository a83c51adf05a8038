"""Any number of objects in each picture: where, and of which class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from models.detectors import YOLO, AnyDetector
from models.detectors.flips import AXES, Flip, Flips
from models.detectors.layout import Layout
from models.graphs import VIEWS
from models.necks import FPN, AnyNeck
from models.stack import keras, tf
from models.suppression import AnySuppression, ClassWise
from pipeline.data.example import (
    BOXES,
    BRIGHTNESS,
    CLASSES,
    CROWD,
    DIFFICULT,
    NO_OBJECT,
    TRAIN,
    DataInfo,
    Example,
)
from pipeline.errors import ConfigError, DataError
from pipeline.tasks.base import Anchored, Meaning, Metric, Task, Tensors, named_outputs
from pipeline.tasks.class_weights import AnyClassWeights, Unweighted
from pipeline.tasks.pairing import in_order_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.metrics.base import Evaluator
    from pipeline.metrics.detection import DetectionEvaluator

UNDECIDED = 0.3
DETECTIONS = "detections"
"""The one output of the model that is fitted: all raw numbers, place by place."""


class Detection(Task):
    """Boxes with classes. Predictions, all float32, M = `suppression.most`: `boxes` [B,M,4] x_min, y_min, x_max, y_max
    as shares of the model's picture, `classes` [B,M], `scores` [B,M] 0..1, falling, and `count` [B], how many of the M
    are there; the rest are zeros."""

    kind: Literal["detection"] = "detection"
    """The task's name."""
    class_names: tuple[str, ...] = ()
    """The classes in the order of their numbers; left empty, they are taken from the data."""
    strides: tuple[int, ...] = Field(default=(8, 16, 32), min_length=1)
    """Pixels between the places of each level that answers, the finest first. Levels that the backbone does not have
    are added behind its last."""
    neck: AnyNeck | None = FPN()
    """What joins the levels; none = each answers by itself."""
    detector: AnyDetector = YOLO()
    """The architecture: what each place says, which place answers for which object, what a wrong answer costs."""
    suppression: AnySuppression = ClassWise()
    """How several answers for one object become one."""
    flips: tuple[Flip, ...] = ()
    """Looks at each picture mirrored as well, and averages what is said of the same place: for objects that look the
    same from both sides. Every file that is exported does so, at twice the cost for one flip, four times for both. Not
    for Faster R-CNN; the side that is turned has to be a multiple of the coarsest stride."""
    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    """Score from which on an object counts as found, in answers and in precision and recall. Left out, the one with the
    best F1 on the validation split, chosen by `evaluate` after training; 0.3 where that is the split judged on, or
    nothing was found. A number set here stays."""
    class_weights: AnyClassWeights = Unweighted()
    """What the objects of each class count in the loss, for classes of unequal size; kept by name once the data is
    known."""
    objects_a_picture: float | None = Field(default=None, gt=0.0)
    """By what a picture's loss is divided; left out, the mean number of objects of a training picture."""

    label_field: ClassVar[str] = BOXES
    metric: ClassVar[Metric] = Metric("map", "max")

    @field_validator("strides")
    @classmethod
    def _growing(cls, strides: tuple[int, ...]) -> tuple[int, ...]:
        powers = all(stride > 0 and stride & (stride - 1) == 0 for stride in strides)
        if not powers or list(strides) != sorted(set(strides)):
            raise ValueError(f"expected growing powers of two, such as [8, 16, 32], got {list(strides)}")
        return strides

    @model_validator(mode="after")
    def _anchors_fit_levels(self) -> Detection:
        self.detector.answers(len(self.strides))
        return self

    @model_validator(mode="after")
    def _flips_average_places(self) -> Detection:
        if self.flips and not self.detector.by_place:
            raise ValueError(
                f"flips averages what is said of the same place, but the regions of {self.detector.kind} are others in "
                "each view. Leave flips out, or choose detector=yolo, retinanet or ssd"
            )
        for flip in self.flips:
            side = (self.picture.height, self.picture.width)[AXES[flip]]
            if side % self.strides[-1]:
                raise ValueError(
                    f"flips averages what is said of the same place, but places of stride {self.strides[-1]} do not "
                    f"lie mirrored on each other ({flip}) in a picture of {self.picture.height} x {self.picture.width}."
                    f" Make that side a multiple of {self.strides[-1]}, or leave the flip out"
                )
        return self

    def resolve(self, info: DataInfo) -> Detection:
        """Takes the class names and the number of objects from the data.

        Raises:
            DataError: the data has no boxes, no class, other classes than set, or no object to learn from.
        """
        self.require(info)
        if self.class_names and self.class_names != info.class_names:
            raise DataError(
                f"task.class_names is {list(self.class_names)}, but the data holds {list(info.class_names)}. "
                "Leave task.class_names out to take them from the data, or correct the data."
            )
        known = {"class_names": info.class_names, "class_weights": self.class_weights.resolve(info)}
        return self.model_copy(update={**known, "objects_a_picture": self.objects_a_picture or _mean_objects(info)})

    @property
    def any_size(self) -> bool:
        """Where the detector's is."""
        return self.detector.any_size

    @property
    def size_multiple(self) -> int:
        """The coarsest stride: at other sizes the levels of a neck would not lie on each other."""
        return self.strides[-1]

    @property
    def layout(self) -> Layout:
        """The places of its network."""
        answers = self.detector.answers(len(self.strides))
        return Layout(self.picture.height, self.picture.width, self.strides, answers)

    def encode(self, examples: Example) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Targets: `detections` float32 [B,N,8], see `models.detectors.truth`."""
        from models.detectors.truth import written

        asked = examples[CLASSES] != NO_OBJECT
        for name in (CROWD, DIFFICULT):
            if name in examples:
                asked &= ~examples[name]
        size = tf.shape(examples["image"])[1:3]
        return {"image": examples["image"]}, {DETECTIONS: written(examples[BOXES], examples[CLASSES], asked, size)}

    def conditions(self, examples: Example) -> Example:
        """`brightness` float32 [B,N]: how light it is where each object lies."""
        from pipeline.data.brightness import in_boxes

        return {BRIGHTNESS: in_boxes(examples["image"][..., : self.picture.colours], examples[BOXES])}

    def build(self) -> keras.Model:
        """uint8 `image` -> `classes_S` and `boxes_S` float32 [B,H/S,W/S,..] for each stride S, and what else the
        detector says."""
        from models import heads, necks

        image, pixels = heads.picture_input(self.picture)
        levels = necks.levels_for(self.backbone.features(pixels), self.strides)
        if self.neck is not None:
            levels = self.neck.build(levels)
        by_stride = {stride: levels[f"stride_{stride}"] for stride in self.strides}
        outputs = self.detector.network(self.layout, by_stride, len(self.class_names))
        return keras.Model(image, outputs, name=self.backbone.kind)

    def training_model(self, model: keras.Model) -> keras.Model:
        """The same network with one output, `detections` float32 [B,...]: all that the loss is told."""
        numbers = self.detector.told(self.layout, named_outputs(model))
        output = keras.layers.Activation("linear", dtype="float32", name=DETECTIONS)(numbers)
        return keras.Model(model.inputs, {DETECTIONS: output}, name=model.name)

    def losses(self) -> dict[str, keras.losses.Loss]:
        """The detector's, as a sum over the picture divided by the usual number of objects."""
        from models.detectors.base import Counting
        from models.detectors.loss import DetectionLoss

        weights = self.class_weights.of(self.class_names)
        counting = Counting(self.objects_a_picture or 1.0, weights)
        return {DETECTIONS: DetectionLoss(self.detector, self.layout, len(self.class_names), counting)}

    def distillation_loss(self, student: Tensors, teacher: Tensors, temperature: float) -> tf.Tensor:
        """The divergence of the classes' softened probabilities, and the boxes' squared error where the teacher sees an
        object, summed over the places and divided by the usual number of objects."""
        apart = self.detector.divergence(self.layout, student, teacher, temperature)
        return apart / (self.objects_a_picture or 1.0)

    @property
    def found_from(self) -> float:
        """`threshold`, or what stands in for it until one is chosen."""
        return UNDECIDED if self.threshold is None else self.threshold

    @property
    def output_names(self) -> tuple[str, ...]:
        """The class names."""
        return self.class_names

    def decode(self, outputs: Tensors) -> dict[str, tf.Tensor]:
        """Scores and boxes of all places, then suppression; see the class for what comes out."""
        boxes, scores = self._found_at_places(outputs)
        boxes = tf.clip_by_value(boxes / self.layout.scale(), 0.0, 1.0)
        chosen: dict[str, tf.Tensor] = self.suppression.select(boxes, scores)
        return chosen

    def with_views(self, model: keras.Model) -> keras.Model:
        """The network on the picture and its `flips`: raw outputs [B,V,H/S,W/S,..]."""
        if not self.flips:
            return model
        flips = Flips(self.flips)
        raw = keras.Model(model.inputs, named_outputs(model), name=VIEWS)(flips.shown(model.inputs[0]))
        apart = flips.apart(raw).items()
        outputs = {name: keras.layers.Activation("linear", dtype="float32", name=name)(one) for name, one in apart}
        return keras.Model(model.inputs, outputs, name=model.name)

    def _found_at_places(self, outputs: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
        if not self.flips:
            return self.detector.found(self.layout, outputs)
        flips = Flips(self.flips)
        return flips.averaged(self.layout, *self.detector.found(self.layout, flips.together(outputs)))

    def anchored(self) -> Anchored:
        """`location` and `score` of all places.

        Raises:
            ConfigError: the detector's boxes are not steps from anchors, or it looks at flips as well.
        """
        from models.detectors.base import joined

        if self.flips:
            raise ConfigError(
                "`export.anchored` gives what one view says, but task.flips asks for the mean of several. Leave one of "
                "them out.",
                ("task", "flips"),
            )

        layout = self.layout
        try:
            boxes = self.detector.anchored(layout)
        except ValueError as error:
            raise ConfigError(
                f"`export.anchored` needs a detector with anchors, but {error}. Choose task.detector=retinanet or ssd, "
                "or leave export.anchored out.",
                ("export", "anchored"),
            ) from error

        def decode(outputs: Tensors) -> dict[str, tf.Tensor]:
            raw = joined(layout, outputs)
            return {"location": boxes.steps(raw), "score": boxes.scores(raw)}

        location = "Steps of y and x and logarithms of height and width from each anchor."
        score = "How sure each class is at each anchor, in the labels' order."
        return Anchored(
            decode,
            boxes,
            self.suppression.select,
            {
                "location": Meaning(location, content="boxes"),
                "score": Meaning(score, 0.0, 1.0, threshold=self.found_from),
            },
        )

    def meanings(self) -> dict[str, Meaning]:
        """What the predictions say."""
        last, most = float(max(len(self.class_names) - 1, 0)), float(self.suppression.most)
        return {
            "boxes": Meaning("x_min, y_min, x_max, y_max of each object, as shares of the picture.", 0.0, 1.0, "boxes"),
            "classes": Meaning(
                "The number of each object's class, from 0, in the labels' order.", 0.0, last, "categories"
            ),
            "scores": Meaning("How sure each object is, falling.", 0.0, 1.0, "scores", self.found_from),
            "count": Meaning("How many objects there are; what lies behind is zero.", 0.0, most, "count"),
        }

    def evaluator(self) -> DetectionEvaluator:
        """COCO's and VOC's average precision, precision and recall at the threshold, kinds of errors."""
        from pipeline.metrics.detection import DetectionEvaluator

        return DetectionEvaluator(self.class_names, self.found_from, (self.picture.height, self.picture.width))

    def tuned(self, validation: Evaluator) -> Detection:
        """With the threshold of the best F1 on the validation split, unless one is set."""
        from pipeline.metrics.detection import DetectionEvaluator

        if self.threshold is not None or not isinstance(validation, DetectionEvaluator):
            return self
        return self.model_copy(update={"threshold": validation.best_threshold()})

    def answer(self, prediction: Tensors) -> dict[str, Any]:
        """The objects from the threshold on, the surest first, their boxes in shares of the picture."""
        found = self._found(prediction)
        rows = zip(found[CLASSES].tolist(), found["scores"].tolist(), found[BOXES].tolist(), strict=True)
        return {
            "objects": [
                {"label": self.class_names[number], "score": round(score, 6), "box": [round(side, 6) for side in box]}
                for number, score, box in rows
            ]
        }

    def drawing(self, prediction: Tensors) -> dict[str, np.ndarray]:
        """The same as `boxes`, `classes` and `scores`."""
        return self._found(prediction)

    def placed(self, prediction: Tensors, window: np.ndarray) -> dict[str, np.ndarray]:
        """With boxes as shares of the picture that the window was taken from, clipped to it."""
        low, extent = window[[1, 0]], window[[3, 2]] - window[[1, 0]]
        corners = np.sort(np.asarray(prediction[BOXES]).reshape(-1, 2, 2) * extent + low, axis=1)  # may be mirrored
        boxes = np.clip(corners, 0.0, 1.0).reshape(-1, 4).astype(np.float32)
        there = np.arange(len(boxes)) < prediction["count"]
        return {**prediction, BOXES: np.where(there[:, np.newaxis], boxes, 0.0)}

    def merged(self, parts: Sequence[tuple[Tensors, np.ndarray]]) -> dict[str, np.ndarray]:
        """All answers, each object once; without those that end where a tile does and the picture does not.
        `suppression.most` is for each part: all together may have more."""
        from pipeline.tasks.merging import scores_by_class, uncut

        whole = parts[0][1]
        kept = [self.placed(uncut(prediction, window, whole), window) for prediction, window in parts]
        boxes = np.concatenate([one[BOXES] for one in kept])[np.newaxis]
        scores = np.concatenate([scores_by_class(one, len(self.class_names)) for one in kept])[np.newaxis]
        joining = self.suppression.joining(boxes.shape[1])
        chosen = joining.select(tf.constant(boxes), tf.constant(scores))
        return {name: value.numpy()[0] for name, value in chosen.items()}

    def comparable(self, expected: Tensors, found: Tensors) -> dict[str, np.ndarray]:
        """The answers of `found` in the order of `expected`: two scores that rounding parts may change places."""
        return in_order_of(expected, found)

    def _found(self, prediction: Tensors) -> dict[str, np.ndarray]:
        keep = np.arange(len(prediction["scores"])) < prediction["count"]
        keep &= np.asarray(prediction["scores"]) >= self.found_from
        values = {name: np.asarray(prediction[name])[keep] for name in (BOXES, "scores")}
        return {**values, CLASSES: np.asarray(prediction[CLASSES])[keep].astype(np.int64)}


def _mean_objects(info: DataInfo) -> float:
    objects = sum(info.class_counts.get(TRAIN, ()))
    if not objects:
        raise DataError("The training split holds no object to learn from. Look at `convoy doctor data`.")
    return objects / info.num_examples[TRAIN]
