"""What `convoy doctor data` does: examine the source of a configuration before anything is learned from it."""

from pipeline.diagnosis.settings import DoctorSettings

__all__ = ["DoctorSettings"]
