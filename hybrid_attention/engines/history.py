"""A row an epoch: training loss, validation metrics, learning rate, time."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from hybrid_attention.data.files import write_csv
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

logger = logging.getLogger(__name__)


class History:
    """Collect one row an epoch and write `history.csv` after each.

    The rows are part of the checkpoint, so that a resumed run's table is the uninterrupted run's. Attach after
    validation and the learning-rate schedule, before the checkpoint.

    Args:
        path: the CSV file.
        optimizer: whose first group's learning rate is written.
        evaluator: whose metrics are written.
    """

    def __init__(self, path: str | os.PathLike[str], optimizer: Any, evaluator: Engine) -> None:
        self.path = Path(path)
        self.optimizer = optimizer
        self.evaluator = evaluator
        self.rows: list[dict[str, float]] = []
        self._loss_sum = 0.0
        self._loss_count = 0
        self._learning_rate = 0.0
        self._start = 0.0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the rows of an earlier run.

        Args:
            state: from `state_dict`.
        """
        self.rows = [dict(row) for row in state["rows"]]

    def _start_epoch(self, engine: Engine) -> None:
        self._loss_sum, self._loss_count = 0.0, 0
        self._learning_rate = float(self.optimizer.param_groups[0]["lr"])
        self._start = time.perf_counter()

    def _add_loss(self, engine: Engine) -> None:
        output = engine.state.output
        size = len(output)  # decollated: a dict a case, each with the batch's loss
        self._loss_sum += float(output[0][CommonKeys.LOSS]) * size
        self._loss_count += size

    def _finish_epoch(self, engine: Engine) -> None:
        loss_sum, loss_count = self._over_processes()
        row: dict[str, float] = {
            "epoch": engine.state.epoch,
            "train_loss": loss_sum / max(loss_count, 1),
            **{name: float(value) for name, value in self.evaluator.state.metrics.items()},
            "learning_rate": self._learning_rate,
            "seconds": round(time.perf_counter() - self._start, 2),
        }
        self.rows.append(row)
        if engine.state.rank == 0:
            shown = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
            logger.info("epoch %d of %d: %s", engine.state.epoch, engine.state.max_epochs, shown)
            write_csv(self.path, self.rows, list(dict.fromkeys(key for line in self.rows for key in line)))

    def _over_processes(self) -> tuple[float, float]:
        """Return the sum of the losses and their number over all processes."""
        if idist.get_world_size() == 1:
            return self._loss_sum, self._loss_count
        total = idist.all_reduce(torch.tensor([self._loss_sum, float(self._loss_count)], device=idist.device()))
        return float(total[0]), float(total[1])
