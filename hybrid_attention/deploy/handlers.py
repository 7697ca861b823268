"""Handlers of an inference, as the configs of all bundles ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hybrid_attention.deploy.dicom_seg import SaveDicomSegmentation
from hybrid_attention.engines.predictions import SavePredictions
from hybrid_attention.explain import SaveGradCAMOverlays, SavePanels
from hybrid_attention.explain.handlers import output_explained
from torch import nn


def inference_handlers(
    folder: str,
    network: nn.Module,
    probability: bool = False,
    uncertainty: bool = False,
    dicom_seg: bool = False,
    gradcam: bool = False,
    panels: bool = False,
    layer: str | None = None,
    explained: str | None = None,
    class_names: Sequence[str] | None = None,
) -> list[Any]:
    """Return the handlers that write masks and overlays of an inference, and what else is asked for.

    Args:
        folder: where the files go.
        network: what Grad-CAM explains, in its eager form.
        probability: a picture per image of the probability of lesion; see `SavePredictions`.
        uncertainty: a picture per image of the entropy; see `SavePredictions`.
        dicom_seg: a DICOM segmentation per DICOM file with a lesion; see `SaveDicomSegmentation`.
        gradcam: see `SaveGradCAMOverlays`.
        panels: see `SavePanels`.
        layer: see `SaveGradCAMOverlays`.
        explained: "mask" or "class" where the network gives both; None where its output is the mask's logit.
        class_names: see `SavePredictions`.

    Raises:
        ValueError: `explained` is neither, or the network has no such layer.
    """
    output = output_explained(explained)
    return [
        SavePredictions(
            folder,
            probability=probability,
            uncertainty_key="uncertainty" if uncertainty else None,
            class_names=class_names,
        ),
        *([SaveDicomSegmentation(folder)] if dicom_seg else []),
        *([SaveGradCAMOverlays(folder, network, layer, output)] if gradcam else []),
        *([SavePanels(folder, network, layer, output)] if panels else []),
    ]
