"""Handlers that write Grad-CAM and attention maps of evaluations and inferences, and the handlers of an evaluation."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hybrid_attention.data.images import read_grey
from hybrid_attention.data.names import result_path
from hybrid_attention.data.splits import Split
from hybrid_attention.data.writing import atomic_path, prepare_output_folder, write_csv, write_json
from hybrid_attention.engines.multi_task import plane
from hybrid_attention.evaluation import CaseScores
from hybrid_attention.evaluation.results import LEFT_OUT, picture_path, write_picture
from hybrid_attention.explain.attention_maps import attention_blocks, attention_maps, attention_numbers
from hybrid_attention.explain.grad_cam import EmptyMaskError, Output, grad_cam, layer_name
from hybrid_attention.explain.pictures import draw_attention, draw_panels, heat_overlay
from hybrid_attention.networks.multi_task import lesion_logit
from hybrid_attention.transforms.chains import PROBABILITY
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from PIL import Image
from torch import nn

# parts of the output of a network that segments and classifies
EXPLAINED: dict[str, Output] = {"mask": lesion_logit, "class": "class_logits"}

logger = logging.getLogger(__name__)


class SaveGradCAM:
    """Write the heat map of each image of an evaluation to `FOLDER/gradcam/CASE.png`, for reports.

    The pictures are 8-bit grey, 0 to 255 for heat 0 to 1, in the network's input size. They explain the predicted mask
    or, depending on `output`, the predicted class. The network runs once more per image, in float32, so its mask can
    differ by a few pixels from one predicted at lower precision.

    Images in which the network predicts no lesion have no heat map, even if test-time augmentation or another threshold
    yields one. They are listed in `FOLDER/gradcam/left_out.json` and counted in the log; pictures of an earlier run are
    removed. `network`, `layer` and `output` are as in `grad_cam`.
    """

    def __init__(
        self, folder: str | os.PathLike[str], network: nn.Module, layer: str | None = None, output: Output = None
    ) -> None:
        self.folder = Path(folder)
        self.network = network
        self.layer = layer_name(network, layer)
        self.output = output

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose output has the network's input as `image`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._explain)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.written = 0
        self.skipped: list[str] = []
        prepare_output_folder(self.folder)

    def _explain(self, engine: Engine) -> None:
        device = next(self.network.parameters()).device
        for case, result in zip(engine.state.batch, engine.state.output, strict=True):
            image = result[CommonKeys.IMAGE][None].to(device)
            try:
                heat = grad_cam(self.network, image, self.layer, output=self.output)[0].cpu()
                self.written += 1
            except EmptyMaskError:
                self.skipped.append(case["case_id"])
                heat = None
            self._write(case, result, heat)

    def _write(self, case: Mapping[str, Any], result: Mapping[str, Any], heat: torch.Tensor | None) -> None:
        if heat is None:
            picture_path(self.folder, "gradcam", case["case_id"]).unlink(missing_ok=True)
        else:
            write_picture(self.folder, "gradcam", case["case_id"], (heat[0].numpy() * 255).round().astype(np.uint8))

    def _finish(self, engine: Engine) -> None:
        write_json(self.folder / "gradcam" / LEFT_OUT, self.skipped)
        self._log()

    def _log(self) -> None:
        logger.info("%d Grad-CAM maps of layer %s in %s", self.written, self.layer, self.folder)
        if self.skipped:
            logger.info("no Grad-CAM for %d images with an empty mask; first: %s", len(self.skipped), self.skipped[0])


class SaveGradCAMOverlays(SaveGradCAM):
    """Write the heat map over each image of an inference run, in colour with a colour bar.

    An image `a/b.png` or `a/b.nii.gz` gives `a/b_gradcam.png` in the image's own size, plus the bar. The image must
    have been resized as a whole for the network, as in the bundles. Images in which the network predicts no lesion are
    skipped; pictures of an earlier run are removed.
    """

    kind = "gradcam"

    def _draw(self, image: np.ndarray, result: Mapping[str, Any], heat: torch.Tensor | None) -> np.ndarray | None:
        return None if heat is None else heat_overlay(image, heat)

    def _write(self, case: Mapping[str, Any], result: Mapping[str, Any], heat: torch.Tensor | None) -> None:
        image = read_grey(case["source"])
        if heat is not None:
            heat = at_size(heat, image.shape).clamp(0, 1)  # rounding may exceed 1
        path, picture = result_path(self.folder, case["case_id"], self.kind), self._draw(image, result, heat)
        if picture is None:
            path.unlink(missing_ok=True)
            return
        with atomic_path(path) as temporary:
            Image.fromarray(picture).save(temporary)

    def _finish(self, engine: Engine) -> None:
        self._log()


class SavePanels(SaveGradCAMOverlays):
    """Write a row of four panels for each image of an inference run; see `draw_panels`.

    An image `a/b.png` or `a/b.nii.gz` gives `a/b_panels.png`, with panels in the image's own size. The heat map
    explains the network's own mask, at a probability of 0.5 and before postprocessing. The engine's output holds the
    processed mask as `pred` and the lesion probability as `probability`, (H, W) or (1, H, W), in the image's own size.
    """

    kind = "panels"

    def _draw(self, image: np.ndarray, result: Mapping[str, Any], heat: torch.Tensor | None) -> np.ndarray:
        return draw_panels(image, plane(result[PROBABILITY]), plane(result[CommonKeys.PRED]), heat)


class SaveAttentionNumbers:
    """Write how narrow the attention of each block is and how much of it is on the true lesion to `attention.csv`.

    One row per image and map, with the columns of `attention_numbers`. Since lesions are mostly near the middle, a map
    that ignores the image may cover them, too: `coverage_of_others` and `lift_of_others` are those of the mean map of
    all other images on the same lesion. The network must not be scripted.
    """

    def __init__(self, folder: str | os.PathLike[str], network: nn.Module) -> None:
        attention_blocks(network)
        self.folder = Path(folder)
        self.network = network
        self._start()

    def _start(self, engine: Engine | None = None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.masks: dict[str, torch.Tensor] = {}
        self.sums: dict[str, torch.Tensor] = {}  # of the shares of attention over all images

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose output has the network's input as `image` and the true mask as `label`."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._measure)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _measure(self, engine: Engine) -> None:
        for case, result in zip(engine.state.batch, engine.state.output, strict=True):
            mask = self.masks[case["case_id"]] = result[CommonKeys.LABEL].cpu() > 0.5
            for name, attention in _maps_of(self.network, result).items():
                positions = attention.dim() > 1
                numbers = attention_numbers(attention, mask if positions else None)
                self.rows.append({"case_id": case["case_id"], "map": name, **numbers})
                if positions:
                    shares = (attention.double() / attention.sum()).nan_to_num()
                    self.sums[name] = self.sums.get(name, torch.zeros_like(shares)) + shares

    def _finish(self, engine: Engine) -> None:
        others = len(self.masks) - 1
        for row in self.rows:
            mask, covered = self.masks[row["case_id"]], math.nan
            if others and not math.isnan(row["coverage"]):
                covered = (float(self.sums[row["map"]][mask].sum()) - row["coverage"]) / others
            row |= {
                "coverage_of_others": covered,
                "lift_of_others": covered / (float(mask.double().mean()) or math.nan),
            }
        rounded = [
            {key: round(one, 4) if isinstance(one, float) else one for key, one in row.items()} for row in self.rows
        ]
        write_csv(self.folder / "attention.csv", rounded, list(rounded[0]))


class SaveAttention:
    """Write the attention maps of each image of an inference run in one picture; see `draw_attention`.

    An image `a/b.png` or `a/b.nii.gz` gives `a/b_attention.png`, with panels in the image's own size. The network must
    not be scripted.
    """

    def __init__(self, folder: str | os.PathLike[str], network: nn.Module) -> None:
        attention_blocks(network)
        self.folder = Path(folder)
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator whose output has the network's input as `image`."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)

    def _write(self, engine: Engine) -> None:
        for case, result in zip(engine.state.batch, engine.state.output, strict=True):
            image = read_grey(case["source"])
            maps = {
                name: attention if attention.dim() == 1 else at_size(attention, image.shape)
                for name, attention in _maps_of(self.network, result).items()
            }
            with atomic_path(result_path(self.folder, case["case_id"], "attention")) as temporary:
                Image.fromarray(draw_attention(image, maps)).save(temporary)


def _maps_of(network: nn.Module, result: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the attention maps of one image: (1, H, W) or (channels,)."""
    image = result[CommonKeys.IMAGE][None].to(next(network.parameters()).device)
    return {name: attention[0].cpu() for name, attention in attention_maps(network, image).items()}


