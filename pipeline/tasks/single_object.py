"""One object that is shown once and then found again: what a Siamese tracker learns from pairs of crops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from models.backbones import Backbone, SmallResNet
from models.preprocess import PictureFormat
from models.siamese.network import EDGES, SCORES, SEARCH, TEMPLATE, Siamese
from models.stack import keras, tf
from pipeline.data.example import BOXES, CLASSES, IMAGE, NO_OBJECT, TRACKS, DataInfo, Example
from pipeline.errors import ConfigError, DataError
from pipeline.metrics.single_object import PAIR
from pipeline.tasks.base import Embedding, Meaning, Metric, Task, Tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.augment.base import Augmentation
    from pipeline.metrics.single_object import SingleObjectEvaluator

COLOURS = 3
UNDECIDED = 0.5
"""Score from which on the object counts as found until a threshold is chosen."""


class SingleObjectTracking(Task):
    """Where in a search crop is what the template shows. Pictures are pairs: the search crop above the template crop,
    both squares of one size, as the source `template_pairs` cuts them. Predictions, float32, P = places of the search
    crop: `scores` [B,P] 0..1, how sure each place is that the object's middle is there, and `boxes` [B,P,4] x_min,
    y_min, x_max, y_max as shares of the search crop, beyond which they may reach."""

    kind: Literal["single_object_tracking"] = "single_object_tracking"
    """The task's name."""
    picture: PictureFormat = PictureFormat(height=240, width=120)
    """The pair: twice as high as wide; a crop has an odd number of places of `network.stride` a row."""
    backbone: Backbone = Field(
        default_factory=lambda: SmallResNet(depth=8, widths=(16, 32, 64), stem_stride=2), discriminator="kind"
    )
    """The network that sees both crops."""
    network: Siamese = Siamese()
    """What joins them."""
    threshold: float | None = Field(default=None, ge=0.0, le=1.0)
    """Score below which the object counts as hidden or gone. Left out, the one that tells best on the validation split
    whether the object is there, chosen by `evaluate` after training; 0.5 where that is the split judged on. A number
    set here stays."""

    label_field: ClassVar[str] = TRACKS
    class_names: ClassVar[tuple[str, ...]] = ("object",)
    """Whatever is followed: what its data calls every object."""
    metric: ClassVar[Metric] = Metric("mean_iou", "max")
    part_names: ClassVar[tuple[str, ...]] = (TEMPLATE, SEARCH)

    @model_validator(mode="after")
    def _pair_of_squares(self) -> SingleObjectTracking:
        if self.picture.height != 2 * self.picture.width:
            raise ValueError(
                f"expected a picture of two squares, one above the other, such as height={2 * self.picture.width} "
                f"width={self.picture.width}, got {self.picture.height} x {self.picture.width}"
            )
        if self.picture.channels != COLOURS:
            raise ValueError(f"expected pairs in colour, channels={COLOURS}, got channels={self.picture.channels}")
        self.network.cells(self.side)
        return self

    @property
    def side(self) -> int:
        """S: of each crop, in pixels."""
        return self.picture.width

    @property
    def found_from(self) -> float:
        """`threshold`, or what stands in for it until one is chosen."""
        return UNDECIDED if self.threshold is None else self.threshold

    def resolve(self, info: DataInfo) -> SingleObjectTracking:
        """Nothing is taken from the data.

        Raises:
            DataError: the data has no tracks, pictures with more than one object, or classes of objects.
        """
        self.require(info)
        if info.max_objects > 1 or info.class_names != self.class_names:
            raise DataError(
                f"The task {self.name!r} learns from pairs with one object at most, of the class "
                f"{self.class_names[0]!r}, but there are pictures with {info.max_objects}, of "
                f"{', '.join(info.class_names)}. Wrap the source: "
                "data.source.kind=template_pairs, data.source.sources=[...]"
            )
        return self

    def encode(self, examples: Example) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        """Targets: for both outputs float32 [B,5], see `models.siamese.loss`."""
        there = tf.cast(examples[CLASSES][:, :1] != NO_OBJECT, tf.float32)
        target = tf.concat([examples[BOXES][:, 0] * PAIR, there], axis=-1)
        return {IMAGE: examples[IMAGE]}, {SCORES: target, EDGES: target}

    def build(self) -> keras.Model:
        """uint8 `image` [B,2S,S,C] -> `place_scores` [B,h,w,1], `place_edges` [B,h,w,4]."""
        return self.network.pair_network(self.picture, self.backbone)

    def losses(self) -> dict[str, keras.losses.Loss]:
        """Cross-entropy of the scores, GIoU of the boxes."""
        from models.siamese.loss import EdgeLoss, ScoreLoss

        return {SCORES: ScoreLoss(self.network, self.side), EDGES: EdgeLoss(self.network, self.side)}

    def parts(self, model: keras.Model) -> dict[str, keras.Model]:
        """`template`: `image` [B,S,S,C] -> `template` float32 [B,k,k,F]; `search`: `image` and `template` -> the raw
        outputs. So a tracker computes once what the object looks like."""
        from models.siamese.network import parts

        return parts(model)

    def embedding(self, model: keras.Model) -> Embedding:
        """The template's features of the usual window around an object, the middle counting most."""
        from models.siamese.network import weighted_by_middle
        from pipeline.data.search_windows import Window

        template = self.parts(model)[TEMPLATE]
        looks = weighted_by_middle(template.outputs[0])
        return Embedding(
            keras.Model(template.inputs, {"embedding": looks}),
            lambda pixels, box: Window.around(box).cut(pixels, self.side),
        )

    def part_pictures(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """The halves of pairs [B,2S,S,C], [B,S,S,C] each."""
        return {TEMPLATE: pictures[:, self.side :], SEARCH: pictures[:, : self.side]}

    def require_suited(self, operations: Sequence[Augmentation]) -> None:
        """Raises ConfigError where one would move a half, or a part of it, into the other, or mix pairs."""
        from pipeline.augment.suiting import suited

        for place, operation in enumerate(suited(operations, (BOXES,))):
            if not operation.keeps_halves:
                raise ConfigError(
                    f"`augment.{place}` ({operation.model_dump()['kind']}) moves or mixes what it sees, but the task "
                    f"{self.name!r} learns from pairs in one picture, the search crop above the template crop, which "
                    "that would tear apart. Leave it out, or use horizontal_flip and what changes colours, light, "
                    "sharpness and noise. Places and sizes vary by `shift` and `scale` of the source template_pairs.",
                    ("augment", place),
                )

    def decode(self, outputs: Tensors) -> dict[str, tf.Tensor]:
        """The numbers of all places; which of them is believed is the tracker's to say, which knows the past."""
        return {
            "scores": self.network.scores(self.side, outputs[SCORES]),
            BOXES: self.network.boxes(self.side, outputs[EDGES]),
        }

    def meanings(self) -> dict[str, Meaning]:
        """What the predictions say."""
        return {
            "scores": Meaning("How sure each place of the search crop is that the object is there.", 0.0, 1.0),
            BOXES: Meaning("x_min, y_min, x_max, y_max by each place, as shares of the search crop.", None, None),
        }

    def evaluator(self) -> SingleObjectEvaluator:
        """Overlap of the surest place's box, and how far the score tells whether the object is there."""
        from pipeline.metrics.single_object import SingleObjectEvaluator

        return SingleObjectEvaluator(self.found_from)

    def tuned(self, validation: Any) -> SingleObjectTracking:
        """With the threshold that tells best on the validation split whether the object is there, unless one is set."""
        if self.threshold is not None:
            return self
        return self.model_copy(update={"threshold": validation.best_threshold()})

    def answer(self, prediction: Tensors) -> dict[str, Any]:
        """The surest place's box in shares of the search crop, its score, and whether that is enough."""
        box, score = surest(prediction)
        return {"found": score >= self.found_from, "score": round(score, 6), "box": [round(one, 6) for one in box]}

    def drawing(self, prediction: Tensors) -> dict[str, np.ndarray]:
        """The box as shares of the pair, where the object was found."""
        box, score = surest(prediction)
        found = np.array([np.clip(box, 0.0, 1.0) / PAIR] if score >= self.found_from else [], np.float32).reshape(-1, 4)
        return {
            BOXES: found,
            CLASSES: np.zeros(len(found), np.int64),
            "scores": np.full(len(found), score, np.float32),
        }


def surest(prediction: Tensors) -> tuple[list[float], float]:
    """The box of the place with the highest score, and that score, of one prediction."""
    place = int(np.argmax(prediction["scores"]))
    return np.asarray(prediction[BOXES])[place].tolist(), float(prediction["scores"][place])
