"""TensorBoard curves and pictures of a training run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from hybrid_attention.engines.history import History
from hybrid_attention.transforms import Overlay
from ignite.engine import Engine, Events
from monai.utils import CommonKeys


class TensorBoardLog:
    """Write each epoch's row of `History` as curves, and overlays of some validation cases as pictures.

    After a resume the curves go on where the checkpoint ends; what a killed epoch had written is dropped. A run that
    starts afresh removes the curves of the one before. Attach after `History`.

    Args:
        folder: where the event files go.
        history: whose last row is written.
        evaluator: the validation engine; its outputs carry `image`, `label` and `pred`.
        pictures: number of validation cases shown.
        interval: epochs between pictures.
    """

    def __init__(
        self, folder: str | os.PathLike[str], history: History, evaluator: Engine, pictures: int = 4, interval: int = 5
    ) -> None:
        self.folder = os.fspath(folder)
        self.history = history
        self.evaluator = evaluator
        self.pictures = pictures
        self.interval = interval
        self.overlay = Overlay()
        self.writer: Any = None
        self._shown = 0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer.

        Args:
            engine: the trainer.
        """
        if engine.state.rank != 0:
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write_curves)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self._close)
        self.evaluator.add_event_handler(Events.EPOCH_STARTED, self._reset)
        self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._write_pictures)

    def _open(self, engine: Engine) -> None:
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            if engine.state.epoch == 1:
                for events in Path(self.folder).glob("events.out.tfevents.*"):
                    events.unlink()
            self.writer = SummaryWriter(self.folder, purge_step=engine.state.epoch)

    def _write_curves(self, engine: Engine) -> None:
        for name, value in self.history.rows[-1].items():
            if name != "epoch":
                self.writer.add_scalar(name, value, engine.state.epoch)
        self.writer.flush()

    def _reset(self, engine: Engine) -> None:
        self._shown = 0

    def _write_pictures(self, engine: Engine) -> None:
        epoch = engine.state.epoch
        if self.writer is None or not (epoch == 1 or epoch % self.interval == 0):
            return
        for case, output in zip(engine.state.batch, engine.state.output, strict=True):
            if self._shown >= self.pictures:
                return
            image, truth, pred = (self._plane(output[key]) for key in (CommonKeys.IMAGE, CommonKeys.LABEL, "pred"))
            name = f"validation/{case.get('case_id', self._shown)}"
            self.writer.add_image(name, self.overlay(image, pred, truth), epoch, dataformats="HWC")
            self._shown += 1

    @staticmethod
    def _plane(volume: torch.Tensor) -> torch.Tensor:
        """Return the first channel, for a volume its middle slice."""
        plane = volume[0].detach().float().cpu()
        while plane.ndim > 2:
            plane = plane[..., plane.shape[-1] // 2]
        return plane

    def _close(self, engine: Engine) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None
