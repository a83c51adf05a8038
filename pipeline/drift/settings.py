"""What can be set of the comparison with production."""

from __future__ import annotations

from pydantic import Field

from models.settings import Settings

LEAST_P_VALUE = 1e-4
"""Below it a permutation test of the classes would take minutes."""


class DriftSettings(Settings):
    """Limits of `convoy drift`, and how many pictures are looked at."""

    max_psi: float = Field(default=0.25, gt=0)
    """Population stability index above which a measure has drifted, if that is not chance."""
    max_auc: float = Field(default=0.75, gt=0.5, le=1)
    """How well (area under the ROC curve) a classifier may tell requests from held-out pictures by the network's
    features."""
    p_value: float = Field(default=0.01, ge=LEAST_P_VALUE, lt=1)
    """Probability of so large a difference by chance below which it is not chance, corrected for all measures."""
    requests: int = Field(default=2000, ge=1)
    """Pictures of the log that are looked at, drawn by a hash."""
    reference: int = Field(default=2000, ge=1)
    """Pictures of the training split, and of the evaluation split, that they are compared with."""
    furthest: int = Field(default=24, ge=0)
    """Pictures on the page: those that are furthest from training."""
