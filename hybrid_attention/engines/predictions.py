"""Masks and overlays of an inference run, in the size of the images."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hybrid_attention.data.dicom import to_full_frame, to_tissue
from hybrid_attention.data.files import atomic_path, prepare_output_folder, write_csv, write_json
from hybrid_attention.data.folder import PREDICTIONS, result_path
from hybrid_attention.data.masks import find_masks, merged_mask, read_mask
from hybrid_attention.data.nifti import is_nifti, write_nifti
from hybrid_attention.data.reading import pixel_proportions, pixel_spacing, read_grey
from hybrid_attention.engines.multi_task import CLASS_PROBABILITY
from hybrid_attention.transforms import ExpectedDice, MeasureLesion, Overlay
from ignite.engine import Engine, Events
from PIL import Image

PROBABILITY = "probability"
PROBABILITY_PREFIX = "probability_"
WRITERS = 2  # threads that write pictures
BEHIND = 8  # images that may be queued for them
COMPRESSION = 1  # of PNG: four times as fast as the default, files a few percent larger

logger = logging.getLogger(__name__)


class SavePredictions:
    """Write a mask and an overlay for each image of an inference run, and a table of all.

    An image `a/b.png` gives `a/b_mask.png` (0 and 255, in the size of the image) and `a/b_overlay.png`; a NIfTI image
    gives `a/b_mask.nii.gz` (0 and 1, stored like the image); a frame `a/b.dcm#3` gives `a/b#3_mask.png`. For DICOM
    the network sees only the tissue: the mask and the maps below have the size of the whole frame, overlay and measures
    are of the tissue. The overlay shows errors in colour if there is a ground-truth mask beside the image, else an
    outline.

    With `probability_key` the probability of lesion goes to `a/b_probability.png` (0 to 255 for 0 to 1) or
    `a/b_probability.nii.gz` (float32); with `uncertainty_key` the uncertainty to `a/b_uncertainty.png` (0 to 255 for 0
    to 1 bit) or `a/b_uncertainty.nii.gz`. `predictions.csv` lists the images with the measures of the lesion
    (`prediction_row`), and `expected_dice` (`ExpectedDice`) if the output has a probability; `predictions.json` is the
    same with typed values. Files appear by rename.

    Args:
        folder: folder of the files; subfolders of the images are kept.
        key: key of the mask in the engine's output: (H, W) or (1, H, W), 0 and 1, in the size of the image.
        probability_key: key of the probability, of the same shape; None writes no probabilities, and uses those under
            `probability` for `expected_dice`.
        uncertainty_key: key of the entropy in bits, of the same shape; None writes none.
        class_names: names of the entries of the output's `class_probability`, (classes,); None for a network without
            class head.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        key: str = "pred",
        probability_key: str | None = None,
        class_names: Sequence[str] | None = None,
        uncertainty_key: str | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.key = key
        self.probability_key = probability_key
        self.uncertainty_key = uncertainty_key
        self.class_names = None if class_names is None else list(class_names)
        self.overlay = Overlay()
        self.rows: list[dict[str, Any]] = []
        self.writers = ThreadPoolExecutor(WRITERS)
        self.pending: deque[Future[dict[str, Any]]] = deque()

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._save)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.rows = []
        self.pending.clear()
        prepare_output_folder(self.folder)

    def _save(self, engine: Engine) -> None:
        for case, output in zip(engine.state.batch, engine.state.output, strict=True):
            # written while the network runs on the next images, at most a few behind it
            self.pending.append(self.writers.submit(self._save_output, case["case_id"], case["source"], output))
            if len(self.pending) > BEHIND:
                self.rows.append(self.pending.popleft().result())

    def _save_output(self, case_id: str, source: str, output: Mapping[str, Any]) -> dict[str, Any]:
        mask = plane(output[self.key]).astype(np.uint8)
        classes = None if self.class_names is None else output[CLASS_PROBABILITY]
        known = output.get(self.probability_key or PROBABILITY)
        row = self._save_case(case_id, source, mask, classes, None if known is None else plane(known))
        for what, key in (("probability", self.probability_key), ("uncertainty", self.uncertainty_key)):
            if key is not None:
                self._save_map(case_id, source, what, plane(output[key]))
        return row

    def _save_map(self, case_id: str, source: str, what: str, fraction: np.ndarray) -> None:
        with atomic_path(self._path(case_id, source, what), durable=False) as temporary:
            if is_nifti(source):
                write_nifti(fraction.astype(np.float32), source, temporary)
            else:
                whole = to_full_frame(fraction, source)
                Image.fromarray((whole * 255).round().astype(np.uint8)).save(temporary, compress_level=COMPRESSION)

    def _path(self, case_id: str, source: str, what: str) -> Path:
        return result_path(self.folder, case_id, what, ".nii.gz" if is_nifti(source) else ".png")

    def _save_case(
        self, case_id: str, source: str, mask: np.ndarray, class_probability: Any, probability: np.ndarray | None
    ) -> dict[str, Any]:
        image = read_grey(source)
        if mask.shape != image.shape:
            raise ValueError(f"{source}: the mask of shape {mask.shape} does not fit the image of {image.shape}")
        mask_path = self._path(case_id, source, "mask")
        with atomic_path(mask_path, durable=False) as temporary:
            if is_nifti(source):
                write_nifti(mask, source, temporary)
            else:
                Image.fromarray(to_full_frame(mask, source) * np.uint8(255)).save(temporary)
        truth = [to_tissue(read_mask(path), source) for path in find_masks(source)]
        overlay_path = result_path(self.folder, case_id, "overlay")
        with atomic_path(overlay_path, durable=False) as temporary:
            picture = self.overlay(image, mask, merged_mask(truth) if truth else None)
            Image.fromarray(picture).save(temporary, compress_level=COMPRESSION)
        spacing = pixel_spacing(source)
        row = prediction_row(
            mask,
            spacing or pixel_proportions(source),
            self.class_names,
            class_probability,
            probability,
            unit="mm" if spacing else "pixel",
        )
        return {
            "case_id": case_id,
            "mask": mask_path.relative_to(self.folder).as_posix(),
            "overlay": overlay_path.relative_to(self.folder).as_posix(),
            **row,
        }

    def _finish(self, engine: Engine) -> None:
        while self.pending:
            self.rows.append(self.pending.popleft().result())
        if self.rows:
            write_csv(self.folder / PREDICTIONS, self.rows, list(self.rows[0]))
            write_json(self.folder / "predictions.json", self.rows)
        found = sum(row["lesion_pixels"] > 0 for row in self.rows)
        logger.info("%d masks and overlays in %s; a lesion was predicted in %d", len(self.rows), self.folder, found)


