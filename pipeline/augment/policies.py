"""Policies: each example gets operations that are drawn from a list (see policy.py for how a batch is worked on).

B = batch, S = slots of a sequence, K = operations of the list.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from models.stack import tf
from pipeline.augment.base import Chain, PictureShape, Transform, between
from pipeline.augment.engines import Engine
from pipeline.augment.mixing import QUANTILES, beta
from pipeline.augment.plan import fuse
from pipeline.augment.policy import MOVES, Names, Policy, Strengths
from pipeline.augment.ranges import whole, within
from pipeline.augment.warp import Relocation
from pipeline.data.example import IMAGE, MARKED, Example
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import tensorflow as tf

MOST_OPERATIONS = 8


class RandAugment(Policy):
    """Some operations drawn for each example, all with the same strength.

    Source: Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space", 2020, with
        the ranges of Cubuk et al., "AutoAugment", 2018, table 6, at magnitude 10. Solarize and posterize grow stronger
        with the magnitude, and factors of colour and sharpness go either way, as in torchvision.
    """

    kind: Literal["rand_augment"] = "rand_augment"
    """Some operations drawn for each example, all with the same strength."""
    num_operations: int = Field(default=2, ge=1, le=MOST_OPERATIONS)
    """Operations that an example gets, the paper's N."""
    magnitude: float = Field(default=9.0, ge=0.0, le=30.0)
    """Strength of all operations, the paper's M: 10 stands for the ranges of AutoAugment, 30 for three times that."""
    num_draws: ClassVar[int] = 1 + 2 * MOST_OPERATIONS

    strengths: ClassVar[Strengths] = Strengths(
        limits={
            "rotation": 30.0,
            "shear_x": 0.3,
            "shear_y": 0.3,
            "translation_x": 150 / 331,
            "translation_y": 150 / 331,
            "saturation": 0.9,
            "contrast": 0.9,
            "brightness": 0.9,
            "sharpness": 0.9,
            "solarize": 256.0,
            "posterize": 4.0,
        },
        first={},
    )

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Chain:
        each = tf.reshape(draws[:, 1 : 1 + 2 * self.num_operations], [-1, self.num_operations, 2])
        level = tf.fill(tf.shape(each)[:2], self.magnitude / 10.0)
        amounts = self.drawn(each, level, self.strengths)
        return Chain(self.sequence(amounts * self.applies(draws)[:, tf.newaxis, tf.newaxis], shape))


class TrivialAugment(Policy):
    """One operation drawn for each example, with a strength that is drawn too, from nothing to very strong.

    Source: Mueller and Hutter, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", 2021, section 3
        and the wide ranges of its table of augmentation spaces; 31 strengths.
    """

    kind: Literal["trivial_augment"] = "trivial_augment"
    """One operation drawn for each example, with a strength that is drawn too; nothing to be tuned."""
    num_draws: ClassVar[int] = 4

    pixels: ClassVar[float] = 32.0
    """The longest shift."""
    limits: ClassVar[dict[str, float]] = {
        "rotation": 135.0,
        "shear_x": 0.99,
        "shear_y": 0.99,
        "saturation": 0.99,
        "contrast": 0.99,
        "brightness": 0.99,
        "sharpness": 0.99,
        "solarize": 256.0,
        "posterize": 6.0,
    }

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Chain:
        level = tf.floor(draws[:, 1, tf.newaxis] * 31.0) / 30.0
        shifts = {"translation_x": self.pixels / shape.width, "translation_y": self.pixels / shape.height}
        amounts = self.drawn(draws[:, tf.newaxis, 2:4], level, Strengths(self.limits | shifts, {}))
        return Chain(self.sequence(amounts * self.applies(draws)[:, tf.newaxis, tf.newaxis], shape))


MOVED_APART = "the data marks places in its pictures, and parts that move apart would leave marks without a place"
MOST_CHAINS = 6
LONGEST_CHAIN = 4


