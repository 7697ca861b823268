"""Losses that MONAI lacks."""

from hybrid_attention.losses.masks import BCEJaccardLoss, MaskAndBoundaryLoss, mask_boundary
from hybrid_attention.losses.masks_and_classes import MultiTaskLoss, MultiTaskTarget
