"""Predictions of a folder of images as files: masks, overlays, maps and tables."""

from __future__ import annotations

import csv
import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from hybrid_attention.data.folders import find_masks, image_datalist
from hybrid_attention.data.masks import merged_mask, read_mask
from hybrid_attention.data.names import PREDICTIONS, split_frame
from hybrid_attention.data.writing import prepare_output_folder, write_csv, write_json
from hybrid_attention.prediction.loops import Tracker, smooth
from hybrid_attention.prediction.model import Model
from hybrid_attention.prediction.pdf import PdfReport
from hybrid_attention.prediction.result import Result

LOOPS = "loops.csv"
WRITERS = 2  # threads that write pictures
BEHIND = 8  # images that may be queued for them

logger = logging.getLogger(__name__)


class ResultWriter:
    """Write results while the network runs on the next images, and tables of all when it is closed.

    `predictions.csv` lists the images with the values of `Result.row`; `predictions.json` is the same, typed. Where
    several frames of a file were predicted, `loops.csv` has a row per file, see `Loop`; they are added in order.

    Args:
        folder: of the files; see `Result.save`.
        pdf: name of the model on the pages of `predictions.pdf`, one per image; None for no such file.
    """

    def __init__(self, folder: str | os.PathLike[str], pdf: str | None = None) -> None:
        self.folder = prepare_output_folder(folder)
        self.rows: list[dict[str, Any]] = []
        self.loops: list[dict[str, Any]] = []
        self._loop: tuple[str, Tracker] | None = None  # the file whose frames are added
        self._started = time.perf_counter()
        self._earlier = _listed(self.folder)
        self._writers = ThreadPoolExecutor(WRITERS)
        self._pending: deque[tuple[Future[dict[str, Any]], Result]] = deque()
        self._model = pdf
        self._pdf: PdfReport | None = None

    def add(self, name: str, result: Result, **options: Any) -> None:
        """Write a result in the background by `Result.save`; a mask beside the image is the truth of the overlay."""
        self._track(name, result)
        self._pending.append((self._writers.submit(_save, self.folder, name, result, options), result))
        if len(self._pending) > BEHIND:
            self._finish_first()

    def _finish_first(self) -> None:
        future, result = self._pending.popleft()
        self.rows.append(future.result())
        if self._model is not None:
            self._pdf = self._pdf or PdfReport(self.folder / "predictions.pdf", self._model)
            self._pdf.add(self.rows[-1]["case_id"], result)

    def _track(self, name: str, result: Result) -> None:
        _, number = split_frame(result.image.source or "")
        file = name.rpartition("#")[0]
        if self._loop is not None and (number is None or self._loop[0] != file):
            self._end_loop()
        if number is not None:
            self._loop = self._loop or (file, Tracker(self._started))
            self._loop[1].add(result)
        self._started = time.perf_counter()

    def _end_loop(self) -> None:
        if self._loop is not None:
            file, tracker = self._loop
            loop = tracker.loop()
            self.loops += [{"file": file, **loop.row()}] if loop.frames > 1 else []
        self._loop = None

    def close(self) -> None:
        """Wait for the files and write the tables."""
        while self._pending:
            self._finish_first()
        self._writers.shutdown()
        if self._pdf is not None:
            self._pdf.close()
        if self.rows:
            write_csv(self.folder / PREDICTIONS, self.rows, list(self.rows[0]))
            write_json(self.folder / "predictions.json", self.rows)
        self._end_loop()
        if self.loops:
            write_csv(self.folder / LOOPS, self.loops, list(self.loops[0]))
        else:
            (self.folder / LOOPS).unlink(missing_ok=True)  # of an earlier call
        found = sum(row["lesion_pixels"] > 0 for row in self.rows)
        logger.info("%d masks and overlays in %s; a lesion was predicted in %d", len(self.rows), self.folder, found)
        left = self._earlier - {row["case_id"] for row in self.rows}
        if left:
            logger.warning(
                "%s still holds files of %d images of an earlier call, which its table no longer lists",
                self.folder,
                len(left),
            )


def _save(folder: Path, name: str, result: Result, options: dict[str, Any]) -> dict[str, Any]:
    source = str(result.image.source)
    masks = [result.image.fit(read_mask(path)) for path in find_masks(source)]
    return result.save(folder, name, merged_mask(masks) if masks else None, **options)


def predict_folder(
    model: Model,
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    frames: str | Sequence[int] = "all",
    uncertainty: bool = False,
    pdf: bool = False,
    progress: bool = False,
    smoothing: int = 1,
) -> list[dict[str, Any]]:
    """Segment an image or a folder of images into files.

    Args:
        model: from `load_model`.
        images: file or folder; see `image_datalist`.
        out: folder of the results; see `Result.save`.
        frames: of videos and multi-frame DICOM files: "all", "middle", or a list of numbers counted from 1.
        uncertainty: also write the entropy of each pixel's probability, 0 to 255 for 0 to 1 bit.
        pdf: also write `predictions.pdf`, a page per image.
        progress: show a progress bar.
        smoothing: number of frames of a loop over which probabilities are averaged, odd; see `smooth`.

    Returns:
        The rows of `predictions.csv`.

    Raises:
        FileNotFoundError: `images` does not exist.
        ValueError: files that can't be opened, which are all named before any is segmented, or damaged pixels, when it
            is their turn. `smoothing` is not odd, or some frames are left out, so that neighbours are missing.
        ImportError: an image needs a package that is missing.
    """
    if smoothing != 1 and frames != "all":
        raise ValueError(f"smoothing needs all frames of a loop, got {frames}")
    smooth((), smoothing, model.threshold)  # checks the number before images are read
    cases = image_datalist(images, results=out, frames=frames)
    files = [split_frame(case["image"])[0] for case in cases]
    pairs = zip(files, model.predict_many([case["image"] for case in cases], progress), strict=True)
    results = chain.from_iterable(
        smooth((result for _, result in loop), smoothing, model.threshold)
        for _, loop in groupby(pairs, key=lambda pair: pair[0])
    )
    writer = ResultWriter(out, model.name if pdf else None)
    try:
        for case, result in zip(cases, results, strict=True):
            writer.add(case["case_id"], result, uncertainty=_entropy(result.probability) if uncertainty else None)
    finally:
        writer.close()
    return writer.rows


def _entropy(probability: np.ndarray) -> np.ndarray:
    """Return the entropy in bits, from 0 to 1."""
    from scipy.special import entr

    chance = probability.astype(np.float64).clip(0, 1)
    return ((entr(chance) + entr(1 - chance)) / np.log(2)).clip(0, 1).astype(np.float32)


def _listed(folder: Path) -> set[str]:
    """Return the images that the table in a folder lists."""
    table = folder / PREDICTIONS
    if not table.is_file():
        return set()
    with open(table, newline="", encoding="utf-8") as file:
        return {row.get("case_id", "") for row in csv.DictReader(file)}
