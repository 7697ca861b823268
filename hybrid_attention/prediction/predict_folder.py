"""Predictions of a folder of images as files: masks, overlays, maps, DICOM and tables."""

from __future__ import annotations

import csv
import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from hybrid_attention.data.folders import find_masks, image_datalist
from hybrid_attention.data.masks import merged_mask, read_mask
from hybrid_attention.data.names import PREDICTIONS, result_path, split_frame
from hybrid_attention.data.writing import prepare_output_folder, write_csv, write_json
from hybrid_attention.prediction.dicom_writer import DicomWriter, Frame
from hybrid_attention.prediction.loops import Tracker, smooth
from hybrid_attention.prediction.model import Model
from hybrid_attention.prediction.pdf import PdfReport
from hybrid_attention.prediction.result import ALL_PICTURES, PICTURES, Result

LOOPS = "loops.csv"
WRITERS = 2  # threads that write pictures
BEHIND = 8  # images that may be queued for them

logger = logging.getLogger(__name__)


@dataclass
class _File:
    """A file whose frames are added."""

    path: Path
    name: str
    tracker: Tracker
    frames: dict[int, Frame | None] = field(default_factory=dict)


class ResultWriter:
    """Write results while the network runs on the next images, and tables of all when it is closed.

    `predictions.csv` lists the images with the values of `Result.row`; `predictions.json` is the same, typed. Where
    several frames of a file were predicted, `loops.csv` has a row per file, see `Loop`; they are added in order.
    Files of an image that an earlier call into the folder wrote, and this one does not, are removed.

    Args:
        folder, outputs: see `Result.save`.
        pdf: name of the model on the pages of `predictions.pdf`, one per image; None for no such file.
        dicom_seg, dicom_sr: see `DicomWriter`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        outputs: Sequence[str] = PICTURES,
        pdf: str | None = None,
        dicom_seg: bool = False,
        dicom_sr: bool = False,
    ) -> None:
        self.folder = prepare_output_folder(folder)
        self.outputs = outputs
        self.rows: list[dict[str, Any]] = []
        self.loops: list[dict[str, Any]] = []
        self._dicom = DicomWriter(self.folder, dicom_sr) if dicom_seg or dicom_sr else None
        self._file: _File | None = None  # to which the last image belongs
        self._started = time.perf_counter()
        self._earlier = _listed(self.folder)
        self._writers = ThreadPoolExecutor(WRITERS)
        self._pending: deque[tuple[Future[dict[str, Any]], Result]] = deque()
        self._model = pdf
        self._pdf: PdfReport | None = None

    def add(self, name: str, result: Result) -> None:
        """Write a result in the background; a mask beside the image is the truth of the overlay."""
        result.check_outputs(self.outputs)
        if self._earlier:  # so that this is a folder of results, whose masks are predicted
            for what in set(ALL_PICTURES) - set(self.outputs):
                for suffix in (".png", ".nii.gz"):
                    result_path(self.folder, name, what, suffix).unlink(missing_ok=True)
        path, number = split_frame(result.image.source or name)
        if self._file is None or self._file.path != path:
            self._end_file()
            self._file = _File(path, name if number is None else name.rpartition("#")[0], Tracker(self._started))
            if self._earlier:
                for what in ("segmentation", "report"):
                    result_path(self.folder, self._file.name, what, ".dcm").unlink(missing_ok=True)
        tracks = None if number is None else self._file.tracker.add(result)
        if self._dicom is not None:
            self._file.frames[number or 1] = self._dicom.frame(result, tracks)
        self._started = time.perf_counter()
        self._pending.append((self._writers.submit(self._save, name, result), result))
        if len(self._pending) > BEHIND:
            self._finish_first()

    def _save(self, name: str, result: Result) -> dict[str, Any]:
        truths = find_masks(str(result.image.source)) if "overlay" in self.outputs else []
        masks = [result.image.fit(read_mask(path)) for path in truths]
        return result.save(self.folder, name, outputs=self.outputs, truth=merged_mask(masks) if masks else None)

    def _finish_first(self) -> None:
        future, result = self._pending.popleft()
        self.rows.append(future.result())
        if self._model is not None:
            self._pdf = self._pdf or PdfReport(self.folder / "predictions.pdf", self._model)
            self._pdf.add(self.rows[-1]["case_id"], result)

    def _end_file(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        if file.tracker.frames > 1:
            self.loops.append({"file": file.name, **file.tracker.loop().row()})
        if self._dicom is not None:
            self._dicom.write(file.path, file.name, file.frames)

    def close(self, complete: bool = True) -> None:
        """Wait for the files and write the tables; without the last file's DICOM and loop if it is not complete."""
        while self._pending:
            self._finish_first()
        self._writers.shutdown()
        if self._pdf is not None:
            self._pdf.close()
        if self.rows:
            write_csv(self.folder / PREDICTIONS, self.rows, list(self.rows[0]))
            write_json(self.folder / "predictions.json", self.rows)
        if complete:
            self._end_file()
        if self.loops:
            write_csv(self.folder / LOOPS, self.loops, list(self.loops[0]))
        else:
            (self.folder / LOOPS).unlink(missing_ok=True)  # of an earlier call
        if self._dicom is not None:
            self._dicom.log()
        found = sum(row["lesion_pixels"] > 0 for row in self.rows)
        logger.info("%d images in %s; a lesion was predicted in %d", len(self.rows), self.folder, found)
        if left := self._earlier - {row["case_id"] for row in self.rows}:
            fault = "files of %d images of an earlier call, which its table no longer lists"
            logger.warning(f"%s still holds {fault}", self.folder, len(left))


