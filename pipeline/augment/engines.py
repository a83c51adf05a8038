"""The few operations on whole batches of pictures that all augmentations are made of, in two forms that agree.

`OpenCV` is the fast one: SIMD on uint8, no work for examples that are not changed. `TensorFlow` computes inside the
graph, which is what a tf.data service can send to its workers. They differ by rounding only (tested).

B = batch, h, w = the pictures, H, W = the result, C = 1 or 3 channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.augment.fill import AnyFill

if TYPE_CHECKING:
    import tensorflow as tf

    from pipeline.augment.shapes import Shapes


class Engine(ABC):
    """Pictures are uint8 [B,h,w,C]; results are uint8, rounded and clipped."""

    @abstractmethod
    def warp(self, pictures: tf.Tensor, matrices: tf.Tensor, fill: AnyFill, size: tuple[int, int]) -> tf.Tensor:
        """Bilinear interpolation at the places that matrices give.

        Args:
            matrices: float32 [B,3,3], from a pixel (x, y, 1) of the result to a place in the picture; (0, 0) is the
                middle of the top left pixel.
            fill: what is outside the picture.
            size: H, W.
        """

    @abstractmethod
    def warp_nearest(self, pictures: tf.Tensor, matrices: tf.Tensor, value: int, size: tuple[int, int]) -> tf.Tensor:
        """The nearest pixel, for pictures whose values are classes; any number of channels. `value` is outside."""

    @abstractmethod
    def remap(self, pictures: tf.Tensor, places: tf.Tensor, fill: AnyFill) -> tf.Tensor:
        """Bilinear interpolation at places (x, y) float32 [B,H,W,2] in pixels."""

    @abstractmethod
    def remap_nearest(self, pictures: tf.Tensor, places: tf.Tensor, value: int) -> tf.Tensor:
        """The nearest pixel at those places."""

    @abstractmethod
    def recolour(self, pictures: tf.Tensor, changes: tf.Tensor) -> tf.Tensor:
        """M x + S m + b for every pixel x of a picture with mean colour m.

        Args:
            changes: float32 [B,C,2C+1]: M, S and b side by side.
        """

    @abstractmethod
    def lookup(self, pictures: tf.Tensor, tables: tf.Tensor) -> tf.Tensor:
        """Each value replaced by its entry in a table: tables uint8 [B,256,C]."""

    @abstractmethod
    def filter(self, pictures: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
        """Correlation with one kernel for each picture, float32 [B,k,k], k odd; the edge is mirrored
        (`c b | a b c`)."""

    @abstractmethod
    def blur(self, pictures: tf.Tensor, kernels: tf.Tensor) -> tf.Tensor:
        """Correlation along rows and along columns with one symmetric kernel for each picture, float32 [B,k], k odd;
        rounded once; the edge is mirrored as in `filter`."""

    @abstractmethod
    def noise(self, pictures: tf.Tensor, starts: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
        """Normal deviates times amounts float32 [B], rounded, added to every value; 0 leaves a picture alone.

        Args:
            starts: int32 [B], where in the bank of normal deviates (bank.py) a picture's begin.
        """

    @abstractmethod
    def speckle(self, pictures: tf.Tensor, starts: tf.Tensor, limits: tf.Tensor) -> tf.Tensor:
        """Pixels become 255 where their normal deviate is above a limit float32 [B], and 0 where it is below minus
        that; infinity leaves a picture alone. Pixels read the bank from starts int32 [B] on."""

    @abstractmethod
    def cover(self, pictures: tf.Tensor, shapes: Shapes) -> tf.Tensor:
        """Shapes painted over the pictures; any number of channels."""

    @abstractmethod
    def light(self, pictures: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
        """Pixels times gains float32 [B,g,g], which are spread over the picture by bilinear interpolation."""

    @abstractmethod
    def jpeg(self, pictures: tf.Tensor, qualities: tf.Tensor) -> tf.Tensor:
        """Pictures after JPEG coding with qualities int32 [B], 1..100; 0 leaves a picture alone. Coders differ in a few
        grey levels."""

    @abstractmethod
    def blend(self, pictures: Sequence[tf.Tensor], weights: tf.Tensor) -> tf.Tensor:
        """Weighted means of pictures, one from each batch: weights float32 [B, number of batches] that sum to 1."""

    @abstractmethod
    def histogram(self, pictures: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
        """How many pixels have each value, int32 [B,C,256], where wanted, bool [B]; anything elsewhere."""
