"""Handlers of an inference, as the configs of all bundles ask for them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hybrid_attention.data.dicom import is_dicom, split_frame, to_full_frame
from hybrid_attention.data.files import prepare_output_folder
from hybrid_attention.data.folder import result_path
from hybrid_attention.deploy.dicom_seg import require_highdicom, write_dicom_segmentation
from hybrid_attention.deploy.dicom_sr import write_dicom_report
from hybrid_attention.engines.multi_task import CLASS_PROBABILITY
from hybrid_attention.engines.predictions import SavePredictions, plane
from hybrid_attention.engines.weight_files import weights_digest
from hybrid_attention.explain import SaveAttention, SaveGradCAMOverlays, SavePanels
from hybrid_attention.explain.handlers import output_explained
from hybrid_attention.prediction.result import by_class
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch import nn

logger = logging.getLogger(__name__)


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
    """Return the handlers that write masks and overlays of an inference, and what else is asked for.

    Args:
        folder: where the files go.
        network: what Grad-CAM and attention maps explain, in its eager form.
        probability: a picture per image of the probability of lesion; see `SavePredictions`.
        uncertainty: a picture per image of the entropy; see `SavePredictions`.
        dicom_seg: a DICOM segmentation per DICOM file with a lesion; see `SaveDicom`.
        dicom_sr: also a structured report per segmentation, which is then written in any case.
        pdf: weight file of the network, which the pages of `predictions.pdf` name; None for no PDF.
        gradcam: see `SaveGradCAMOverlays`.
        panels: see `SavePanels`.
        layer: see `SaveGradCAMOverlays`.
        explained: "mask" or "class" where the network gives both; None where its output is the mask's logit.
        class_names: see `SavePredictions`.
        attention: see `SaveAttention`.

    Raises:
        ValueError: `explained` is neither, or the network has no such layer or no attention.
    """
    output = output_explained(explained)
    return [
        SavePredictions(
            folder,
            probability=probability,
            uncertainty_key="uncertainty" if uncertainty else None,
            class_names=class_names,
            pdf=None if pdf is None else model_name(type(network).__name__, pdf),
        ),
        *([SaveDicom(folder, report=dicom_sr, class_names=class_names)] if dicom_seg or dicom_sr else []),
        *([SaveGradCAMOverlays(folder, network, layer, output)] if gradcam else []),
        *([SavePanels(folder, network, layer, output)] if panels else []),
        *([SaveAttention(folder, network)] if attention else []),
    ]


def model_name(name: str, weights: str | os.PathLike[str]) -> str:
    """Return what reports call a network or bundle with its weights."""
    return f"{name}, weights {Path(weights).name} {weights_digest(weights)[:12]}"


class SaveDicom:
    """Write a DICOM segmentation, and a report, for each DICOM file of an inference run.

    An image `a/b.dcm` gives `a/b_segmentation.dcm`, with all of its segmented frames that have a lesion, see
    `dicom_segmentation`, and `a/b_report.dcm`, which refers to it, see `dicom_report`. No file is written where no
    lesion is predicted, nor for images of other formats; the log counts both. Frames of a file must follow each other,
    as `image_datalist` has them. Files appear by rename.

    Args:
        folder: where the files go; subfolders of the images are kept.
        key: key of the mask in the engine's output: (H, W) or (1, H, W), 0 and 1, of the size of the tissue.
        report: also write reports.
        class_names: names of the entries of the output's `class_probability`, for the reports; None for a network
            without class head.

    Raises:
        ImportError: (when the run starts) highdicom is missing.
        ValueError: (during the run) two files would give one segmentation, or frames of a file are not consecutive.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        key: str = CommonKeys.PRED,
        report: bool = False,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.key = key
        self.report = report
        self.class_names = class_names
        self._reset()

    def _reset(self) -> None:
        self.without_lesion = self.others = 0
        self.written: set[Path] = set()
        self._file: Path | None = None
        self._case = ""
        self._masks: dict[int, np.ndarray] = {}
        self._classes: dict[int, dict[str, float]] = {}

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator.

        Args:
            engine: the evaluator of an inference run.
        """
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self._reset()
        require_highdicom()
        logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells of every module that it copies
        prepare_output_folder(self.folder)

    def _collect(self, engine: Engine) -> None:
        for case, output in zip(engine.state.batch, engine.state.output, strict=True):
            source = case["source"]
            if not is_dicom(source):
                self.others += 1
                continue
            file, number = split_frame(source)
            if file != self._file:
                self._write()
                case_id = case["case_id"] if number is None else case["case_id"].rpartition("#")[0]
                self._file, self._case = file, case_id
            self._masks[number or 1] = to_full_frame(plane(output[self.key]).astype(np.uint8), source)
            if self.class_names is not None:
                self._classes[number or 1] = by_class(self.class_names, output[CLASS_PROBABILITY])

    def _write(self) -> None:
        if self._file is None:
            return
        target = result_path(self.folder, self._case, "segmentation", ".dcm")
        if any(mask.any() for mask in self._masks.values()):
            if target in self.written:
                raise ValueError(
                    f"the segmentation of {self._file} would overwrite {target} of this run: rename the "
                    "file, and keep the frames of a file together"
                )
            made = write_dicom_segmentation(target, self._file, self._masks)
            if self.report:
                report = result_path(self.folder, self._case, "report", ".dcm")
                write_dicom_report(report, self._file, made, self._masks, self._classes)
            self.written.add(target)
        else:
            self.without_lesion += 1
        self._file, self._masks, self._classes = None, {}, {}

    def _finish(self, engine: Engine) -> None:
        self._write()
        logger.info(
            "%d DICOM segmentations%s in %s; none for %d DICOM files without a lesion and %d images of other formats",
            len(self.written),
            " and reports" if self.report else "",
            self.folder,
            self.without_lesion,
            self.others,
        )
