"""What can be set of the examination of data."""

from __future__ import annotations

from pydantic import Field

from models.settings import Settings


class DoctorSettings(Settings):
    """Limits of `convoy doctor data`: what counts as a finding, and how much is shown."""

    allow_leakage: bool = False
    """Whether duplicates across splits are a warning instead of an error."""
    near_duplicate_distance: int = Field(default=10, ge=0, le=20)
    """Bits of 64 in which the perceptual hashes of near-duplicates may differ; more finds more of them, and compares
    more pairs."""
    near_duplicate_correlation: float = Field(default=0.95, gt=0, le=1)
    """Least correlation (0..1) of two pictures' 16 x 16 grey thumbnails, turned alike, for near-duplicates; lower finds
    more of them, and more pictures that are only alike."""
    smallest_compared: int = Field(default=32, ge=8)
    """Pixels of the shorter side below which a picture has no near-duplicates: a thumbnail of it says too little.
    Identical pictures are found at any size."""
    smallest_side: int = Field(default=8, ge=1)
    """Pixels of the shorter side below which a picture is tiny."""
    largest_aspect: float = Field(default=6.0, gt=1)
    """Longer by shorter side above which a picture's shape is extreme."""
    blank_contrast: float = Field(default=1.0, ge=0)
    """Standard deviation of the grey values (0..255) below which a picture is blank."""
    tiny_box: float = Field(default=3.0, ge=0)
    """Pixels of the shorter side below which a box is tiny."""
    covering_box: float = Field(default=0.98, gt=0, le=1)
    """Share of the picture (0..1) from which a box covers all of it."""
    duplicate_box: float = Field(default=0.95, gt=0, le=1)
    """Overlap (intersection over union, 0..1) from which two boxes of a class are the same."""
    outlier: float = Field(default=8.0, gt=0)
    """Robust z-score above which a regression target is an outlier."""
    imbalance: float = Field(default=20.0, ge=1)
    """Examples of the most frequent class by those of the rarest, in training, above which classes are imbalanced."""
    drift_distance: float = Field(default=0.1, ge=0, le=1)
    """Distance of two splits (total variation of class shares, Kolmogorov-Smirnov of the rest, 0..1) from which they
    differ, if the difference is not chance."""
    drift_p_value: float = Field(default=0.001, ge=0.001, lt=1)
    """Probability of so large a distance by chance below which it is not chance."""
    rows: int = Field(default=10, ge=1)
    """Findings of a kind that are printed; all of them are in the JSON."""
    pictures: int = Field(default=12, ge=0)
    """Findings of a kind whose pictures are kept for the report."""
