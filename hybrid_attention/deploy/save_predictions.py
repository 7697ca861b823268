"""What an inference run writes: masks, overlays, a table, DICOM, and pictures that explain the network."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hybrid_attention.data.images import read_image, to_full_frame
from hybrid_attention.data.names import is_dicom, result_path, split_frame
from hybrid_attention.data.writing import prepare_output_folder
from hybrid_attention.deploy.dicom_seg import require_highdicom, write_dicom_segmentation
from hybrid_attention.deploy.dicom_sr import write_dicom_report
from hybrid_attention.engines.multi_task import CLASS_PROBABILITY, plane
from hybrid_attention.engines.weights import weights_digest
from hybrid_attention.explain import SaveAttention, SaveGradCAMOverlays, SavePanels
from hybrid_attention.explain.handlers import output_explained
from hybrid_attention.prediction.predict_folder import ResultWriter
from hybrid_attention.prediction.result import Result, by_class
from hybrid_attention.transforms.chains import PROBABILITY
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
    """Return the handlers of an inference run, as the configs of all bundles ask for them.

    Args:
        folder: folder of the files.
        network: the network that Grad-CAM and attention maps explain, in its eager form.
        probability: write a probability map per image; see `SavePredictions`.
        uncertainty: write an entropy map per image; see `SavePredictions`.
        dicom_seg: write a DICOM segmentation for each DICOM file with a lesion; see `SaveDicom`.
        dicom_sr: write these and structured reports.
        pdf: weight file of the network, which is named on the pages of `predictions.pdf`; None for no PDF.
        gradcam: see `SaveGradCAMOverlays`.
        panels: see `SavePanels`.
        layer: see `SaveGradCAMOverlays`.
        explained: "mask" or "class" if the network predicts both; None if its output is the logit of the mask.
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
        *([SaveDicom(folder, dicom_sr, class_names)] if dicom_seg or dicom_sr else []),
        *([SaveGradCAMOverlays(folder, network, layer, output)] if gradcam else []),
        *([SavePanels(folder, network, layer, output)] if panels else []),
        *([SaveAttention(folder, network)] if attention else []),
    ]


def model_name(name: str, weights: str | os.PathLike[str]) -> str:
    """Return what reports call a network or bundle with its weights."""
    return f"{name}, weights {Path(weights).name} {weights_digest(weights)[:12]}"


class SavePredictions:
    """Write a mask and an overlay per image of an inference run, and a table of all images.

    See `Result.save` for the files and `Result.row` for the columns of `predictions.csv` and `predictions.json`. The
    overlay shows errors in colour if there is a ground-truth mask beside the image, else an outline.

    Args:
        folder: folder of the files; subfolders of the images are kept.
        probability: also write maps of the probability.
        class_names: names of the entries of the output's `class_probability`, (classes,); None for a network without
            class head.
        uncertainty_key: key of a map from 0 to 1 to write, of the shape of the mask; None for none.
        pdf: see `ResultWriter`.

    Shape:
        - output of the engine: `pred`, 0 and 1, and `probability` of lesion, (H, W) or (1, H, W) in the size of the
          image
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        probability: bool = False,
        class_names: Sequence[str] | None = None,
        uncertainty_key: str | None = None,
        pdf: str | None = None,
    ) -> None:
        self.folder = folder
        self.probability = probability
        self.class_names = class_names
        self.uncertainty_key = uncertainty_key
        self.pdf = pdf
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._save)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self._writer = ResultWriter(self.folder, self.pdf)

    def _save(self, engine: Engine) -> None:
        for case, output in zip(engine.state.batch, engine.state.output, strict=True):
            uncertainty = None if self.uncertainty_key is None else plane(output[self.uncertainty_key])
            result = self._result(case["source"], output)
            self._writer.add(case["case_id"], result, probability=self.probability, uncertainty=uncertainty)

    def _result(self, source: str, output: Mapping[str, Any]) -> Result:
        image, mask = read_image(source), plane(output[CommonKeys.PRED]) > 0.5
        if mask.shape != image.pixels.shape:
            raise ValueError(f"{source}: the mask of shape {mask.shape} does not fit the image of {image.pixels.shape}")
        classes = {} if self.class_names is None else by_class(self.class_names, output[CLASS_PROBABILITY])
        return Result(image, mask, plane(output[PROBABILITY]).astype(np.float32), classes)

    def _finish(self, engine: Engine) -> None:
        self._writer.close()
        self.rows = self._writer.rows


class SaveDicom:
    """Write a DICOM segmentation, and a report, for each DICOM file of an inference run.

    An image `a/b.dcm` gives `a/b_segmentation.dcm` with all frames that have a lesion, see `dicom_segmentation`, and
    `a/b_report.dcm`, see `dicom_report`. Files without lesion and images of other formats are counted in the log.
    Frames of a file must follow each other, as in `image_datalist`.

    Args:
        folder: folder of the files; subfolders of the images are kept.
        report: also write reports.
        class_names: names of the entries of the output's `class_probability`, for the reports; None for a network
            without class head.

    Shape:
        - output of the engine: `pred`, 0 and 1, (H, W) or (1, H, W) in the size of the tissue

    Raises:
        ImportError: (when the run starts) highdicom is not installed.
        ValueError: (during the run) two files would give one segmentation, or frames of a file are not consecutive.
    """

    def __init__(
        self, folder: str | os.PathLike[str], report: bool = False, class_names: Sequence[str] | None = None
    ) -> None:
        self.folder = Path(folder)
        self.report = report
        self.class_names = class_names

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.without_lesion = self.others = 0
        self.written: set[Path] = set()
        self._next_file(None)
        require_highdicom()
        logging.getLogger("highdicom").setLevel(logging.WARNING)  # it logs each module that it copies
        prepare_output_folder(self.folder)

    def _next_file(self, file: Path | None, case: str = "") -> None:
        self._file, self._case = file, case
        self._masks: dict[int, np.ndarray] = {}
        self._classes: dict[int, dict[str, float]] = {}

    def _collect(self, engine: Engine) -> None:
        for case, output in zip(engine.state.batch, engine.state.output, strict=True):
            source = case["source"]
            if not is_dicom(source):
                self.others += 1
                continue
            file, number = split_frame(source)
            if file != self._file:
                self._write()
                self._next_file(file, case["case_id"] if number is None else case["case_id"].rpartition("#")[0])
            mask = plane(output[CommonKeys.PRED]).astype(np.uint8)
            self._masks[number or 1] = to_full_frame(mask, source)
            if self.class_names is not None:
                self._classes[number or 1] = by_class(self.class_names, output[CLASS_PROBABILITY])

    def _write(self) -> None:
        if self._file is None:
            return
        if not any(mask.any() for mask in self._masks.values()):
            self.without_lesion += 1
            return
        target = result_path(self.folder, self._case, "segmentation", ".dcm")
        if target in self.written:
            raise ValueError(
                f"the segmentation of {self._file} would overwrite {target} of this run: rename the file, and keep the "
                "frames of a file together"
            )
        made = write_dicom_segmentation(target, self._file, self._masks)
        if self.report:
            report = result_path(self.folder, self._case, "report", ".dcm")
            write_dicom_report(report, self._file, made, self._masks, self._classes)
        self.written.add(target)

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
