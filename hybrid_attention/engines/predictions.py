"""Masks and overlays of an inference run, at the size of the images."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from PIL import Image

from hybrid_attention.data.files import atomic_path, prepare_output_folder, write_csv
from hybrid_attention.data.folder import strip_suffix
from hybrid_attention.data.masks import find_masks, merged_mask
from hybrid_attention.data.reading import is_nifti, read_grey
from hybrid_attention.transforms import Overlay

logger = logging.getLogger(__name__)


class SavePredictions:
    """Write a mask and an overlay for each image of an inference run, and a table of all.

    An image `a/b.png` gives `a/b_mask.png` (0 and 255, at the image's own size) and `a/b_overlay.png`; a NIfTI image
    gives `a/b_mask.nii.gz` (0 and 1, with the affine of the image). `predictions.csv` lists them. Where truth lies
    beside the image the overlay shows right and wrong in colour, else an outline. With `probability_key` the
    probability of lesion goes into `a/b_probability.png` (0 to 255 for 0 to 1) or `a/b_probability.nii.gz` (float32).
    Files appear by rename.

    Args:
        folder: where the files go; subfolders of the images are kept.
        key: key of the mask in the engine's output: (W, H) or (1, W, H), 0 and 1, at the image's own size.
        probability_key: key of the probability, of the same shape; None writes no probabilities.
    """

    def __init__(self, folder: str | os.PathLike[str], key: str = "pred", probability_key: str | None = None) -> None:
        self.folder = Path(folder)
        self.key = key
        self.probability_key = probability_key
        self.overlay = Overlay()
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator.

        Args:
            engine: the evaluator of an inference run.
        """
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._save)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self.rows = []
        prepare_output_folder(self.folder)

    def _save(self, engine: Engine) -> None:
        for case, output in zip(engine.state.batch, engine.state.output, strict=True):
            mask = _plane(output[self.key]).astype(np.uint8)
            self._save_case(case["case_id"], case["source"], mask)
            if self.probability_key is not None:
                self._save_probability(case["case_id"], case["source"], _plane(output[self.probability_key]))

    def _save_probability(self, case_id: str, source: str, probability: np.ndarray) -> None:
        with atomic_path(self._path(case_id, source, "probability")) as temporary:
            if is_nifti(source):
                _write_nifti(probability.astype(np.float32), source, temporary)
            else:
                Image.fromarray((probability.T * 255).round().astype(np.uint8)).save(temporary)

    def _path(self, case_id: str, source: str, what: str) -> Path:
        stem = self.folder / strip_suffix(case_id)
        return stem.with_name(f"{stem.name}_{what}{'.nii.gz' if is_nifti(source) else '.png'}")

    def _save_case(self, case_id: str, source: str, mask: np.ndarray) -> None:
        image = read_grey(source)
        if mask.shape != image.shape:
            raise ValueError(f"{source}: the mask of shape {mask.shape} does not fit the image of {image.shape}")
        stem = self.folder / strip_suffix(case_id)
        mask_path = self._path(case_id, source, "mask")
        with atomic_path(mask_path) as temporary:
            if is_nifti(source):
                _write_nifti(mask, source, temporary)
            else:
                Image.fromarray(mask.T * np.uint8(255)).save(temporary)
        truth = [read_grey(path) for path in find_masks(source)]
        overlay_path = stem.with_name(stem.name + "_overlay.png")
        with atomic_path(overlay_path) as temporary:
            Image.fromarray(self.overlay(image, mask, merged_mask(truth) if truth else None)).save(temporary)
        self.rows.append(
            {
                "case_id": case_id,
                "mask": mask_path.relative_to(self.folder).as_posix(),
                "overlay": overlay_path.relative_to(self.folder).as_posix(),
                "width": mask.shape[0],
                "height": mask.shape[1],
                "lesion_pixels": int(mask.sum()),
                "lesion_area_fraction": round(float(mask.mean()), 6),
            }
        )

    def _finish(self, engine: Engine) -> None:
        if self.rows:
            write_csv(self.folder / "predictions.csv", self.rows, list(self.rows[0]))
        found = sum(row["lesion_pixels"] > 0 for row in self.rows)
        logger.info("%d masks and overlays in %s; a lesion was marked in %d", len(self.rows), self.folder, found)


def _plane(array: Any) -> np.ndarray:
    plane = np.asarray(array)
    return plane[0] if plane.ndim == 3 else plane


def _write_nifti(array: np.ndarray, source: str, path: Path) -> None:
    import nibabel

    original: Any = nibabel.load(source)
    nibabel.save(nibabel.Nifti1Image(array.reshape(original.shape), original.affine), path)