def at_size(plane: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Interpolate a plane, (1, H, W), linearly to another size, (H, W)."""
    return F.interpolate(plane[None], size=tuple(size), mode="bilinear", align_corners=False)[0, 0]


def evaluation_handlers(
    folder: str,
    split: Split,
    part: str,
    weights: str,
    score_size: str,
    settings: Mapping[str, Any],
    decision: Mapping[str, Any],
    gradcam_network: nn.Module | None = None,
    layer: str | None = None,
    explained: str | None = None,
    class_names: Sequence[str] | None = None,
    attention_network: nn.Module | None = None,
) -> list[Any]:
    """Return the handlers that score a part of a split and, for the networks given, write what explains them.

    `gradcam_network`, `layer` and `explained` ("mask" or "class" if the network predicts both) are for `SaveGradCAM`,
    `attention_network` for `SaveAttentionNumbers`, the others for `CaseScores`.
    """
    cases = split.part(part)
    scores = CaseScores(folder, cases, weights, split.rule, part, settings, class_names, decision, score_size)
    heat = [] if gradcam_network is None else [SaveGradCAM(folder, gradcam_network, layer, output_explained(explained))]
    attention = [] if attention_network is None else [SaveAttentionNumbers(folder, attention_network)]
    return [scores, *heat, *attention]


def output_explained(name: str | None) -> Output:
    """Return the part of a network's output for "mask" or "class"; None, the whole output, for None."""
    if name is not None and name not in EXPLAINED:
        raise ValueError(f"Grad-CAM explains {' or '.join(EXPLAINED)}, got {name!r}")
    return None if name is None else EXPLAINED[name]
