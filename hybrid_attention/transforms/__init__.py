"""Transforms that MONAI lacks."""

from hybrid_attention.transforms.calibration import (
    PredictiveEntropy,
    PredictiveEntropyd,
    TemperatureScaling,
    TemperatureScalingd,
)
from hybrid_attention.transforms.chains import (
    inference_preprocessing,
    network_input,
    postprocessing,
    preprocessing,
    validation_postprocessing,
    with_decision,
)
from hybrid_attention.transforms.corruptions import Corrupt, Corruptd
from hybrid_attention.transforms.edges import GaussianDerivativeMagnitude, GaussianDerivativeMagnituded
from hybrid_attention.transforms.faults import RandomSpeckle
from hybrid_attention.transforms.masks import (
    ClearMaskIfNormald,
    MergeMasks,
    MergeMasksd,
    MonaiLabelOutputd,
    RemoveSmallMarks,
    RemoveSmallMarksd,
    SplitMaskAndClassesd,
)
from hybrid_attention.transforms.naming_compose import NamingCompose

__all__ = [
    "ClearMaskIfNormald",
    "Corrupt",
    "Corruptd",
    "GaussianDerivativeMagnitude",
    "GaussianDerivativeMagnituded",
    "MergeMasks",
    "MergeMasksd",
    "MonaiLabelOutputd",
    "NamingCompose",
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
