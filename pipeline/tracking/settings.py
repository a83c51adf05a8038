"""What can be set of `convoy track`."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field, model_validator

from models.settings import Settings
from pipeline.errors import ConfigError
from pipeline.tracking.appearance import AnyAppearance, NoAppearance
from pipeline.tracking.camera import AnyCamera, StillCamera
from pipeline.tracking.kalman import Kalman
from pipeline.tracking.particles import Particles

AnyMotion = Annotated[Kalman | Particles, Field(discriminator="kind")]


BYTETRACK = 0.6
"""Its threshold of a high score, for the score of YOLOX."""
LOW = 0.1
"""Its threshold of a low score."""
BEYOND, MOST = 0.1, 0.9
"""By how much the score of a new track is above a high one, and where that ends."""


class Thresholds(NamedTuple):
    """Scores of detections: see `TrackSettings`."""

    low: float
    high: float
    new: float


class TrackSettings(Settings):
    """How detections become tracks: Y. Zhang et al., "ByteTrack: Multi-object tracking by associating every detection
    box", 2022, with its thresholds."""

    high_score: float | None = Field(default=None, ge=0, le=1)
    """Detections with this score or more are matched with tracks first; left out, the model's own `threshold`, from
    which on it takes an object for found."""
    low_score: float | None = Field(default=None, ge=0, le=1)
    """Detections with this score or more, but less than `high_score`, go to tracks that are still without one: objects
    that are partly hidden; left out, 0.1, at most `high_score`."""
    new_score: float | None = Field(default=None, ge=0, le=1)
    """The least score of a detection that begins a track; left out, 0.1 more than `high_score`, at most 0.9."""
    duplicates: float = Field(default=1.0, gt=0, le=1)
    """Intersection over union from which on, beyond it, two detections are one object, whatever their classes: the one
    with the higher score stays. With 1 all stay, as the model gave them."""
    overlap: float = Field(default=0.2, gt=0, lt=1)
    """The least intersection over union of a track and a detection of a high score."""
    low_overlap: float = Field(default=0.5, gt=0, lt=1)
    """The same where the score is low."""
    new_overlap: float = Field(default=0.3, gt=0, lt=1)
    """The same where the track is not confirmed yet."""
    confirm: int = Field(default=2, ge=1, le=100)
    """Frames in a row in which an object has to be seen before it counts as a track; in the first frame
    that can be read, one."""
    keep_lost: int = Field(default=30, ge=0, le=100_000)
    """Frames for which a track is kept that is not seen."""
    fill_gaps: int = Field(default=0, ge=0, le=100_000)
    """Frames of the longest gap in a track that is filled, once the video is over, by boxes on a straight line: for
    objects that are hidden for a while. At most `keep_lost` makes sense, since tracks are not found again later."""
    across_classes: bool = False
    """Whether a track may take detections of other classes, for detectors that are not sure of them: its class is then
    that of the largest sum of scores."""
    motion: AnyMotion = Kalman()
    """How objects are expected to move."""
    appearance: AnyAppearance = NoAppearance()
    """What of their looks is compared."""
    camera: AnyCamera = StillCamera()
    """Whether the camera moves."""

    @model_validator(mode="after")
    def _scores_in_order(self) -> TrackSettings:
        given = [score for score in (self.low_score, self.high_score, self.new_score) if score is not None]
        if given != sorted(given):
            shown = ", ".join(f"{score:g}" for score in given)
            raise ValueError(f"expected low_score <= high_score <= new_score, got {shown}")
        return self

    def thresholds(self, high: float = BYTETRACK) -> Thresholds:
        """The scores that detections need.

        Args:
            high: the model's own threshold, which stands in for `high_score`.

        Raises:
            ConfigError: a score that is given contradicts the one that stands in for `high_score`.
        """
        if self.high_score is None:
            self._require_suited(high)
        high = self.high_score if self.high_score is not None else high
        low = self.low_score if self.low_score is not None else min(LOW, high)
        new = self.new_score if self.new_score is not None else max(high, min(high + BEYOND, MOST))
        return Thresholds(low, high, new)

    def _require_suited(self, high: float) -> None:
        """Raises ConfigError where a score is on the wrong side of the model's own threshold."""
        for name, score, side, wrong in (
            ("low_score", self.low_score, "at most", self.low_score is not None and self.low_score > high),
            ("new_score", self.new_score, "at least", self.new_score is not None and self.new_score < high),
        ):
            if wrong:
                raise ConfigError(
                    f"{name}={score:g} contradicts the model's own threshold {high:g}, which stands in for high_score: "
                    f"expected {name} to be {side} that. Change it, or give high_score too."
                )
