"""One picture for each image of an inference run: image, predicted mask, processed mask, Grad-CAM."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from hybrid_attention.data.files import atomic_path, prepare_output_folder
from hybrid_attention.data.folder import result_path
from hybrid_attention.data.reading import read_grey
from hybrid_attention.engines.predictions import plane
from hybrid_attention.explain.grad_cam import grad_cam
from hybrid_attention.explain.heat_overlay import colour_table
from hybrid_attention.explain.layers import layer_name
from hybrid_attention.explain.panels import draw_panels
from hybrid_attention.explain.scores import NothingMarkedError, Output
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from PIL import Image
from torch import nn

logger = logging.getLogger(__name__)


class SavePanels:
    """Write a row of four panels for each image of an inference run; see `draw_panels`.

    An image `a/b.png` or `a/b.nii.gz` gives `a/b_panels.png`. Its panels have the image's own size. The image must have
    been resized as a whole for the network, as the bundles here do: the heat is stretched back. The heat explains what
    the network itself marks, at a probability of one half and before the mask is processed. The network runs once more
    for it, in float32.

    Args:
        folder: where the files go; subfolders of the images are kept.
        network: the network that the engine runs, in its eager form.
        layer: the layer to look at; None for `network.gradcam_layer`.
        output: which part of the network's output is explained; see `grad_cam`.
        key: key of the processed mask in the engine's output: (W, H) or (1, W, H), at the image's own size.
        probability_key: key of the probability of lesion, of the same shape.

    Raises:
        ValueError: the network has no such layer.
        ImportError: (when the run starts) matplotlib is missing.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        network: nn.Module,
        layer: str | None = None,
        output: Output = None,
        key: str = CommonKeys.PRED,
        probability_key: str = "probability",
    ) -> None:
        self.folder = Path(folder)
        self.network = network
        self.layer = layer_name(network, layer)
        self.output = output
        self.key = key
        self.probability_key = probability_key
        self.written = 0

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose output holds `image` as the network took it, for each case.

        Args:
            engine: the evaluator.
        """
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.written = 0
        prepare_output_folder(self.folder)
        colour_table()

    def _draw(self, engine: Engine) -> None:
        for case, result in zip(engine.state.batch, engine.state.output, strict=True):
            image = read_grey(case["source"])
            heat = self._heat(result[CommonKeys.IMAGE], image.shape)
            picture = draw_panels(image, plane(result[self.probability_key]), plane(result[self.key]), heat)
            with atomic_path(result_path(self.folder, case["case_id"], "panels")) as temporary:
                Image.fromarray(picture).save(temporary)
            self.written += 1

    def _heat(self, image: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor | None:
        """Return the heat at the size of the image file, (W, H), or None where the network marks nothing."""
        device = next(self.network.parameters()).device
        try:
            heat = grad_cam(self.network, image[None].to(device), self.layer, output=self.output)
        except NothingMarkedError:
            return None
        stretched = F.interpolate(heat, size=size, mode="bilinear", align_corners=False)[0, 0]
        return stretched.clamp(0, 1).cpu()  # rounding may exceed 1

    def _finish(self, engine: Engine) -> None:
        logger.info("%d pictures of four panels in %s; Grad-CAM of layer %s", self.written, self.folder, self.layer)
