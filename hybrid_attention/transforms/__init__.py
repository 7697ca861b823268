"""Transforms that MONAI lacks."""

from hybrid_attention.transforms.gaussian_derivative import GaussianDerivativeMagnitude, GaussianDerivativeMagnituded
from hybrid_attention.transforms.merge_masks import MergeMasks, MergeMasksd
from hybrid_attention.transforms.overlay import Overlay

__all__ = ["GaussianDerivativeMagnitude", "GaussianDerivativeMagnituded", "MergeMasks", "MergeMasksd", "Overlay"]
