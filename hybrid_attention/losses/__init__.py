"""Losses that MONAI lacks."""

from hybrid_attention.losses.bce_jaccard import BCEJaccardLoss
from hybrid_attention.losses.multi_task import MultiTaskLoss, MultiTaskTarget

__all__ = ["BCEJaccardLoss", "MultiTaskLoss", "MultiTaskTarget"]
