"""What tracked objects look like: a description of each box that stays the same from frame to frame.

n = boxes, E = length of a description, P = points that a box is looked at.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import Field

from models.settings import Settings
from pipeline.locations import Location, location

SHADES = 8
"""Of each colour that a histogram tells apart."""
POINTS = 24
"""A box is looked at in so many rows and columns of points."""


class Describer(Protocol):
    """Describes boxes of a frame.

    Attributes:
        length: E; 0 where nothing is described.
    """

    length: int

    def __call__(self, pixels: np.ndarray | None, boxes: np.ndarray) -> np.ndarray:
        """uint8 [h,w,3] and corners [n,4] in pixels -> float64 [n,E], each of length 1."""


class Appearance(Settings):
    """What of an object's looks is compared."""

    @abstractmethod
    def describer(self) -> Describer:
        """What describes boxes."""

    @property
    def most(self) -> float:
        """The cosine distance up to which two descriptions may be of one object."""
        return 0.0


class NoAppearance(Appearance):
    """Objects are known by their places alone."""

    kind: Literal["none"] = "none"
    """Objects are known by their places alone."""

    def describer(self) -> Describer:
        return Nothing()


class Colours(Appearance):
    """Objects are also known by their colours: a histogram in which the middle of the box counts most."""

    kind: Literal["colours"] = "colours"
    """Objects are also known by their colours: a histogram in which the middle of the box counts most."""
    max_distance: float = Field(default=0.15, gt=0, le=1)
    """How far two objects' histograms may be apart to be one: 1 minus their Bhattacharyya coefficient."""

    def describer(self) -> Describer:
        return Histograms()

    @property
    def most(self) -> float:
        return self.max_distance


class NetworkFeatures(Appearance):
    """Objects are also known by what a trained network sees in them."""

    kind: Literal["network"] = "network"
    """Objects are also known by what a trained network sees in them."""
    run: Location
    """The Run whose network looks at each box: a Siamese network's (single_object_tracking), or of a task that answers
    for what it sees as a whole, such as a classification of the objects."""
    max_distance: float = Field(default=0.25, gt=0, le=2)
    """How far two objects' features may be apart to be one: 1 minus their cosine."""

    def describer(self) -> Describer:
        return Features(location(self.run))

    @property
    def most(self) -> float:
        return self.max_distance


AnyAppearance = Annotated[NoAppearance | Colours | NetworkFeatures, Field(discriminator="kind")]


class Nothing:
    """No description at all."""

    length = 0

    def __call__(self, pixels: np.ndarray | None, boxes: np.ndarray) -> np.ndarray:
        """[n,0]."""
        return np.zeros((len(boxes), 0))


class Histograms:
    """Colour histograms whose scalar product is their Bhattacharyya coefficient: D. Comaniciu, V. Ramesh, P. Meer,
    "Kernel-based object tracking", 2003, section 3, with its Epanechnikov kernel."""

    length = SHADES**3

    def __init__(self) -> None:
        across = (np.arange(POINTS) + 0.5) / POINTS  # of the box
        squares = (2 * across - 1) ** 2
        kernel = np.maximum(1.0 - squares[:, None] - squares[None, :], 0.0)
        self._across, self._kernel = across, (kernel / kernel.sum()).ravel()  # [P]

    def __call__(self, pixels: np.ndarray | None, boxes: np.ndarray) -> np.ndarray:
        """Square roots of the shares of colours."""
        if pixels is None:
            raise ValueError("Colours are compared, but no frame was given; pass its pixels.")
        seen = _points(pixels, boxes, self._across).reshape(-1, POINTS**2, 3) // (256 // SHADES)
        colours = (seen[..., 0].astype(np.int64) * SHADES + seen[..., 1]) * SHADES + seen[..., 2]  # [n,P]
        bins = (colours + np.arange(len(boxes))[:, None] * self.length).ravel()
        weights = np.tile(self._kernel, len(boxes))
        return np.sqrt(np.bincount(bins, weights, minlength=len(boxes) * self.length)).reshape(-1, self.length)


class Features:
    """What a trained network knows of how each box looks: see `Task.embedding`.

    Args:
        run: of the network.

    Raises:
        RunError: it has not been trained.
        ConfigError: its task describes no single objects.
    """

    def __init__(self, run: Path):
        from pipeline.mirror import fetched
        from pipeline.predictors import KerasPredictor
        from pipeline.run import Run
        from pipeline.trained import load_model, load_task

        with fetched(run) as local:
            found = load_task(Run(local)).embedding(load_model(Run(local)))
        self._cut, self._predictor = found.cut, KerasPredictor(found.model)
        self.length = int(found.model.outputs[0].shape[-1])

    def __call__(self, pixels: np.ndarray | None, boxes: np.ndarray) -> np.ndarray:
        """Features divided by their length."""
        if pixels is None:
            raise ValueError("Features are compared, but no frame was given; pass its pixels.")
        if not len(boxes):
            return np.zeros((0, self.length))
        crops = np.stack([self._cut(pixels, box) for box in boxes])
        features = self._predictor({"image": crops})["embedding"].astype(np.float64)
        return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12))


def _points(pixels: np.ndarray, boxes: np.ndarray, across: np.ndarray) -> np.ndarray:
    """The pixels at a grid of points in each box, uint8 [n,P,P,3]; beyond the frame, those at its edge."""
    height, width = pixels.shape[:2]
    columns = boxes[:, :1] + (boxes[:, 2:3] - boxes[:, :1]) * across
    rows = boxes[:, 1:2] + (boxes[:, 3:] - boxes[:, 1:2]) * across
    x, y = (np.clip(np.floor(one), 0, size - 1).astype(np.int64) for one, size in ((columns, width), (rows, height)))
    return np.asarray(pixels[y[:, :, None], x[:, None, :]])