class AugMix(Policy):
    """The picture mixed with several chains of weak operations on itself.

    The picture itself is one part of the mixture, and each chain another: what is marked in the picture would be in
    several places at once. For examples with boxes, key points or masks the moves (rotation, shear, translation) are
    therefore left out of `operations`, and chains drawn from the others. The paper's consistency loss is a matter of
    training and not part of this.
    Source: Hendrycks et al., "AugMix: a simple data processing method to improve robustness and uncertainty", 2020,
        algorithm 1, with the ranges of the authors' code.
    """

    kind: Literal["augmix"] = "augmix"
    """The picture mixed with several chains of weak operations on itself."""
    operations: Names = (
        "autocontrast",
        "equalize",
        "posterize",
        "rotation",
        "solarize",
        "shear_x",
        "shear_y",
        "translation_x",
        "translation_y",
    )
    """What chains are drawn from, each with equal chances."""
    severity: float = Field(default=3.0, ge=0.1, le=10.0)
    """Strengths are drawn from 0.1 to this; 10 stands for the ranges of AutoAugment."""
    width: int = Field(default=3, ge=1, le=MOST_CHAINS)
    """Chains."""
    depth: Annotated[tuple[int, int], within(1, LONGEST_CHAIN)] = (1, 3)
    """Fewest and most operations of a chain, drawn uniformly."""
    alpha: float = Field(default=1.0, ge=0.05, le=100.0)
    """The chains' shares are drawn from a Dirichlet distribution, and the share of all chains together from a beta
    distribution, with this parameter: the smaller, the less even."""
    num_draws: ClassVar[int] = 2 + MOST_CHAINS * (2 + 3 * LONGEST_CHAIN)

    strengths: ClassVar[Strengths] = Strengths(
        limits=RandAugment.strengths.limits | {"translation_x": 1 / 3, "translation_y": 1 / 3},
        first={"posterize": 3.5},  # four bits, and what is above that cut off instead of rounded
    )

    def suited(self, fields: Collection[str]) -> Self:
        """Without the moves, where anything is marked in the pictures.

        Raises:
            ConfigError: it has nothing but moves.
        """
        still = tuple(name for name in self.operations if name not in MOVES)
        if still == self.operations or not any(name in fields for name in MARKED):
            return self
        if not any(name != "identity" for name in still):
            raise ConfigError(
                f"augmix has only operations that move pixels ({', '.join(self.operations)}), but {MOVED_APART}. Give "
                "it others, such as autocontrast, equalize, posterize and solarize, or use rand_augment, whose moves "
                "take boxes and masks along."
            )
        return self.model_copy(update={"operations": still})

    def transform(self, draws: tf.Tensor, shape: PictureShape) -> Mixture:
        most = self.depth[1]
        chains = tf.reshape(draws[:, 2 : 2 + self.width * (2 + 3 * most)], [-1, self.width, 2 + 3 * most])
        depth = whole(chains[..., 1], self.depth) * self.applies(draws)[:, tf.newaxis]
        used = tf.cast(np.arange(most, dtype=np.float32) < depth[..., tf.newaxis], tf.float32)
        each = tf.reshape(chains[..., 2:], [-1, self.width, most, 3])
        level = between(each[..., 2], 0.1, self.severity) / 10.0
        amounts = self.drawn(each, level, self.strengths) * used[..., tf.newaxis]
        sequences = [self.sequence(amounts[:, number], shape) for number in range(self.width)]
        mixed = beta(draws[:, 1], self.alpha) * self.applies(draws)
        shares = mixed[:, tf.newaxis] * dirichlet(chains[..., 0], self.alpha)
        return Mixture(sequences, tf.concat([1.0 - mixed[:, tf.newaxis], shares], axis=1))


class Mixture(Transform):
    """The weighted mean of pictures and of what sequences of transforms make of them; nothing but pictures changes.

    Args:
        sequences: each works on the picture itself.
        weights: float32 [B, 1 + sequences]: of the picture, then of each sequence; they sum to 1.
    """

    def __init__(self, sequences: Sequence[Sequence[Transform]], weights: tf.Tensor):
        self.sequences = [fuse(sequence) for sequence in sequences]
        self.weights = weights

    def __call__(self, examples: Example, engine: Engine) -> Example:
        self._require_still(examples)
        made = [{IMAGE: examples[IMAGE]} for _ in self.sequences]
        for number, sequence in enumerate(self.sequences):
            for transform in sequence:
                made[number] = transform(made[number], engine)
        pictures = [each[IMAGE] for each in made]
        return {**examples, IMAGE: engine.blend([examples[IMAGE], *pictures], self.weights)}

    def _require_still(self, examples: Example) -> None:
        """Raises ConfigError where the picture would be moved, but not what is marked in it."""
        moves = any(isinstance(step, Relocation) for sequence in self.sequences for step in sequence)
        if moves and any(name in examples for name in MARKED):
            raise ConfigError(f"A mixture cannot move pictures here, since {MOVED_APART}.")

    def describe(self) -> str:
        chains = "; ".join(Chain(sequence).describe() for sequence in self.sequences)
        return f"a mixture of the picture and {len(self.sequences)} chains ({chains})"


def dirichlet(draws: tf.Tensor, alpha: float) -> tf.Tensor:
    """Uniform numbers in [0, 1) [B,n] -> shares that sum to 1, of the Dirichlet distribution with all parameters alpha.

    They are draws of the gamma distribution, by its quantiles, over their sum.
    """
    from scipy import stats

    quantiles = np.append(np.arange(QUANTILES) / QUANTILES, 1.0 - 0.25 / QUANTILES)
    table = tf.constant(stats.gamma.ppf(quantiles, alpha), tf.float32)
    place = draws * QUANTILES
    first = tf.cast(place, tf.int32)
    low, high = tf.gather(table, first), tf.gather(table, first + 1)
    sizes = tf.maximum(low + (high - low) * (place - tf.cast(first, tf.float32)), 1e-12)
    return sizes / tf.reduce_sum(sizes, axis=-1, keepdims=True)
