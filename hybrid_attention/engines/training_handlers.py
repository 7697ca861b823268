"""Handlers of MONAI's trainer: seeds, early stopping, history, TensorBoard, progress."""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from hybrid_attention.data.writing import write_csv
from hybrid_attention.engines.checkpoint import Checkpoint
from hybrid_attention.engines.multi_task import plane
from hybrid_attention.engines.training_record import effective_recipe
from hybrid_attention.prediction.overlay import draw_overlay
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping as IgniteEarlyStopping
from ignite.handlers import ProgressBar
from monai.handlers import ValidationHandler
from monai.utils import CommonKeys, set_determinism
from torch.optim.swa_utils import update_bn

PICTURES = 4  # validation cases in TensorBoard
PICTURE_INTERVAL = 5  # epochs

logger = logging.getLogger(__name__)


def run_handlers(
    handlers: Sequence[Any],
    evaluator: Engine,
    train_dataset: Any,
    validation_dataset: Any,
    state: Mapping[str, Any],
    output_dir: str,
    ckpt_dir: str,
    seed: int = 0,
    interval: int = 1,
    patience: int = 1000,
    resume: bool = False,
    initial_weights: str | os.PathLike[str] | None = None,
    weights_of: str = "network",
    settings: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Return all handlers of a training in the order in which they are attached.

    In each epoch random numbers are seeded, the network is trained and validated, the `handlers` and early stopping
    are called, and `history.csv`, the TensorBoard log, the progress bar, `model.pt` and `checkpoint.pt` are written.
    The checkpoint is last, since it saves the state of the others.

    `handlers` are those of the recipe, such as the learning-rate schedule, called after validation; `state` holds the
    objects to save and restore, with "network" and "optimizer"; `interval` counts epochs between validations.
    `settings` are those that inference needs, recorded if the config is unknown because the training was not started
    by `python -m monai.bundle run` (MONAI Label, federated learning). For the others see `EpochSeed`, `EarlyStopping`
    and `Checkpoint`.
    """
    early_stopping = EarlyStopping(patience, evaluator)
    history = History(Path(output_dir) / "history.csv", state["optimizer"], evaluator)
    return [
        EpochSeed(seed, train_dataset),
        ValidationHandler(validator=evaluator, interval=interval, epoch_level=True),
        *handlers,
        early_stopping,
        history,
        TensorBoardLog(Path(output_dir) / "tensorboard", history, evaluator),
        Progress(),
        Checkpoint(
            ckpt_dir,
            {**state, "early_stopping": early_stopping, "history": history},
            evaluator,
            recipe=effective_recipe() or settings,
            train_cases=train_dataset.data,
            validation_cases=validation_dataset.data,
            resume=resume,
            weights_of=weights_of,
            initial_weights=initial_weights,
        ),
    ]


class EpochSeed:
    """Seed all random number generators at the start of each epoch from (seed, epoch, rank).

    No state is carried over between epochs, so a resumed run draws the same numbers as an uninterrupted one. The order
    of the cases comes from the sampler, which is seeded in the same way.
    """

    def __init__(self, seed: int, dataset: Any = None) -> None:
        self.seed, self.dataset = seed, dataset

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._seed)

    def _seed(self, engine: Engine) -> None:
        entropy = [self.seed, engine.state.epoch, engine.state.rank]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        set_determinism(seed)
        transform: Any = getattr(self.dataset, "transform", None)
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed=seed)


class EarlyStopping(IgniteEarlyStopping):
    """Terminate a trainer after `patience` epochs without a better key metric of the validation engine.

    It is attached to the trainer, after validation, so that a bundle needs no circular reference from the evaluator to
    the trainer.
    """

    def __init__(self, patience: int, evaluator: Engine) -> None:
        # the number of the best epoch grows with each improvement of any metric
        super().__init__(patience, lambda engine: float(evaluator.state.best_metric_epoch), trainer=evaluator)

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        self.trainer = engine
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)


class BatchNormStatistics:
    """Recompute a network's batch-norm statistics on training images before each validation.

    The activations of averaged weights differ from those of the weights that were averaged, and with averaged
    statistics a deep network can fail completely.

    Reference:
        P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson, "Averaging Weights Leads to Wider Optima and
        Better Generalization", UAI 2018, arXiv:1803.05407, section 3.2.

    The network is changed in place; `data` are batches with `image`, of which at most `batches` are read, and the
    inferer runs the network as in training.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        data: Iterable[Mapping[str, Any]],
        inferer: Callable[..., Any],
        device: torch.device | str = "cpu",
        batches: int = 20,
    ) -> None:
        self.network, self.data, self.inferer = network, data, inferer
        self.device, self.batches = device, batches

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Recompute the statistics."""
        images = (batch[CommonKeys.IMAGE].to(self.device) for batch in islice(self.data, self.batches))
        update_bn(images, _Inferred(self.network, self.inferer).train(self.network.training))


class _Inferred(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, inferer: Callable[..., Any]) -> None:
        super().__init__()
        self.network = network
        self.inferer = inferer

    def forward(self, x: torch.Tensor) -> Any:
        return self.inferer(x, self.network)


class History:
    """Collect one row per epoch and write `history.csv` after each.

    If the loss function has `terms`, as those of this package, their means over the training and validation images are
    written, too, as `train_NAME` and `val_NAME`. The rows are saved in the checkpoint, so the table of a resumed run is
    complete. The learning rate is that of the optimizer's first group. Attach after validation and learning-rate
    schedule, before the checkpoint.
    """

    def __init__(self, path: str | os.PathLike[str], optimizer: Any, evaluator: Engine) -> None:
        self.path, self.optimizer, self.evaluator = Path(path), optimizer, evaluator
        self.rows: list[dict[str, float]] = []
        self._sums: defaultdict[str, float] = defaultdict(float)  # over images, of the loss and its terms
        self._counts: defaultdict[str, float] = defaultdict(float)
        self._learning_rate = 0.0
        self._start = 0.0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.STARTED, self._watch_terms)
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_training_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the rows of an earlier run."""
        self.rows = list(state["rows"])

    def _watch_terms(self, engine: Engine) -> None:
        loss = engine.loss_function
        for part in loss.modules() if isinstance(loss, torch.nn.Module) else ():
            if hasattr(part, "terms"):
                part.register_forward_hook(self._add_validation_terms)

    def _start_epoch(self, engine: Engine) -> None:
        self._sums, self._counts = defaultdict(float), defaultdict(float)
        self._learning_rate = float(self.optimizer.param_groups[0]["lr"])
        self._start = time.perf_counter()

    def _add(self, part: str, values: Mapping[str, Any], images: int) -> None:
        for name, value in values.items():
            self._sums[f"{part}_{name}"] += float(value) * images
            self._counts[f"{part}_{name}"] += images

    def _add_training_loss(self, engine: Engine) -> None:
        output = engine.state.output  # decollated: one dict per case, each with the batch's loss
        terms = getattr(engine.loss_function, "terms", {})
        self._add("train", {"loss": output[0][CommonKeys.LOSS], **terms}, len(output))

    def _add_validation_terms(self, loss: Any, inputs: tuple[Any, Any], output: torch.Tensor) -> None:
        if not output.requires_grad:
            self._add("val", loss.terms, len(getattr(inputs[1], "mask", inputs[1])))

    def _finish_epoch(self, engine: Engine) -> None:
        # a process without validation images has no terms of theirs
        names = list(dict.fromkeys(" ".join(idist.all_gather(" ".join(self._sums))).split()))
        both = torch.tensor(
            [[part[name] for name in names] for part in (self._sums, self._counts)], dtype=torch.float64
        )
        sums, counts = idist.all_reduce(both.to(idist.device())).tolist()
        means = {name: total / count for name, total, count in zip(names, sums, counts, strict=True)}
        metrics = {name: float(value) for name, value in self.evaluator.state.metrics.items()}
        row: dict[str, float] = {"epoch": engine.state.epoch, **means, **metrics, "learning_rate": self._learning_rate}
        row["seconds"] = round(time.perf_counter() - self._start, 2)
        self.rows.append(row)
        if engine.state.rank == 0:
            shown = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
            logger.info("epoch %d of %d: %s", engine.state.epoch, engine.state.max_epochs, shown)
            write_csv(self.path, self.rows, list(dict.fromkeys(key for line in self.rows for key in line)))


