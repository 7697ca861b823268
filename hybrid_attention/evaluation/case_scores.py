"""Evaluation handler: scores per case, summary, curves over all pixels, and pictures."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import pandas as pd
import torch
from hybrid_attention.data.hashing import data_digest
from hybrid_attention.data.images import image_shape, pixel_proportions, pixel_spacing, read_grey, to_tissue
from hybrid_attention.data.masks import merged_mask, read_mask
from hybrid_attention.data.writing import prepare_output_folder
from hybrid_attention.engines.multi_task import CLASS_PROBABILITY
from hybrid_attention.engines.training_record import check_against_training, provenance
from hybrid_attention.engines.weights import holds_weights, weights_digest
from hybrid_attention.evaluation.metrics.classification import class_summary
from hybrid_attention.evaluation.metrics.roc_and_calibration import (
    DEFAULT_THRESHOLD,
    PixelCalibration,
    PixelRoc,
    thinned,
)
from hybrid_attention.evaluation.metrics.segmentation import (
    confusion_counts,
    lesion_detection,
    overlap_scores,
    surface_distances,
)
from hybrid_attention.evaluation.results import write_evaluation, write_pictures, write_table
from hybrid_attention.evaluation.summary import summarize
from hybrid_attention.prediction.result import by_class, class_columns
from hybrid_attention.transforms.chains import PROBABILITY
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.utils import CommonKeys
from torch.nn import functional as F

SCORE_SIZES = ("network", "original")

logger = logging.getLogger(__name__)


class Planes(NamedTuple):
    """Image, predicted and true mask, and lesion probability (or None) of a case, each (1, H, W)."""

    image: torch.Tensor
    prediction: torch.Tensor
    target: torch.Tensor
    probability: torch.Tensor | None


def image_and_truth(case: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image and ground truth of a case, given by the paths `image` and `label` (a list), each (1, H, W).

    For DICOM images, this is the tissue region; masks of the whole frame are cropped to it, as in training.
    """
    image = torch.as_tensor(read_grey(case["image"])).float()[None]
    masks = [to_tissue(read_mask(path), case["image"]) for path in case["label"]]
    return image, torch.as_tensor(merged_mask(masks)).float()[None] if masks else torch.zeros_like(image)


def at_original_size(case: Mapping[str, Any], probability: torch.Tensor, threshold: float) -> Planes:
    """Return image and ground truth of a case in the size of their files, and the prediction resized to it.

    The lesion probability, (1, H, W), is resized bilinearly before thresholding.
    """
    image, target = image_and_truth(case)
    enlarged = F.interpolate(probability[None].float(), size=image.shape[1:], mode="bilinear", align_corners=False)[0]
    return Planes(image, (enlarged >= threshold).float(), target, enlarged)


