"""Transforms that MONAI lacks."""

from hybrid_attention.transforms.chains import (
    inference_preprocessing,
    network_input,
    postprocessing,
    preprocessing,
    validation_postprocessing,
    with_decision,
)
from hybrid_attention.transforms.clear_mask_if_normal import ClearMaskIfNormald
from hybrid_attention.transforms.corruptions import Corrupt, Corruptd
from hybrid_attention.transforms.expected_dice import ExpectedDice
from hybrid_attention.transforms.gaussian_derivative import GaussianDerivativeMagnitude, GaussianDerivativeMagnituded
from hybrid_attention.transforms.measure_lesion import MeasureLesion
from hybrid_attention.transforms.merge_masks import MergeMasks, MergeMasksd
from hybrid_attention.transforms.monai_label_output import MonaiLabelOutputd
from hybrid_attention.transforms.naming_compose import NamingCompose
from hybrid_attention.transforms.overlay import Overlay
from hybrid_attention.transforms.predictive_entropy import PredictiveEntropy, PredictiveEntropyd
from hybrid_attention.transforms.random_speckle import RandomSpeckle
from hybrid_attention.transforms.remove_small_marks import RemoveSmallMarks, RemoveSmallMarksd
from hybrid_attention.transforms.split_mask_and_classes import SplitMaskAndClassesd
from hybrid_attention.transforms.temperature_scaling import TemperatureScaling, TemperatureScalingd

__all__ = [
    "ClearMaskIfNormald",
    "Corrupt",
    "Corruptd",
    "ExpectedDice",
    "GaussianDerivativeMagnitude",
    "GaussianDerivativeMagnituded",
    "MeasureLesion",
    "MergeMasks",
    "MergeMasksd",
    "MonaiLabelOutputd",
    "NamingCompose",
    "Overlay",
    "PredictiveEntropy",
    "PredictiveEntropyd",
    "RandomSpeckle",
    "RemoveSmallMarks",
    "RemoveSmallMarksd",
    "SplitMaskAndClassesd",
    "TemperatureScaling",
    "TemperatureScalingd",
    "inference_preprocessing",
    "network_input",
    "postprocessing",
    "preprocessing",
    "validation_postprocessing",
    "with_decision",
]
