"""Losses that MONAI lacks."""

from hybrid_attention.losses.bce_jaccard import BCEJaccardLoss
from hybrid_attention.losses.mask_and_boundary import MaskAndBoundaryLoss, mask_boundary
from hybrid_attention.losses.multi_task import MultiTaskLoss, MultiTaskTarget

__all__ = ["BCEJaccardLoss", "MaskAndBoundaryLoss", "MultiTaskLoss", "MultiTaskTarget", "mask_boundary"]
