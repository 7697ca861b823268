"""Grad-CAM of every image of an evaluation or inference run, as files."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hybrid_attention.data.files import atomic_path, prepare_output_folder, write_json
from hybrid_attention.data.folder import result_path
from hybrid_attention.data.reading import read_grey
from hybrid_attention.evaluation.results import LEFT_OUT, picture_path, write_picture
from hybrid_attention.explain.grad_cam import grad_cam
from hybrid_attention.explain.heat_overlay import colour_table, heat_overlay
from hybrid_attention.explain.layers import layer_name
from hybrid_attention.explain.scores import NothingMarkedError, Output
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from PIL import Image
from torch import nn

logger = logging.getLogger(__name__)


class SaveGradCAM:
    """Write the heat of each image of an evaluation as `FOLDER/gradcam/CASE.png`, where reports look for it.

    The pictures are 8-bit grey, 0 to 255 for heat 0 to 1, at the size that the network sees. What is explained is the
    predicted mask, or with `output` the predicted class. The network runs once more for each image, in float32, so that
    its mask can differ by a few pixels from one predicted in lower precision.

    Images in which the network marks nothing have no region to explain, even where averaged flips or another threshold
    mark something: they are left out and listed in `FOLDER/gradcam/left_out.json`, a picture of an earlier run is
    removed, and their number is logged.

    Args:
        folder: of the evaluation.
        network: the network that the engine runs, in its eager form.
        layer: the layer to look at; None for `network.gradcam_layer`.
        output: which part of the network's output is explained; see `grad_cam`.

    Raises:
        ValueError: the network has no such layer.
    """

    def __init__(
        self, folder: str | os.PathLike[str], network: nn.Module, layer: str | None = None, output: Output = None
    ) -> None:
        self.folder = Path(folder)
        self.network = network
        self.layer = layer_name(network, layer)
        self.output = output
        self.written = 0
        self.skipped: list[str] = []
        self.flat: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose output holds `image` as the network took it, for each case.

        Args:
            engine: the evaluator.
        """
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._explain)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.written, self.skipped, self.flat = 0, [], []
        prepare_output_folder(self.folder)

    def _explain(self, engine: Engine) -> None:
        device = next(self.network.parameters()).device
        for case, result in zip(engine.state.batch, engine.state.output, strict=True):
            image = result[CommonKeys.IMAGE][None].to(device)
            try:
                heat = grad_cam(self.network, image, self.layer, output=self.output)[0, 0].cpu()
            except NothingMarkedError:
                self.skipped.append(case["case_id"])
                self._path(case["case_id"]).unlink(missing_ok=True)
            else:
                self.written += 1
                if not heat.any():
                    self.flat.append(case["case_id"])
                self._write(case, heat)

    def _path(self, case_id: str) -> Path:
        return picture_path(self.folder, "gradcam", case_id)

    def _write(self, case: Mapping[str, Any], heat: torch.Tensor) -> None:
        write_picture(self.folder, "gradcam", case["case_id"], (heat.numpy().T * 255).round().astype(np.uint8))

    def _list_left_out(self) -> None:
        write_json(self.folder / "gradcam" / LEFT_OUT, self.skipped)

    def _finish(self, engine: Engine) -> None:
        self._list_left_out()
        logger.info("%d Grad-CAM maps of layer %s in %s", self.written, self.layer, self.folder)
        for cases, why in (
            (self.skipped, "left out, since nothing is marked"),
            (self.flat, "black, since nothing speaks for it"),
        ):
            if cases:
                logger.info("Grad-CAM of %d images is %s; the first: %s", len(cases), why, cases[0])


class SaveGradCAMOverlays(SaveGradCAM):
    """Write the heat over each image of an inference run, in colour with a colour bar.

    An image `a/b.png` or `a/b.nii.gz` gives `a/b_gradcam.png` at the image's own size, the bar besides. The image must
    have been resized as a whole for the network, as the bundles here do: the heat is stretched back.

    Args:
        folder: where the files go; subfolders of the images are kept.
        network: the network that the engine runs, in its eager form.
        layer: the layer to look at; None for `network.gradcam_layer`.
        output: which part of the network's output is explained; see `grad_cam`.

    Raises:
        ValueError: the network has no such layer.
        ImportError: (when the run starts) matplotlib is missing.
    """

    def _start(self, engine: Engine) -> None:
        super()._start(engine)
        colour_table()

    def _path(self, case_id: str) -> Path:
        return result_path(self.folder, case_id, "gradcam")

    def _list_left_out(self) -> None:
        """Leave it to the log: no report reads the pictures of an inference."""

    def _write(self, case: Mapping[str, Any], heat: torch.Tensor) -> None:
        image = read_grey(case["source"])
        stretched = F.interpolate(heat[None, None], size=image.shape, mode="bilinear", align_corners=False)[0, 0]
        with atomic_path(self._path(case["case_id"])) as temporary:
            Image.fromarray(heat_overlay(image, stretched.clamp(0, 1))).save(temporary)  # rounding may exceed 1
