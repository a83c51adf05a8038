"""Light and camera: what happens to a whole scene before it is a picture. Scenes are float32 [h, w, 3], 0..1."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Generator = np.random.Generator

BRIGHTEST = 255.0
KNEE, BRIGHTEST_LIT, STEEPNESS = 0.6, 3.0, 2.9
"""Brightness from which on a camera takes highlights back, that which it shows as white, and how fast it does so: the
curve is logarithmic and begins as steep as what is below. What is cut off at white instead is lost."""


@dataclass(frozen=True)
class Light:
    """How a scene is lit; for all pictures of a sequence the same.

    Args:
        field: float32 [h, w, 3], by which the scene is multiplied.
    """

    field: np.ndarray

    @classmethod
    def drawn(cls, generator: Generator, height: int, width: int) -> Light:
        """Exposure, colour of the light, a gradient, and at times a lamp or the edge of a shadow."""
        exposure = np.float32(2.0 ** generator.uniform(-0.7, 0.45))
        tint = generator.uniform(0.9, 1.1, 3).astype(np.float32)
        down, across = np.indices((height, width), np.float32) / np.float32(max(height, width)) - np.float32(0.5)
        angle = generator.uniform(0, 2 * np.pi)
        direction = np.float32(np.cos(angle)) * across + np.float32(np.sin(angle)) * down
        field = np.float32(1.0) + np.float32(generator.uniform(0.0, 0.9)) * direction
        if generator.random() < 0.3:
            x, y = generator.uniform(-0.5, 0.5, 2).astype(np.float32)
            reach = np.float32(generator.uniform(0.25, 0.6))
            field += np.float32(0.6) * np.exp(-((across - x) ** 2 + (down - y) ** 2) / reach**2)
        if generator.random() < 0.25:
            edge = np.float32(generator.uniform(-0.3, 0.3))
            softness = np.float32(generator.uniform(0.01, 0.08))
            angle = generator.uniform(0, 2 * np.pi)
            beyond = np.float32(np.cos(angle)) * across + np.float32(np.sin(angle)) * down - edge
            shade = np.float32(generator.uniform(0.3, 0.6))
            field *= np.float32(1.0) - shade * np.clip(beyond / softness + np.float32(0.5), 0, 1)
        return cls(np.clip(field, 0.35, 2.0)[..., np.newaxis] * (exposure * tint))


@dataclass(frozen=True)
class Camera:
    """How a lit scene becomes a picture.

    Args:
        blur: standard deviation in pixels.
        noise: standard deviation in grey levels.
        quality: of the JPEG.
    """

    blur: float
    noise: float
    quality: int

    @classmethod
    def drawn(cls, generator: Generator, side: int) -> Camera:
        """A camera of its own for each scene."""
        blur = generator.uniform(0.0, 0.9) * side / 160
        return cls(blur, generator.uniform(1.0, 13.0), int(generator.integers(72, 97)))

    def picture(self, generator: Generator, scene: np.ndarray) -> np.ndarray:
        """uint8 [h, w, 3]."""
        seen = toned(cv2.GaussianBlur(scene, (0, 0), self.blur) if self.blur > 0.2 else scene)
        grain = generator.standard_normal(scene.shape, np.float32) * np.float32(self.noise)
        grain += seen * np.float32(BRIGHTEST) + np.float32(0.5)  # so that cutting the fraction off rounds
        return np.clip(grain, 0, BRIGHTEST, out=grain).astype(np.uint8)

    def encoded(self, picture: np.ndarray) -> bytes:
        """The same as a JPEG."""
        turned = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        return bytes(cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1])


def toned(scene: np.ndarray) -> np.ndarray:
    """Brightness as a camera shows it: the same up to KNEE, above it the brighter the less, so that a white digit on a
    bright ground is still seen; float32, 0..1 for scenes of 0..BRIGHTEST_LIT."""
    room = np.float32(1.0 - KNEE)
    above = np.maximum(scene - np.float32(KNEE), np.float32(0.0)) / room
    share = np.log1p(np.float32(STEEPNESS) * above) / np.float32(np.log1p(STEEPNESS * (BRIGHTEST_LIT - KNEE) / room))
    return scene + room * (share - above)
