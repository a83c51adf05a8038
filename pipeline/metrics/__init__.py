"""Scoring predictions: one evaluator a file, one file a kind of answer."""