class TensorBoardLog:
    """Write the rows of `History` as curves, and overlays of some validation cases as images, for TensorBoard.

    A resumed run continues the curves after the checkpoint and drops what an interrupted epoch had written. A new run
    removes the curves of the previous one. Attach after `History`.
    """

    def __init__(self, folder: str | os.PathLike[str], history: History, evaluator: Engine) -> None:
        self.folder, self.history, self.evaluator = Path(folder), history, evaluator
        self.writer: Any = None
        self._shown = 0

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if engine.state.rank != 0:
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write_curves)
        engine.add_event_handler(Events.COMPLETED, self._close)
        self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._write_pictures)

    def _open(self, engine: Engine) -> None:
        self._shown = 0
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            if engine.state.epoch == 1:
                for events in self.folder.glob("events.out.tfevents.*"):
                    events.unlink()
            self.writer = SummaryWriter(os.fspath(self.folder), purge_step=engine.state.epoch)

    def _write_curves(self, engine: Engine) -> None:
        for name, value in self.history.rows[-1].items():
            if name != "epoch":
                self.writer.add_scalar(name, value, engine.state.epoch)
        self.writer.flush()

    def _write_pictures(self, engine: Engine) -> None:
        epoch = engine.state.epoch
        if self.writer is None or not (epoch == 1 or epoch % PICTURE_INTERVAL == 0):
            return
        for case, output in zip(engine.state.batch, engine.state.output, strict=True):
            if self._shown < PICTURES:
                image, truth, pred = (output[key].float() for key in (CommonKeys.IMAGE, CommonKeys.LABEL, "pred"))
                overlay = draw_overlay(plane(image), plane(pred), plane(truth))
                name = f"validation/{case.get('case_id', self._shown)}"
                self.writer.add_image(name, overlay, epoch, dataformats="HWC")
                self._shown += 1

    def _close(self, engine: Engine) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


class Progress(ProgressBar):
    """Show the steps of an epoch, their loss and the remaining time in one line."""

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if engine.state.rank == 0:
            super().attach(engine, output_transform=lambda output: {"loss": float(output[0][CommonKeys.LOSS])})