class CaseScores:
    """Score every case of an evaluation run, and write `per_case.csv`, `summary.json`, `summary.md` and pictures.

    For each case, the engine's output holds `image`, `pred` and `label` (masks, (1, H, W)). If it also holds
    `probability` (of lesion, (1, H, W)), the ROC and reliability curves of all pixels are written (`roc.csv`,
    `calibration.csv`). With `class_names`, the class is scored from `class_probability` ((classes,)).

    Overlap is computed in the network's input size, as in the papers, or in the size of the image files. Distances are
    in mm if all image files have a pixel spacing, else in pixels of the image file. The summary includes the record of
    the training, the configuration, the commit, and the hashes of data and weights. Weights are not scored on images
    that they were trained on, unless `part` says so. If the network does not have the weights of the file, as in
    federated learning, its training is unknown, and a warning is logged.

    Args:
        folder: output folder.
        cases: cases to evaluate, with `case_id`, `class`, `group`, `image`, `label` and `synthetic`.
        weights: file that the network's weights were loaded from.
        split: description of the split.
        part: part of the split: `test`, `validation` or `train`.
        settings: settings that must equal those of the training.
        class_names: names of the entries of `class_probability`.
        decision: flips, temperature and threshold of the masks.
        score_size: "network" for the network's input size, or "original" for the size of the image files, to compare
            networks with different input sizes. The probability is resized before the threshold of `decision`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        cases: Sequence[Mapping[str, Any]],
        weights: str | os.PathLike[str],
        split: str = "",
        part: str = "test",
        settings: Mapping[str, Any] | None = None,
        class_names: Sequence[str] | None = None,
        decision: Mapping[str, Any] | None = None,
        score_size: str = "network",
    ) -> None:
        if score_size not in SCORE_SIZES:
            raise ValueError(f"score_size must be one of {', '.join(SCORE_SIZES)}, got {score_size!r}")
        self.folder = Path(folder)
        self.cases = {case["case_id"]: case for case in cases}
        self.weights = weights
        self.split = split
        self.part = part
        self.settings = dict(settings or {})
        self.class_names = None if class_names is None else list(class_names)
        self.decision = None if decision is None else dict(decision)
        self.score_size = score_size

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.rows: list[dict[str, Any]] = []
        self.roc, self.calibration = PixelRoc(), PixelCalibration()
        cases = list(self.cases.values())
        self.known = holds_weights(cast(SupervisedEvaluator, engine).network, self.weights)
        self.training = check_against_training(self.weights, cases, self.settings, self.part) if self.known else None
        if not self.known:
            logger.warning("the network's weights are not those of %s: its training is unknown", self.weights)
        spacings = [pixel_spacing(case["image"]) for case in cases]
        self.distance_unit = "pixel" if None in spacings else "mm"
        prepare_output_folder(self.folder)

    def _score(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            case = self.cases[item["case_id"]]
            image, prediction, target, probability = self._planes(case, output)
            counts = confusion_counts(prediction, target)
            distances = surface_distances(prediction, target, self._pixel_size(case, prediction))
            row = {
                "case_id": case["case_id"],
                "dataset": case.get("dataset", ""),
                "class": case["class"],
                "group": case["group"],
                **{name: round(value, 6) for name, value in {**overlap_scores(counts), **distances}.items()},
                **lesion_detection(prediction, target),
                **counts,
            }
            if probability is not None:
                self.roc.update(probability, target)
                self.calibration.update(probability, target)
            if self.class_names is not None:
                row.update(class_columns(by_class(self.class_names, output[CLASS_PROBABILITY])))
            self.rows.append(row)
            shown = None if probability is None else probability[0]
            write_pictures(self.folder, case["case_id"], image[0], prediction[0], target[0], shown)

    def _planes(self, case: Mapping[str, Any], output: Mapping[str, Any]) -> Planes:
        probability = output[PROBABILITY].cpu().float() if PROBABILITY in output else None
        if self.score_size == "network":
            image, mask, target = (output[key].cpu() for key in (CommonKeys.IMAGE, CommonKeys.PRED, CommonKeys.LABEL))
            return Planes(image, mask, target, probability)
        if probability is None:
            raise ValueError("score_size 'original' needs probability in the engine's output")
        return at_original_size(case, probability, float((self.decision or {}).get("threshold", DEFAULT_THRESHOLD)))

    def _pixel_size(self, case: Mapping[str, Any], mask: torch.Tensor) -> tuple[float, ...]:
        """Return the size of a scored pixel along (H, W), in the unit of the distances."""
        spacing = (pixel_spacing if self.distance_unit == "mm" else pixel_proportions)(case["image"])
        sizes = image_shape(case["image"])
        return tuple(
            own / scored * one for own, scored, one in zip(sizes, mask.shape[1:], spacing or (1.0, 1.0), strict=True)
        )

    def _finish(self, engine: Engine) -> None:
        synthetic = any(case.get("synthetic", False) for case in self.cases.values())
        scored = pd.DataFrame(self.rows)
        summary = {
            "synthetic_data": synthetic,
            "split": self.split,
            "part": self.part,
            "settings": self.settings,
            "decision": self.decision,
            "score_size": self.score_size,
            **summarize(scored),
            "distance_unit": self.distance_unit,
            **self._pixel_summary(),
            "classification": class_summary(scored),
            "data_sha256": data_digest(list(self.cases.values())),
            "weights_sha256": weights_digest(self.weights) if self.known else None,
            "training": self.training,
            "provenance": provenance(),
        }
        table = write_evaluation(self.folder, scored, summary)
        logger.info("%s\nper-case scores, summary and pictures: %s", table, self.folder)

    def _pixel_summary(self) -> dict[str, Any]:
        if self.roc.pixels == 0:
            return {"pixel_roc": None, "calibration": None}
        auc = self.roc.auc()
        (self.folder / "roc.csv").unlink(missing_ok=True)
        if not math.isnan(auc):
            write_table(self.folder / "roc.csv", thinned(self.roc.curve()).round(6))
        write_table(self.folder / "calibration.csv", self.calibration.curve())
        return {
            "pixel_roc": {"auc": auc, "error_bound": self.roc.error_bound(), "pixels": self.roc.pixels},
            "calibration": {"ece": self.calibration.expected_error(), "bins": len(self.calibration.pixels)},
        }
