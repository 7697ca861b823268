"""Transforms that MONAI lacks."""

from hybrid_attention.transforms.gaussian_derivative import GaussianDerivativeMagnitude, GaussianDerivativeMagnituded
from hybrid_attention.transforms.measure_lesion import MeasureLesion
from hybrid_attention.transforms.merge_masks import MergeMasks, MergeMasksd
from hybrid_attention.transforms.overlay import Overlay
from hybrid_attention.transforms.random_speckle import RandomSpeckle
from hybrid_attention.transforms.remove_small_marks import RemoveSmallMarks, RemoveSmallMarksd
from hybrid_attention.transforms.split_mask_and_classes import SplitMaskAndClassesd

__all__ = [
    "GaussianDerivativeMagnitude",
    "GaussianDerivativeMagnituded",
    "MeasureLesion",
    "MergeMasks",
    "MergeMasksd",
    "Overlay",
    "RandomSpeckle",
    "RemoveSmallMarks",
    "RemoveSmallMarksd",
    "SplitMaskAndClassesd",
]
