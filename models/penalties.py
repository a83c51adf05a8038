"""What wrong answers cost: the choices for a task's loss, some of them for data of which part is labelled wrongly.

Settings, importable without TensorFlow; `models.losses` makes Keras losses of them.

K = outcomes that exclude each other: the classes of a picture, or that it shows a class and that it does not.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import Field

from models.settings import Settings
from models.stack import tf

Tensor = Any


class ClassPenalty(Settings):
    """The base of what answers about outcomes cost."""

    @abstractmethod
    def costs(self, shares: Tensor, logarithms: Tensor) -> Tensor:
        """Shares of the true outcomes [..., K] against the logarithms of the probabilities given to them, float32
        [..., K] -> [...]. Shares sum to 1, or to 0 where nothing is known, which costs 0."""


class CrossEntropy(ClassPenalty):
    """The logarithm of the probability of what is true: the best where labels are right."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    """Cross-entropy."""

    def costs(self, shares: Tensor, logarithms: Tensor) -> Tensor:
        """See the base."""
        return -tf.reduce_sum(shares * logarithms, axis=-1)


class GeneralizedCrossEntropy(ClassPenalty):
    """(1 - p^q) / q (Zhang and Sabuncu 2018, equation 6): between cross-entropy, q towards 0, and the absolute error,
    q = 1, which wrong labels disturb least but which learns slowly. Gradients of examples that the network finds
    unlikely are damped by p^q."""

    kind: Literal["generalized_cross_entropy"] = "generalized_cross_entropy"
    """Between cross-entropy and the absolute error."""
    q: float = Field(default=0.7, gt=0.0, le=1.0)
    """0.7 in the paper; smaller where there are many classes."""

    def costs(self, shares: Tensor, logarithms: Tensor) -> Tensor:
        """See the base."""
        return tf.reduce_sum(shares * -tf.math.expm1(self.q * logarithms), axis=-1) / self.q


class SymmetricCrossEntropy(ClassPenalty):
    """Cross-entropy and its reverse, in which answers and labels change places (Wang et al. 2019, equation 7).

    The logarithm of a share of 0 counts as `floor`.
    """

    kind: Literal["symmetric_cross_entropy"] = "symmetric_cross_entropy"
    """Cross-entropy and its reverse."""
    alpha: float = Field(default=0.1, ge=0.0)
    """Factor on cross-entropy, which learns fast; 0.1 in the paper for ten classes, 6 for a hundred."""
    beta: float = Field(default=1.0, gt=0.0)
    """Factor on reverse cross-entropy, which bears wrong labels."""
    floor: float = Field(default=-4.0, lt=0.0)
    """The paper's A."""

    def costs(self, shares: Tensor, logarithms: Tensor) -> Tensor:
        """See the base."""
        known = tf.reduce_sum(shares, axis=-1)
        of_shares = tf.math.log(tf.maximum(shares, math.exp(self.floor)))
        reverse = -tf.reduce_sum(tf.exp(logarithms) * of_shares, axis=-1)
        return self.alpha * CrossEntropy().costs(shares, logarithms) + self.beta * known * reverse


class SoftBootstrapping(ClassPenalty):
    """Cross-entropy with labels that are mixed with the network's own answers (Reed et al. 2015, equation 6)."""

    kind: Literal["soft_bootstrapping"] = "soft_bootstrapping"
    """Labels mixed with the network's probabilities."""
    beta: float = Field(default=0.95, gt=0.0, le=1.0)
    """The labels' share; 0.95 in the paper."""

    def costs(self, shares: Tensor, logarithms: Tensor) -> Tensor:
        """See the base."""
        return _with_own(self.beta, shares, tf.exp(logarithms), logarithms)


class HardBootstrapping(ClassPenalty):
    """Cross-entropy with labels that are mixed with the network's first choice (Reed et al. 2015, equation 7)."""

    kind: Literal["hard_bootstrapping"] = "hard_bootstrapping"
    """Labels mixed with the network's first choice."""
    beta: float = Field(default=0.8, gt=0.0, le=1.0)
    """The labels' share; 0.8 in the paper."""

    def costs(self, shares: Tensor, logarithms: Tensor) -> Tensor:
        """See the base."""
        chosen = tf.one_hot(tf.argmax(logarithms, axis=-1), tf.shape(logarithms)[-1])
        return _with_own(self.beta, shares, chosen, logarithms)


def _with_own(beta: float, shares: Tensor, answered: Tensor, logarithms: Tensor) -> Tensor:
    """Cross-entropy against `beta` of the labels and the rest of the answers; 0 where nothing is known."""
    known = tf.reduce_sum(shares, axis=-1, keepdims=True)
    return CrossEntropy().costs(beta * shares + (1.0 - beta) * known * answered, logarithms)


class NumberPenalty(Settings):
    """The base of what errors of numbers cost."""

    @abstractmethod
    def costs(self, errors: Tensor) -> Tensor:
        """Errors, float32 of any shape -> the same shape."""


class Huber(NumberPenalty):
    """Squared for small errors, linear for large ones, so that outliers do not lead (Huber 1964)."""

    kind: Literal["huber"] = "huber"
    """Squared near zero, linear beyond."""
    delta: float = Field(default=1.0, gt=0.0)
    """The error from which on the loss grows linearly; for regression in standard deviations of the target."""

    def costs(self, errors: Tensor) -> Tensor:
        """See the base."""
        size = tf.abs(errors)
        return tf.where(size <= self.delta, 0.5 * tf.square(errors), self.delta * (size - 0.5 * self.delta))


class LogCosh(NumberPenalty):
    """log cosh e: as Huber's with 1, without its kink in the second derivative."""

    kind: Literal["log_cosh"] = "log_cosh"
    """A smooth Huber loss."""

    def costs(self, errors: Tensor) -> Tensor:
        """See the base."""
        size = tf.abs(errors)
        return size + tf.math.softplus(-2.0 * size) - math.log(2.0)


class Absolute(NumberPenalty):
    """The size of the error: learns the median, which outliers hardly move."""

    kind: Literal["absolute"] = "absolute"
    """The absolute error."""

    def costs(self, errors: Tensor) -> Tensor:
        """See the base."""
        return tf.abs(errors)


class Squared(NumberPenalty):
    """The squared error: learns the mean, and outliers lead."""

    kind: Literal["squared"] = "squared"
    """The squared error."""

    def costs(self, errors: Tensor) -> Tensor:
        """See the base."""
        return tf.square(errors)


AnyClassPenalty = Annotated[
    CrossEntropy | GeneralizedCrossEntropy | SymmetricCrossEntropy | SoftBootstrapping | HardBootstrapping,
    Field(discriminator="kind"),
]
AnyNumberPenalty = Annotated[Huber | LogCosh | Absolute | Squared, Field(discriminator="kind")]

CLASS_PENALTIES: dict[str, type[ClassPenalty]] = {
    "cross_entropy": CrossEntropy,
    "generalized_cross_entropy": GeneralizedCrossEntropy,
    "symmetric_cross_entropy": SymmetricCrossEntropy,
    "soft_bootstrapping": SoftBootstrapping,
    "hard_bootstrapping": HardBootstrapping,
}
NUMBER_PENALTIES: dict[str, type[NumberPenalty]] = {
    "huber": Huber,
    "log_cosh": LogCosh,
    "absolute": Absolute,
    "squared": Squared,
}
