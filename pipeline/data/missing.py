"""Missing parts of pictures: how they are marked, and what `prepare` puts in their place.

A part is marked by a mask (a table's `missing_column`), by a key colour, or by transparency. All splits are treated
alike. What is exported fills nothing: a picture that is sent to it has to be filled as those of the training were.

h, w = picture, C = 1 or 3 channels.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from models.settings import Settings
from pipeline.data.pictures import (
    GREY_MODES,
    BadPicture,
    StoredPicture,
    encoded_picture,
    marked_picture,
    opened_upright,
)

ONE_BAND = {"1", "L", "P", "I", "I;16"}
"""Pillow's modes of masks whose values are taken as they are: of a palette, the numbers, not the colours."""
Channel = Annotated[int, Field(ge=0, le=255)]


class Fill(Settings):
    """What is put in the place of missing pixels."""

    @abstractmethod
    def fill(self, pixels: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """uint8 [h, w, C] and bool [h, w] (some missing, some not) -> the same with the missing ones filled."""


class ZeroFill(Fill):
    """Black."""

    kind: Literal["zero"] = "zero"
    """All channels 0."""

    def fill(self, pixels: np.ndarray, missing: np.ndarray) -> np.ndarray:
        return np.where(missing[..., np.newaxis], np.uint8(0), pixels)


class MeanFill(Fill):
    """The mean colour of what is there."""

    kind: Literal["mean"] = "mean"
    """Of this picture, each channel for itself."""

    def fill(self, pixels: np.ndarray, missing: np.ndarray) -> np.ndarray:
        mean = np.rint(pixels[~missing].mean(axis=0)).astype(np.uint8)
        return np.where(missing[..., np.newaxis], mean, pixels)


class Inpainting(Fill):
    """Continued from the borders inwards by OpenCV: for scratches, text and small holes."""

    kind: Literal["inpainting"] = "inpainting"
    """From the surroundings."""
    method: Literal["telea", "navier_stokes"] = "telea"
    """`telea`: weighted means along a front that moves inwards (Telea 2004); `navier_stokes`: lines of equal brightness
    go on (Bertalmio, Bertozzi and Sapiro 2001)."""
    radius: float = Field(default=3.0, gt=0.0)
    """How far around a pixel it looks, in pixels."""

    def fill(self, pixels: np.ndarray, missing: np.ndarray) -> np.ndarray:
        import cv2

        method = {"telea": cv2.INPAINT_TELEA, "navier_stokes": cv2.INPAINT_NS}[self.method]
        filled = cv2.inpaint(np.ascontiguousarray(pixels.squeeze()), missing.astype(np.uint8), self.radius, method)
        return np.where(missing[..., np.newaxis], filled.reshape(pixels.shape), pixels)


AnyFill = Annotated[ZeroFill | MeanFill | Inpainting, Field(discriminator="kind")]


class MissingRegions(Settings):
    """Which parts of pictures are missing, beside those that a mask of the source marks, and what takes their place."""

    colour: tuple[Channel, Channel, Channel] | None = None
    """A colour (red, green, blue, 0..255) that stands for missing pixels, such as [0, 0, 0]."""
    tolerance: int = Field(default=0, ge=0, le=255)
    """How far a pixel's channels may be from `colour`; in a JPEG no colour stays exact."""
    transparent: bool = False
    """Whether wholly transparent pixels (alpha 0) are missing; else transparency is ignored."""
    fill: AnyFill = ZeroFill()
    """What takes their place."""
    mark: bool = False
    """Whether the store keeps which pixels were missing, for a model that takes this as a further channel
    (`task.picture.channels` 2 or 4): they become transparent, and the picture a PNG. Wholly transparent pixels then
    always count as missing."""

    def filled(self, stored: StoredPicture, source: Any, mask: Path | bytes | None) -> StoredPicture:
        """The picture with its missing parts filled; the same where nothing is missing.

        Args:
            stored: as it would be stored.
            source: as it came, encoded bytes or pixels.
            mask: a picture of the same size whose pixels are not 0 where something is missing.

        Raises:
            BadPicture: all of it is missing, or the mask cannot be read or has another size.
            OSError: the mask's file cannot be read.
        """
        if self.colour is None and not self._sees_through and mask is None:
            return stored
        pixels = _pixels(stored.data)
        missing = self._marked(pixels, source)
        if mask is not None:
            missing |= _mask_pixels(mask, pixels.shape[:2])
        if not missing.any():
            return stored
        if missing.all():
            raise BadPicture("all of the picture is missing")
        filled, change = self.fill.fill(pixels, missing), f"filled by {self.fill.kind}"
        return marked_picture(filled, missing, change) if self.mark else encoded_picture(filled, stored.is_jpeg, change)

    @property
    def _sees_through(self) -> bool:
        return self.transparent or self.mark

    def _marked(self, pixels: np.ndarray, source: Any) -> np.ndarray:
        """bool [h, w]: what colour and transparency mark."""
        missing = np.zeros(pixels.shape[:2], bool)
        if self.colour is not None:
            distance = np.abs(pixels.astype(np.int64) - np.array(self.colour)).max(axis=-1)
            missing |= distance <= self.tolerance
        if self._sees_through and isinstance(source, bytes):
            missing |= _transparent(opened_upright(source), pixels.shape[:2])
        return missing


def _pixels(data: bytes) -> np.ndarray:
    """uint8 [h, w, C] of a stored picture."""
    picture = opened_upright(data)
    pixels = np.asarray(picture.convert("L" if picture.mode in GREY_MODES else "RGB"))
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _transparent(picture: Any, size: tuple[int, ...]) -> np.ndarray:
    """bool [h, w]: where a Pillow picture is wholly transparent."""
    if not picture.has_transparency_data:
        return np.zeros(size, bool)
    return np.asarray(picture.convert("RGBA"))[..., 3] == 0


def _mask_pixels(mask: Path | bytes, size: tuple[int, ...]) -> np.ndarray:
    """bool [h, w]: where the mask is not 0."""
    data = mask if isinstance(mask, bytes) else mask.read_bytes()
    try:
        picture = opened_upright(data)
        values = np.asarray(picture if picture.mode in ONE_BAND else picture.convert("RGB"))
    except BadPicture as error:
        raise BadPicture(f"the mask of what is missing: {error}") from error
    marked = (values != 0).reshape(*values.shape[:2], -1).any(axis=-1)
    if marked.shape != size:
        raise BadPicture(
            f"the mask of what is missing has {marked.shape[1]} x {marked.shape[0]} pixels, "
            f"the picture {size[1]} x {size[0]}"
        )
    return marked
