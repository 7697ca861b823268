"""Losses that MONAI lacks."""

from hybrid_attention.losses.bce_jaccard import BCEJaccardLoss

__all__ = ["BCEJaccardLoss"]
