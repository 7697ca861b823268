"""Masks and overlays of an inference run, in the size of the images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from hybrid_attention.data.reading import read_image
from hybrid_attention.engines.multi_task import CLASS_PROBABILITY
from hybrid_attention.prediction.predict_folder import ResultWriter
from hybrid_attention.prediction.result import Result, by_class
from ignite.engine import Engine, Events

PROBABILITY = "probability"


class SavePredictions:
    """Write a mask and an overlay per image of an inference run, and a table of all images.

    See `Result.save` for the files and `Result.row` for the columns of `predictions.csv` and `predictions.json`. The
    overlay shows errors in colour if there is a ground-truth mask beside the image, else an outline.

    Args:
        folder: folder of the files; subfolders of the images are kept.
        key: key of the mask in the engine's output: (H, W) or (1, H, W), 0 and 1, in the size of the image. The output
            also holds the probability of lesion, of the same shape, under `probability`.
        probability: also write maps of the probability.
        class_names: names of the entries of the output's `class_probability`, (classes,); None for a network without
            class head.
        uncertainty_key: key of a map of the same shape, from 0 to 1, to be written; None for none.
        pdf: see `ResultWriter`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        key: str = "pred",
        probability: bool = False,
        class_names: Sequence[str] | None = None,
        uncertainty_key: str | None = None,
        pdf: str | None = None,
    ) -> None:
        self.folder = folder
        self.key = key
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
        image, mask = read_image(source), plane(output[self.key]) > 0.5
        if mask.shape != image.pixels.shape:
            raise ValueError(f"{source}: the mask of shape {mask.shape} does not fit the image of {image.pixels.shape}")
        classes = {} if self.class_names is None else by_class(self.class_names, output[CLASS_PROBABILITY])
        return Result(image, mask, plane(output[PROBABILITY]).astype(np.float32), classes)

    def _finish(self, engine: Engine) -> None:
        self._writer.close()
        self.rows = self._writer.rows


def plane(array: Any) -> np.ndarray:
    """Return one plane of an engine's output as an array, (H, W) or (1, H, W) -> (H, W)."""
    values = np.asarray(array.cpu() if isinstance(array, torch.Tensor) else array)
    return values[0] if values.ndim == 3 else values
