"""Transforms that MONAI lacks."""

from hybrid_attention.transforms.chains import (
    NamingCompose,
    inference_preprocessing,
    network_input,
    postprocessing,
    preprocessing,
    validation_postprocessing,
    with_decision,
)
from hybrid_attention.transforms.corruptions import Corrupt, Corruptd, RandomSpeckle
from hybrid_attention.transforms.edges import GaussianDerivativeMagnitude, GaussianDerivativeMagnituded
from hybrid_attention.transforms.masks import (
    ClearMaskIfNormald,
    MergeMasksd,
    MonaiLabelOutputd,
    RemoveSmallMarksd,
    SplitMaskAndClassesd,
)
from hybrid_attention.transforms.probabilities import PredictiveEntropy, TemperatureScaling, TemperatureScalingd
