"""Optimizers and learning-rate schedules, as settings."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from models.settings import Settings
from models.stack import keras

if TYPE_CHECKING:
    from tf_keras.optimizers.schedules import LearningRateSchedule


class Decay(Settings):
    """How the learning rate falls after the warm-up."""

    @abstractmethod
    def schedule(self, peak: float, steps: int) -> LearningRateSchedule:
        """The schedule of `steps` steps that begins at `peak`."""


class Cosine(Decay):
    """Half a cosine wave down to a final share (Loshchilov and Hutter 2017)."""

    kind: Literal["cosine"] = "cosine"
    """The schedule's name."""
    final: float = Field(default=0.0, ge=0.0, le=1.0)
    """The last learning rate as a share of the peak."""

    def schedule(self, peak: float, steps: int) -> LearningRateSchedule:
        """See Decay."""
        return keras.optimizers.schedules.CosineDecay(peak, steps, alpha=self.final)


class Linear(Decay):
    """A straight line down to a final share."""

    kind: Literal["linear"] = "linear"
    """The schedule's name."""
    final: float = Field(default=0.0, ge=0.0, le=1.0)
    """The last learning rate as a share of the peak."""

    def schedule(self, peak: float, steps: int) -> LearningRateSchedule:
        """See Decay."""
        return keras.optimizers.schedules.PolynomialDecay(peak, steps, end_learning_rate=peak * self.final)


class Step(Decay):
    """Multiplied by a factor at given shares of the phase (He et al. 2016, 3.4)."""

    kind: Literal["step"] = "step"
    """The schedule's name."""
    at: tuple[float, ...] = (0.5, 0.75)
    """Where the learning rate changes, as shares of the phase's steps, ascending."""
    factor: float = Field(default=0.1, gt=0.0, lt=1.0)
    """What it is multiplied by at each of them."""

    def schedule(self, peak: float, steps: int) -> LearningRateSchedule:
        """See Decay."""
        boundaries = [float(round(share * steps)) for share in self.at]
        values = [peak * self.factor**index for index in range(len(self.at) + 1)]
        return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)


class Constant(Decay):
    """The peak, all the way."""

    kind: Literal["constant"] = "constant"
    """The schedule's name."""

    def schedule(self, peak: float, steps: int) -> LearningRateSchedule:
        """See Decay."""
        return keras.optimizers.schedules.PiecewiseConstantDecay([float(steps)], [peak, peak])


AnyDecay = Annotated[Cosine | Linear | Step | Constant, Field(discriminator="kind")]


class Schedule(Settings):
    """The learning rate over a phase: a linear warm-up, then a decay."""

    warmup_epochs: float = Field(default=0.0, ge=0.0)
    """Length of the linear rise from zero, in epochs."""
    decay: AnyDecay = Cosine()
    """How the learning rate falls after the warm-up."""

    def build(self, peak: float, steps: int, steps_per_epoch: int) -> LearningRateSchedule:
        """The Keras schedule of a phase of `steps` steps, the warm-up included."""
        from models.schedules import WarmUp

        warmup = min(round(self.warmup_epochs * steps_per_epoch), steps - 1)
        return WarmUp(peak, warmup, self.decay.schedule(peak, max(steps - warmup, 1)))


class Optimizer(Settings):
    """Turns gradients into steps. Weight decay is decoupled (Loshchilov and Hutter 2019), not for biases and norms."""

    learning_rate: float = Field(default=0.001, gt=0.0)
    """Peak learning rate, at the given global batch size."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Share of each weight that is taken off at each step, times the learning rate."""
    clip_norm: float | None = Field(default=None, gt=0.0)
    """Largest global norm of the gradients; longer ones are scaled down (Pascanu et al. 2013)."""

    @abstractmethod
    def create(self, **shared: Any) -> keras.optimizers.Optimizer:
        """The Keras optimizer with its own settings and the shared ones."""

    def build(self, learning_rate: LearningRateSchedule | float, model: keras.Model) -> keras.optimizers.Optimizer:
        """The Keras optimizer of a model; call it inside the strategy's scope."""
        optimizer = self.create(
            learning_rate=learning_rate,
            weight_decay=self.weight_decay or None,
            global_clipnorm=self.clip_norm,
            jit_compile=False,  # XLA on CPU takes minutes to compile and is then slower
        )
        if self.weight_decay:
            optimizer.exclude_from_weight_decay([v for v in model.trainable_variables if len(v.shape) <= 1])
        return optimizer


class Sgd(Optimizer):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    """The optimizer's name."""
    learning_rate: float = Field(default=0.1, gt=0.0)
    """Peak learning rate, at the given global batch size."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Share of the last step that is kept."""
    nesterov: bool = True
    """Whether the gradient counts as taken at the look-ahead point (Nesterov 1983)."""

    def create(self, **shared: Any) -> keras.optimizers.Optimizer:
        """See Optimizer."""
        return keras.optimizers.SGD(momentum=self.momentum, nesterov=self.nesterov, **shared)


class AdaptiveMoments(Optimizer):
    """Steps scaled by running means of the gradients and of their squares."""

    beta_1: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Decay of the running mean of the gradients."""
    beta_2: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Decay of the running mean of their squares."""

    def create(self, **shared: Any) -> keras.optimizers.Optimizer:
        """See Optimizer."""
        return keras.optimizers.Adam(beta_1=self.beta_1, beta_2=self.beta_2, **shared)


class Adam(AdaptiveMoments):
    """Adam (Kingma and Ba 2015)."""

    kind: Literal["adam"] = "adam"
    """The optimizer's name."""


class AdamW(AdaptiveMoments):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    """The optimizer's name."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    """Share of each weight that is taken off at each step, times the learning rate."""


AnyOptimizer = Annotated[Sgd | Adam | AdamW, Field(discriminator="kind")]