def prediction_row(
    mask: np.ndarray,
    spacing: Sequence[float] | None = None,
    class_names: Sequence[str] | None = None,
    class_probability: Any = None,
    probability: np.ndarray | None = None,
    unit: str = "mm",
) -> dict[str, Any]:
    """Describe a prediction by plain values: size of the image, measures of the lesion, expected Dice, class.

    Args:
        mask: (H, W), 0 and 1, in the size of the image.
        spacing: height and width of a pixel in `unit`, or None if unknown.
        class_names: names of the classes, or None.
        class_probability: (classes,), in their order.
        probability: of lesion, (H, W), or None if unknown.
        unit: of the spacing; see `MeasureLesion`.

    Returns:
        `width` and `height` of the image, `lesion_pixels`, `lesion_area_fraction`, the measures of `MeasureLesion`,
        with a probability `expected_dice` (`ExpectedDice`; 0 if no lesion is predicted), and with classes the columns
        of `class_columns`. Undefined values are None.

    Raises:
        ValueError: probabilities and names differ in number, or mask, spacing or probability are invalid.
    """
    classes = {} if class_names is None else class_columns(class_names, class_probability)
    worth = {} if probability is None else {"expected_dice": round(ExpectedDice()(probability, mask), 6)}
    return {
        "width": mask.shape[1],
        "height": mask.shape[0],
        "lesion_pixels": int(mask.sum()),
        "lesion_area_fraction": round(float(mask.mean()), 6),
        **MeasureLesion()(mask, spacing, unit),
        **worth,
        **classes,
    }


def class_columns(names: Sequence[str], probabilities: Any) -> dict[str, Any]:
    """Return the columns of a case.

    Args:
        names: of the classes.
        probabilities: (classes,), in their order.

    Returns:
        `predicted_class`, the most probable one, and `probability_<class>` with six digits.

    Raises:
        ValueError: probabilities and names differ in number.
    """
    values = [round(float(value), 6) for value in probabilities]
    if len(values) != len(names):
        raise ValueError(f"the network gives {len(values)} class probabilities for the classes {', '.join(names)}")
    best = max(range(len(values)), key=values.__getitem__)
    columns = {PROBABILITY_PREFIX + name: value for name, value in zip(names, values, strict=True)}
    return {"predicted_class": names[best], **columns}


def plane(array: Any) -> np.ndarray:
    """Return one plane of an engine's output as an array, (H, W) or (1, H, W) -> (H, W)."""
    values = np.asarray(array.cpu() if isinstance(array, torch.Tensor) else array)
    return values[0] if values.ndim == 3 else values