def predict_folder(
    model: Model,
    images: str | os.PathLike[str] | list[dict[str, Any]],
    out: str | os.PathLike[str],
    *,
    frames: str | Sequence[int] = "all",
    outputs: Sequence[str] = PICTURES,
    pdf: bool = False,
    dicom_seg: bool = False,
    dicom_sr: bool = False,
    smoothing: int = 1,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Segment an image or a folder of images into files, and return the rows of `predictions.csv`.

    Args:
        model: from `load_model`.
        images: file or folder, or their list by `image_datalist`.
        out: folder of the results; see `Result.save`.
        frames: of videos and multi-frame DICOM files: "all", "middle", or a list of numbers counted from 1.
        outputs: pictures per image, of "mask", "overlay", "probability", "uncertainty" and, if the model was loaded
            with it, "gradcam"; see `Result.save`.
        pdf: also write `predictions.pdf`, a page per image.
        dicom_seg: also write a DICOM segmentation for each DICOM file with a lesion.
        dicom_sr: also write these and a structured report for each.
        smoothing: number of frames of a loop over which probabilities are averaged, odd; see `smooth`.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: `images` does not exist.
        ValueError: files that can't be opened, which are all named before any is segmented, or damaged pixels, when it
            is their turn. `smoothing` is not odd, or some frames are left out, so that neighbours are missing. The
            model does not give one of the outputs.
        ImportError: an image or an output needs a package that is missing.
    """
    if smoothing != 1 and frames != "all":
        raise ValueError(f"smoothing needs all frames of a loop, got {frames}")
    smooth((), smoothing, model.decide)  # checks the number before images are read
    cases = images if isinstance(images, list) else image_datalist(images, results=out, frames=frames)
    files = [split_frame(case["image"])[0] for case in cases]
    pairs = zip(files, model.predict_many([case["image"] for case in cases], progress=progress), strict=True)
    results = chain.from_iterable(
        smooth((result for _, result in loop), smoothing, model.decide)
        for _, loop in groupby(pairs, key=lambda pair: pair[0])
    )
    writer = ResultWriter(out, outputs, model.name if pdf else None, dicom_seg, dicom_sr)
    complete = False
    try:
        for case, result in zip(cases, results, strict=True):
            writer.add(case["case_id"], result)
        complete = True
    finally:
        writer.close(complete)
    return writer.rows


def _listed(folder: Path) -> set[str]:
    """Return the images that the table in a folder lists."""
    table = folder / PREDICTIONS
    if not table.is_file():
        return set()
    with open(table, newline="", encoding="utf-8") as file:
        return {row.get("case_id", "") for row in csv.DictReader(file)}
