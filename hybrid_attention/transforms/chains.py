"""Chains of transforms that the configs of all bundles share."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from hybrid_attention.data.readers import GreyReader, MaskReader, ReadImaged
from hybrid_attention.transforms.edges import GaussianDerivativeMagnituded
from hybrid_attention.transforms.masks import (
    ClearMaskIfNormald,
    MergeMasksd,
    MonaiLabelOutputd,
    RemoveSmallMarksd,
    SplitMaskAndClassesd,
)
from hybrid_attention.transforms.probabilities import TemperatureScalingd
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    CastToTyped,
    Compose,
    CopyItemsd,
    DeleteItemsd,
    EnsureChannelFirstd,
    EnsureTyped,
    FillHolesd,
    Invertd,
    RepeatChanneld,
    Resized,
    ScaleIntensityd,
    SqueezeDimd,
)

IMAGE, LABEL, PRED, PROBABILITY = "image", "label", "pred", "probability"

Transforms = list[Callable[..., Any]]


class NamingCompose(Compose):
    """`Compose` whose errors name the file of the case; MONAI's name only the transform.

    Raises:
        RuntimeError: (at the call) a transform failed: the path under `source` or `image`, else `case_id`, and why.
    """

    def __call__(self, input_: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the transformed case."""
        try:
            return super().__call__(input_, *args, **kwargs)
        except Exception as error:
            names = [input_.get(key) for key in ("source", "image", "case_id")] if isinstance(input_, Mapping) else []
            name = next((os.fspath(each) for each in names if isinstance(each, str | os.PathLike)), None)
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            if name is None:
                raise
            text = f"{type(cause).__name__}: {cause}"
            raise RuntimeError(text if name in text else f"{name}: {text}") from error


def preprocessing(image_size: int, with_label: bool = True) -> Transforms:
    """Read images in grey, scale each to [0, 1] by its own range and resize it to a square.

    `with_label` also reads the masks under `label`, merges those of an image into one and resizes it with nearest
    neighbour interpolation. Random transforms and `network_input` follow.
    """
    size = (image_size, image_size)
    label = [ReadImaged(LABEL, MaskReader), EnsureChannelFirstd(LABEL), MergeMasksd(LABEL)]
    return [
        ReadImaged(IMAGE, GreyReader),
        EnsureChannelFirstd(IMAGE),
        *(label if with_label else []),
        ScaleIntensityd(IMAGE),
        Resized(IMAGE, size, mode="bilinear", anti_aliasing=True),
        *([Resized(LABEL, size, mode="nearest-exact")] if with_label else []),
    ]


def network_input(channels: int = 1, edge_sigma: float | None = None, with_label: bool = True) -> Transforms:
    """Convert grey images to the input of a network; the last transforms, after the random ones.

    Args:
        channels: number of channels in which the grey image is repeated.
        edge_sigma: standard deviation in pixels of the Gaussian whose derivatives' magnitude is added as a further
            channel, scaled to [0, 1] (unscaled, edges are a tenth of the grey values and the network hardly sees them
            at first); None adds none.
        with_label: also convert the masks under `label`, both without metadata. Without masks the metadata, which
            `postprocessing` needs, are kept.

    Returns:
        The transforms. The tensors are float32.
    """
    edges = [] if edge_sigma is None else [GaussianDerivativeMagnituded(IMAGE, sigma=edge_sigma, normalize=True)]
    repeated = [RepeatChanneld(IMAGE, channels)] if channels > 1 else []
    keys = (IMAGE, LABEL) if with_label else IMAGE
    return [*edges, *repeated, EnsureTyped(keys, dtype=torch.float32, track_meta=not with_label)]


def inference_preprocessing(image_size: int, channels: int = 1, edge_sigma: float | None = None) -> NamingCompose:
    """Preprocess images without masks as in training; see `preprocessing` and `network_input`."""
    return NamingCompose([*preprocessing(image_size, False), *network_input(channels, edge_sigma, False)])


def validation_postprocessing() -> NamingCompose:
    """Turn the logits under `pred` into a mask; `logits` keeps the logits, `probability` their sigmoid."""
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
    """Calibrate the probabilities that a postprocessing leaves under `probability`, and recompute the mask.

    Args:
        postprocessing: of the validation in training.
        temperature: see `TemperatureScaling`.
        threshold: lowest probability at which a pixel is predicted as lesion.
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
    class_names: Sequence[str] | None = None,
    normal_threshold: float | None = None,
    uncertainty: bool = False,
) -> NamingCompose:
    """Turn the logits under `pred` into a mask of the image file's size, in inference.

    Args:
        preprocessing: of the inference; its resizing is inverted before the threshold.
        temperature: see `TemperatureScaling`.
        threshold: lowest probability at which a pixel is predicted as lesion; `probability` keeps the probability.
        fill_holes: fill the holes of each lesion.
        min_lesion_pixels: remove lesions of fewer pixels of the image file.
        class_names: names of the classes whose logits follow that of the lesion, see `SplitMaskAndClassesd`; None for a
            network without class head.
        normal_threshold: see `ClearMaskIfNormald`.
        uncertainty: without effect; the configs of bundles that were packaged earlier pass it.
    """
    return NamingCompose(
        [
            *([] if class_names is None else [SplitMaskAndClassesd(PRED)]),
            Activationsd(PRED, sigmoid=True),
            TemperatureScalingd(PRED, temperature),
            ClearMaskIfNormald(PRED, class_names, normal_threshold),
            Invertd(PRED, transform=preprocessing, orig_keys=IMAGE, nearest_interp=False),
            CopyItemsd(PRED, names=PROBABILITY),
            AsDiscreted(PRED, threshold=threshold),
            # connectivity of the background: lesions touch over corners, too
            *([FillHolesd(PRED, applied_labels=[1], connectivity=1)] if fill_holes else []),
            RemoveSmallMarksd(PRED, min_lesion_pixels),
            SqueezeDimd(PRED, dim=0),
            CastToTyped(PRED, dtype=torch.uint8),
            MonaiLabelOutputd(PRED, class_names),
        ]
    )
