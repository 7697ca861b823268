"""Chains of transforms that the configs of all bundles share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from hybrid_attention.data.masks import MaskReader
from hybrid_attention.data.reading import GreyReader
from hybrid_attention.transforms.calibration import PredictiveEntropyd, TemperatureScalingd
from hybrid_attention.transforms.edges import GaussianDerivativeMagnituded
from hybrid_attention.transforms.masks import (
    ClearMaskIfNormald,
    MergeMasksd,
    MonaiLabelOutputd,
    RemoveSmallMarksd,
    SplitMaskAndClassesd,
)
from hybrid_attention.transforms.naming_compose import NamingCompose
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    CastToTyped,
    CopyItemsd,
    DeleteItemsd,
    EnsureChannelFirstd,
    EnsureTyped,
    FillHolesd,
    Invertd,
    LoadImaged,
    RepeatChanneld,
    Resized,
    ScaleIntensityd,
    SqueezeDimd,
)

IMAGE, LABEL, PRED, PROBABILITY = "image", "label", "pred", "probability"

Transforms = list[Callable[..., Any]]


def preprocessing(image_size: int, with_label: bool = True) -> Transforms:
    """Read images in grey, scale each to 0 to 1 by its own range and resize them to squares.

    Args:
        image_size: side of the squares in pixels.
        with_label: read the masks under `label` as well, merge those of an image into one and resize it by nearest
            neighbour.

    Returns:
        The transforms, for random ones and `network_input` to follow.
    """
    size = (image_size, image_size)
    if not with_label:
        return [
            LoadImaged(IMAGE, GreyReader),
            EnsureChannelFirstd(IMAGE),
            ScaleIntensityd(IMAGE),
            Resized(IMAGE, size, mode="bilinear", anti_aliasing=True),
        ]
    both = (IMAGE, LABEL)
    return [
        LoadImaged(IMAGE, GreyReader),
        LoadImaged(LABEL, MaskReader),
        EnsureChannelFirstd(both),
        MergeMasksd(LABEL),
        ScaleIntensityd(IMAGE),
        Resized(both, size, mode=("bilinear", "nearest-exact"), anti_aliasing=(True, False)),
    ]


def network_input(channels: int = 1, edge_sigma: float | None = None, with_label: bool = True) -> Transforms:
    """Make of grey images what a network takes; the last transforms, after the random ones.

    Args:
        channels: the grey image is repeated in so many channels.
        edge_sigma: standard deviation of the Gaussian in pixels, to add the magnitude of its derivatives as another
            channel, scaled to 0 to 1 (edges are a tenth of the grey values otherwise, and the network starts blind to
            them); None adds none.
        with_label: convert the masks under `label` as well, both without metadata. Without masks the metadata stay,
            which `postprocessing` needs.

    Returns:
        The transforms. The tensors are float32.
    """
    edges = [] if edge_sigma is None else [GaussianDerivativeMagnituded(IMAGE, sigma=edge_sigma, normalize=True)]
    repeated = [RepeatChanneld(IMAGE, channels)] if channels > 1 else []
    keys = (IMAGE, LABEL) if with_label else IMAGE
    return [*edges, *repeated, EnsureTyped(keys, dtype=torch.float32, track_meta=not with_label)]


def inference_preprocessing(image_size: int, channels: int = 1, edge_sigma: float | None = None) -> NamingCompose:
    """Preprocess images without masks as the training did.

    Args:
        image_size: see `preprocessing`.
        channels: see `network_input`.
        edge_sigma: see `network_input`.
    """
    return NamingCompose([*preprocessing(image_size, False), *network_input(channels, edge_sigma, False)])


def validation_postprocessing() -> NamingCompose:
    """Turn the logits under `pred` into a mask; the logits stay under `logits`, their sigmoid under `probability`."""
    return NamingCompose([CopyItemsd(PRED, names="logits"), *mask_of_logits()])


def mask_of_logits() -> Transforms:
    """Turn the logits of lesion under `pred` into a mask by the threshold 0.5; `probability` keeps their sigmoid."""
    return [Activationsd(PRED, sigmoid=True), CopyItemsd(PRED, names=PROBABILITY), AsDiscreted(PRED, threshold=0.5)]


def with_decision(
    postprocessing: Callable[..., Any],
    temperature: float = 1.0,
    threshold: float = 0.5,
    normal_threshold: float | None = None,
    class_names: Sequence[str] | None = None,
) -> NamingCompose:
    """Calibrate the probabilities that a post-processing leaves under `probability`, and make the mask anew.

    Args:
        postprocessing: of the validation during a training.
        temperature: see `TemperatureScaling`.
        threshold: probability from which on a pixel is predicted as lesion.
        normal_threshold: see `ClearMaskIfNormald`.
        class_names: names of the classes; None for a network without class head.
    """
    return NamingCompose(
        [
            postprocessing,
            TemperatureScalingd(PROBABILITY, temperature),
            ClearMaskIfNormald(PROBABILITY, class_names, normal_threshold),
            DeleteItemsd(PRED),
            CopyItemsd(PROBABILITY, names=PRED),
            AsDiscreted(PRED, threshold=threshold),
        ]
    )


def postprocessing(
    preprocessing: NamingCompose,
    temperature: float = 1.0,
    threshold: float = 0.5,
    fill_holes: bool = False,
    min_lesion_pixels: int = 0,
    uncertainty: bool = False,
    class_names: Sequence[str] | None = None,
    normal_threshold: float | None = None,
) -> NamingCompose:
    """Turn the logits of an inference under `pred` into a mask at the size of the image file.

    Args:
        preprocessing: of the inference, whose resizing is inverted before the threshold.
        temperature: see `TemperatureScaling`.
        threshold: probability from which on a pixel is predicted as lesion; the probability stays under `probability`.
        fill_holes: fill the holes of each lesion.
        min_lesion_pixels: lesions of fewer pixels of the image file are removed.
        uncertainty: write the entropy of the probability, in bits, under `uncertainty`.
        class_names: names of the classes whose logits follow that of the lesion, see `SplitMaskAndClassesd`; None for a
            network without class head.
        normal_threshold: see `ClearMaskIfNormald`.
    """
    return NamingCompose(
        [
            *([] if class_names is None else [SplitMaskAndClassesd(PRED)]),
            Activationsd(PRED, sigmoid=True),
            TemperatureScalingd(PRED, temperature),
            ClearMaskIfNormald(PRED, class_names, normal_threshold),
            Invertd(PRED, transform=preprocessing, orig_keys=IMAGE, nearest_interp=False),
            CopyItemsd(PRED, names=PROBABILITY),
            *([PredictiveEntropyd(PROBABILITY, names="uncertainty")] if uncertainty else []),
            AsDiscreted(PRED, threshold=threshold),
            # connectivity of the background: lesions touch over corners, too
            *([FillHolesd(PRED, applied_labels=[1], connectivity=1)] if fill_holes else []),
            RemoveSmallMarksd(PRED, min_lesion_pixels),
            SqueezeDimd(PRED, dim=0),
            CastToTyped(PRED, dtype=torch.uint8),
            MonaiLabelOutputd(PRED, class_names),
        ]
    )
