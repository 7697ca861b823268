"""Transforms that MONAI lacks."""

from hybrid_attention.transforms.corruptions import Corrupt, Corruptd
from hybrid_attention.transforms.empty_normal import EmptyNormald
from hybrid_attention.transforms.expected_dice import ExpectedDice
from hybrid_attention.transforms.gaussian_derivative import GaussianDerivativeMagnitude, GaussianDerivativeMagnituded
from hybrid_attention.transforms.measure_lesion import MeasureLesion
from hybrid_attention.transforms.merge_masks import MergeMasks, MergeMasksd
from hybrid_attention.transforms.naming_compose import NamingCompose
from hybrid_attention.transforms.overlay import Overlay
from hybrid_attention.transforms.predictive_entropy import PredictiveEntropy, PredictiveEntropyd
from hybrid_attention.transforms.random_speckle import RandomSpeckle
from hybrid_attention.transforms.remove_small_marks import RemoveSmallMarks, RemoveSmallMarksd
from hybrid_attention.transforms.server_answer import ServerAnswerd
from hybrid_attention.transforms.split_mask_and_classes import SplitMaskAndClassesd
from hybrid_attention.transforms.temperature_scaling import TemperatureScaling, TemperatureScalingd

__all__ = [
    "Corrupt",
    "Corruptd",
    "EmptyNormald",
    "ExpectedDice",
    "GaussianDerivativeMagnitude",
    "GaussianDerivativeMagnituded",
    "MeasureLesion",
    "MergeMasks",
    "MergeMasksd",
    "NamingCompose",
    "Overlay",
    "PredictiveEntropy",
    "PredictiveEntropyd",
    "RandomSpeckle",
    "RemoveSmallMarks",
    "RemoveSmallMarksd",
    "ServerAnswerd",
    "SplitMaskAndClassesd",
    "TemperatureScaling",
    "TemperatureScalingd",
]
