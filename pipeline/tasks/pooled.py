"""What the tasks that answer for the whole picture share: backbone, pooling, one dense layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from models.settings import Settings

if TYPE_CHECKING:
    import tf_keras as keras

    from models.backbones import Backbone
    from models.preprocess import PictureFormat
    from pipeline.tasks.base import Embedding


class PooledHead(Settings):
    """From the last feature level to the outputs."""

    pooling: Literal["average", "max", "average_max", "gem", "attention"] = "average"
    """How the last feature level becomes one vector: mean, maximum, both side by side, the generalised mean with a
    learned exponent (Radenovic et al. 2018), which favours the strongest responses, or the mean with learned weights
    of the positions."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the pooled features that is dropped at each training step."""
    l2: float = Field(default=0.0, ge=0.0)
    """Factor on the sum of the squared kernel of the last layer, added to the loss; `backbone.regularisation.l2` is the
    backbone's."""

    def build(self, picture: PictureFormat, backbone: Backbone, num_outputs: int, output_name: str) -> keras.Model:
        """uint8 `image` [B,H,W,C] -> float32 `output_name` [B,num_outputs], as a flat functional graph."""
        from models import heads, pooling
        from models.stack import keras

        image, pixels = heads.picture_input(picture)
        levels = backbone.features(pixels)
        pooled = pooling.POOLINGS[self.pooling](list(levels.values())[-1])
        outputs = heads.classifier(pooled, num_outputs, self.dropout, output_name, self.l2)
        return keras.Model(image, {output_name: outputs}, name=backbone.kind)


def pooled_embedding(model: keras.Model, picture: PictureFormat) -> Embedding:
    """What the last layer is given of the part of a frame within an object's box."""
    from models.graphs import features_of
    from models.stack import keras
    from pipeline.data.frames import fitted, part_of
    from pipeline.tasks.base import Embedding

    return Embedding(
        keras.Model(model.inputs, {"embedding": features_of(model)}),
        lambda pixels, box: fitted(part_of(pixels, box), picture),
    )
