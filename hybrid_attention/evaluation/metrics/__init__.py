"""Measures of masks, classes and probabilities, each from arrays alone."""
