"""DICOM segmentations and reports of the files of a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hybrid_attention.data.dicom import FrameGeometry
from hybrid_attention.data.names import result_path
from hybrid_attention.prediction.dicom_seg import require_highdicom, write_dicom_segmentation
from hybrid_attention.prediction.dicom_sr import write_dicom_report
from hybrid_attention.prediction.result import Result

logger = logging.getLogger(__name__)


class Frame(NamedTuple):
    """What is written of one frame of a DICOM file."""

    mask: np.ndarray  # of the whole frame, (H, W), uint8
    classes: Mapping[str, float]
    tracks: Sequence[int] | None  # of its lesions, from `Tracker.add`; None for a still image


class DicomWriter:
    """Write a DICOM segmentation, and a report, for each DICOM file of a run.

    An image `a/b.dcm` gives `a/b_segmentation.dcm` with all frames that have a lesion, and `a/b_report.dcm`. Files
    without lesion and images of other formats are counted in the log.
    """

    def __init__(self, folder: Path, reports: bool = False) -> None:
        require_highdicom()
        logging.getLogger("highdicom").setLevel(logging.WARNING)  # it logs each module that it copies
        self.folder = folder
        self.reports = reports
        self.without_lesion = self.others = 0
        self.written: set[Path] = set()

    def frame(self, result: Result, tracks: Sequence[int] | None) -> Frame | None:
        """Return what is written of an image, None for another format."""
        place = result.image.geometry
        if isinstance(place, FrameGeometry):
            return Frame(place.to_file(result.mask.astype(np.uint8)), result.classes, tracks)
        self.others += 1
        return None

    def write(self, file: Path, name: str, frames: Mapping[int, Frame | None]) -> None:
        """Write the objects of a file, whose frames are given by their numbers, from 1.

        Raises:
            ValueError: they would overwrite those of another file, or of frames of this one that were apart.
        """
        found = {number: frame for number, frame in frames.items() if frame is not None}
        masks = {number: frame.mask for number, frame in found.items()}
        if not any(mask.any() for mask in masks.values()):
            self.without_lesion += bool(found)
            return
        target = result_path(self.folder, name, "segmentation", ".dcm")
        if target in self.written:
            raise ValueError(
                f"the segmentation of {file} would overwrite {target} of this run: rename the file, and keep the "
                "frames of a file together"
            )
        made = write_dicom_segmentation(target, file, masks)
        if self.reports:
            classes = {number: frame.classes for number, frame in found.items()}
            tracks = {number: frame.tracks for number, frame in found.items() if frame.tracks is not None}
            report = result_path(self.folder, name, "report", ".dcm")
            write_dicom_report(report, file, made, masks, classes, tracks or None)
        self.written.add(target)

    def log(self) -> None:
        """Log what was written."""
        logger.info(
            "%d DICOM segmentations%s in %s; none for %d DICOM files without a lesion and %d images of other formats",
            len(self.written),
            " and reports" if self.reports else "",
            self.folder,
            self.without_lesion,
            self.others,
        )
