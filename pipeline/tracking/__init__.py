"""Tracking by detection: which box of a frame is which object of the frames before it."""
