"""What an inference run of a bundle writes: masks, overlays, tables, DICOM, and pictures that explain the network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hybrid_attention.data.images import read_image
from hybrid_attention.engines.multi_task import CLASS_PROBABILITY, plane
from hybrid_attention.engines.weights import weights_digest
from hybrid_attention.explain import SaveAttention, SaveGradCAMOverlays, SavePanels
from hybrid_attention.explain.handlers import output_explained
from hybrid_attention.prediction.predict_folder import ResultWriter
from hybrid_attention.prediction.result import PICTURES, Result, by_class
from hybrid_attention.transforms.chains import PROBABILITY
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import nn


def inference_handlers(
    folder: str,
    network: nn.Module,
    probability: bool = False,
    uncertainty: bool = False,
    dicom_seg: bool = False,
    dicom_sr: bool = False,
    pdf: str | None = None,
    gradcam: bool = False,
    panels: bool = False,
    layer: str | None = None,
    explained: str | None = None,
    class_names: Sequence[str] | None = None,
    attention: bool = False,
) -> list[Any]:
    """Return the handlers of an inference run, as the configs of all bundles ask for them.

    Grad-CAM and attention maps explain `network`, in its eager form, and of it the output `explained`, "mask" or
    "class", if it predicts both. Its weight file `pdf` is named on the pages of `predictions.pdf`; None for no PDF.
    The rest is that of `ResultWriter`, `SavePredictions`, `SaveGradCAMOverlays`, `SavePanels` and `SaveAttention`.
    """
    output = output_explained(explained)
    maps = [what for what, asked in (("probability", probability), ("uncertainty", uncertainty)) if asked]
    options = {
        "outputs": [*PICTURES, *maps],
        "pdf": None if pdf is None else model_name(type(network).__name__, pdf),
        "dicom_seg": dicom_seg,
        "dicom_sr": dicom_sr,
    }
    return [
        SavePredictions(folder, class_names, **options),
        *([SaveGradCAMOverlays(folder, network, layer, output)] if gradcam else []),
        *([SavePanels(folder, network, layer, output)] if panels else []),
        *([SaveAttention(folder, network)] if attention else []),
    ]


def model_name(name: str, weights: str | os.PathLike[str]) -> str:
    """Return what reports call a network or bundle with its weights."""
    return f"{name}, weights {Path(weights).name} {weights_digest(weights)[:12]}"


class SavePredictions:
    """Write the files of an inference run by `ResultWriter`, whose other arguments follow.

    Args:
        folder: folder of the files; subfolders of the images are kept.
        class_names: names of the entries of the output's `class_probability`, (classes,); None for a network without
            class head.

    Shape:
        - output of the engine: `pred`, 0 and 1, and `probability` of lesion, (H, W) or (1, H, W) in the size of the
          image
    """

    def __init__(
        self, folder: str | os.PathLike[str], class_names: Sequence[str] | None = None, **options: Any
    ) -> None:
        self.folder = folder
        self.class_names = class_names
        self.options = options

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._save)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self._writer = ResultWriter(self.folder, **self.options)

    def _save(self, engine: Engine) -> None:
        for case, output in zip(engine.state.batch, engine.state.output, strict=True):
            self._writer.add(case["case_id"], self._result(case["source"], output))

    def _result(self, source: str, output: Mapping[str, Any]) -> Result:
        image, mask = read_image(source), plane(output[CommonKeys.PRED]) > 0.5
        if mask.shape != image.pixels.shape:
            raise ValueError(f"{source}: the mask of shape {mask.shape} does not fit the image of {image.pixels.shape}")
        classes = {} if self.class_names is None else by_class(self.class_names, output[CLASS_PROBABILITY])
        return Result(image, mask, plane(output[PROBABILITY]).astype(np.float32), classes)

    def _finish(self, engine: Engine) -> None:
        self._writer.close()
