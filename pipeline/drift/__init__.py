"""Whether what a model is asked in production is still what it was trained on."""

from pipeline.drift.settings import DriftSettings

__all__ = ["DriftSettings"]
