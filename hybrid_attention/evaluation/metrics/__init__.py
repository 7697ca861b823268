"""Metrics of masks, classes and probabilities, computed from arrays."""
