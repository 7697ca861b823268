"""A DICOM segmentation for each DICOM file of an inference run."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
from hybrid_attention.data.dicom import is_dicom, split_frame, to_full_frame
from hybrid_attention.data.files import prepare_output_folder
from hybrid_attention.data.folder import result_path
from hybrid_attention.deploy.dicom_seg import require_highdicom, write_dicom_segmentation
from hybrid_attention.engines.predictions import plane
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

logger = logging.getLogger(__name__)


class SaveDicomSegmentation:
    """Write a DICOM segmentation for each DICOM file of an inference run; see `dicom_segmentation`.

    An image `a/b.dcm` gives `a/b_segmentation.dcm`, with all frames of it that were segmented and marked. There is none
    where nothing is marked, nor for images of other formats; the log counts both. Frames of a file must follow each
    other, as `image_datalist` has them. Files appear by rename.

    Args:
        folder: where the files go; subfolders of the images are kept.
        key: key of the mask in the engine's output: (W, H) or (1, W, H), 0 and 1, of the size of the tissue.

    Raises:
        ImportError: (when the run starts) highdicom is missing.
        ValueError: (during the run) two files would give one segmentation, or frames of a file are torn apart.
    """

    def __init__(self, folder: str | os.PathLike[str], key: str = CommonKeys.PRED) -> None:
        self.folder = Path(folder)
        self.key = key
        self._reset()

    def _reset(self) -> None:
        self.unmarked = self.others = 0
        self.written: set[Path] = set()
        self._file: Path | None = None
        self._target = self.folder
        self._masks: dict[int, np.ndarray] = {}

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
                self._file, self._target = file, result_path(self.folder, case_id, "segmentation", ".dcm")
            self._masks[number or 1] = to_full_frame(plane(output[self.key]).astype(np.uint8), source)

    def _write(self) -> None:
        if self._file is None:
            return
        if any(mask.any() for mask in self._masks.values()):
            if self._target in self.written:
                raise ValueError(
                    f"the segmentation of {self._file} would overwrite {self._target} of this run: rename the "
                    "file, and keep the frames of a file together"
                )
            write_dicom_segmentation(self._target, self._file, self._masks)
            self.written.add(self._target)
        else:
            self.unmarked += 1
        self._file, self._masks = None, {}

    def _finish(self, engine: Engine) -> None:
        self._write()
        logger.info(
            "%d DICOM segmentations in %s; none for %d DICOM files without a mark and %d images of other formats",
            len(self.written),
            self.folder,
            self.unmarked,
            self.others,
        )
