"""What the examples of each class count in the loss: the answer to classes of unequal size, at the loss.

`resolve` turns any of them into weights by name, from the training split's counts, which are then stored with the task.
They are scaled so that the mean over the training labels is 1, and the learning rate keeps its meaning.

K = classes.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from models.settings import Settings, names_as_text
from pipeline.data.example import TRAIN, DataInfo
from pipeline.errors import DataError, nearest


class ClassWeights(Settings):
    """How the weights come about."""

    @abstractmethod
    def proportions(self, class_names: tuple[str, ...], counts: np.ndarray) -> np.ndarray:
        """Weights in proportion, float64 [K], from how many training examples show each class, [K].

        Raises:
            DataError: a class is named that the data does not hold.
        """

    def resolve(self, info: DataInfo) -> ClassWeights:
        """The weights by name, with the mean 1 over the labels of the training split.

        Raises:
            DataError: a class is named that the data does not hold, or all that it holds have weight 0.
        """
        counts = np.array(info.class_counts[TRAIN], np.float64)
        weights = self.proportions(info.class_names, counts)
        mean = np.dot(weights, counts) / counts.sum()
        if not mean > 0:
            raise DataError("task.class_weights gives every class of the training split weight 0. Raise one of them.")
        return Given(weights=dict(zip(info.class_names, (weights / mean).tolist(), strict=True)))

    def of(self, class_names: tuple[str, ...]) -> tuple[float, ...]:
        """The weights in the order of the classes, as losses take them; empty where all count the same."""
        return ()


class Unweighted(ClassWeights):
    """All count the same."""

    kind: Literal["none"] = "none"
    """No weights."""

    def proportions(self, class_names: tuple[str, ...], counts: np.ndarray) -> np.ndarray:
        return np.ones(len(counts))

    def resolve(self, info: DataInfo) -> ClassWeights:
        return self


class InverseFrequency(ClassWeights):
    """Each class as a whole counts the same: n / (K times its examples)."""

    kind: Literal["balanced"] = "balanced"
    """As scikit-learn's `balanced`."""

    def proportions(self, class_names: tuple[str, ...], counts: np.ndarray) -> np.ndarray:
        return np.where(counts > 0, counts.sum() / (len(counts) * np.maximum(counts, 1.0)), 1.0)


class EffectiveNumber(ClassWeights):
    """By the effective number of examples, (1 - beta^count) / (1 - beta): milder than `balanced` where a class has many
    (Cui et al. 2019, "Class-balanced loss based on effective number of samples", equation 2)."""

    kind: Literal["effective_number"] = "effective_number"
    """Class-balanced loss."""
    beta: float = Field(default=0.999, ge=0.0, lt=1.0)
    """0 gives no weights, and the nearer to 1, the nearer it is to `balanced`; 1 / (1 - beta) is about the number of
    examples from which on more of them add little."""

    def proportions(self, class_names: tuple[str, ...], counts: np.ndarray) -> np.ndarray:
        effective = (1.0 - self.beta ** np.maximum(counts, 1.0)) / (1.0 - self.beta)
        return np.where(counts > 0, 1.0 / effective, 1.0)


class Given(ClassWeights):
    """Weights by class name."""

    kind: Literal["given"] = "given"
    """Chosen by hand, or already worked out."""
    weights: Annotated[dict[str, Annotated[float, Field(ge=0.0)]], BeforeValidator(names_as_text)] = Field(min_length=1)
    """Class name with what it counts in proportion to the others; a class that is not named has 1 before all are
    scaled."""

    def proportions(self, class_names: tuple[str, ...], counts: np.ndarray) -> np.ndarray:
        for name in self.weights:
            if name not in class_names:
                raise DataError(f"task.class_weights: the data holds no class {name!r}. {nearest(name, class_names)}")
        return np.array([self.weights.get(name, 1.0) for name in class_names])

    def of(self, class_names: tuple[str, ...]) -> tuple[float, ...]:
        """The weights in the order of the classes."""
        return tuple(self.weights.get(name, 1.0) for name in class_names)


AnyClassWeights = Annotated[Unweighted | InverseFrequency | EffectiveNumber | Given, Field(discriminator="kind")]
