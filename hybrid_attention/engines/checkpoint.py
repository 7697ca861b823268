"""Checkpoints: the best weights and the latest state of a training, to resume it after any interruption."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hybrid_attention.data.hashing import case_digests, data_digest
from hybrid_attention.data.writing import remove_partial_files, write_json
from hybrid_attention.engines.training_record import RECORD, differences, provenance, read_record
from hybrid_attention.engines.weights import BEST, save_weights, save_whole, weights_digest, weights_mismatch
from hybrid_attention.networks.pretrained import not_finite
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

LATEST = "checkpoint.pt"
_FORMAT = 1

logger = logging.getLogger(__name__)


class Checkpoint:
    """Save the best weights and the latest state of a training run after each epoch, and resume from them.

    `model.pt` contains the weights of the epoch with the best validation metric, `checkpoint.pt` the state after the
    last complete epoch, and `training.json` how the weights were trained. Files are written by rename, so they are
    complete whenever the process is killed. A training that diverges is stopped before its weights are validated or
    saved. Attach last, after validation, learning-rate schedule, early stopping and history.

    Args:
        folder: folder of the files.
        objects: objects to save and restore, by name, with "network": the module, not in `DistributedDataParallel`.
        evaluator: the validation engine, whose best metric decides on `model.pt`.
        recipe: settings as plain values; a run can only be resumed with the same ones and the same cases.
        train_cases: training cases, dicts with `image` and `label` paths, likewise `validation_cases`.
        resume: resume from `checkpoint.pt` if it exists. If False, `checkpoint.pt` is removed at the start, and
            `model.pt` and `training.json` are replaced after the first epoch.
        initial_weights: file that the network starts from, or None. The images in the record beside it count as seen.
        weights_of: name of the object whose weights are saved in `model.pt`, for example a moving average.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        objects: Mapping[str, Any],
        evaluator: Engine,
        recipe: Mapping[str, Any] | None = None,
        train_cases: Sequence[Mapping[str, Any]] = (),
        validation_cases: Sequence[Mapping[str, Any]] = (),
        resume: bool = False,
        weights_of: str = "network",
        initial_weights: str | os.PathLike[str] | None = None,
    ) -> None:
        for name in ("network", weights_of):
            if name not in objects:
                raise ValueError(f"objects must contain {name!r}, got {sorted(objects)}")
        self.folder, self.objects, self.evaluator = Path(folder), dict(objects), evaluator
        self.recipe = dict(recipe or {})
        self.cases = {"training": train_cases, "validation": validation_cases}
        self.data: dict[str, str] = {}
        self.resume, self.weights_of, self.initial_weights = resume, weights_of, initial_weights
        self._learns = False  # a loss of this epoch was finite

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop_if_diverged)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _start(self, engine: Engine) -> None:
        path = self.folder / LATEST
        self.data = {part: data_digest(cases) for part, cases in self.cases.items()}
        if engine.state.rank == 0:
            remove_partial_files(self.folder)
        if not (self.resume and path.is_file()):
            if self.resume:
                logger.info("nothing to resume in %s: starting at epoch 1", self.folder)
            elif path.is_file():
                logger.warning("%s is from an earlier run and will be replaced; use --resume True to resume it", path)
            if engine.state.rank == 0:  # so that the earlier run can't be resumed later
                path.unlink(missing_ok=True)
            return
        state = self._load(path)
        for name, target in self.objects.items():
            target.load_state_dict(state["objects"][name])
        if state["scaler"] is not None and engine.scaler is not None:
            engine.scaler.load_state_dict(state["scaler"])
        engine.state.epoch = state["epoch"]
        engine.state.iteration = state["epoch"] * engine.state.epoch_length
        self.evaluator.state.best_metric = state["best_metric"]
        self.evaluator.state.best_metric_epoch = state["best_metric_epoch"]
        logger.info("resumed after epoch %d of %d from %s", state["epoch"], engine.state.max_epochs, path)
        if state["stopped"] or state["epoch"] >= engine.state.max_epochs:
            reason = "stopped early" if state["stopped"] else f"epoch {state['epoch']}"
            logger.warning("%s is from a finished run (%s): nothing is left to train", path, reason)
            engine.terminate()

    def _load(self, path: Path) -> dict[str, Any]:
        hint = "use the same settings, choose another --output_dir, or start again with --resume False"
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # zip, pickle and tensor faults alike
            raise ValueError(f"{path} is damaged or not a checkpoint; {hint}") from error
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise ValueError(f"{path} is not a checkpoint of format {_FORMAT}; {hint}")
        network_fault = weights_mismatch(self.objects["network"], state["objects"]["network"])
        if network_fault:
            raise ValueError(f"{path} does not fit the network: {network_fault}; {hint}")
        fault = not_finite(state["objects"]["network"])
        if fault:
            raise ValueError(f"{path} can't be resumed: {fault}; {hint}")
        changed = differences(state["recipe"], self.recipe)
        changed += [f"the {part} images differ" for part in self.cases if state["data"][part] != self.data[part]]
        if changed or set(state["objects"]) != set(self.objects):
            raise ValueError(f"{path} has other settings: {'; '.join(changed) or sorted(state['objects'])}; {hint}")
        return state

    def _stop_if_diverged(self, engine: Engine) -> None:
        # a scaler (fp16) skips steps whose gradients overflow: there at least one loss of an epoch must be finite
        loss = float(engine.state.output[0][CommonKeys.LOSS])
        step = (engine.state.iteration - 1) % engine.state.epoch_length + 1
        self._learns = math.isfinite(loss) or (self._learns and step > 1)
        fault = "" if math.isfinite(loss) or engine.scaler is not None else f"the loss is {loss}"
        if step == engine.state.epoch_length and not fault:
            fault = not_finite(self.objects["network"].state_dict()) or ("" if self._learns else f"the loss is {loss}")
        if not fault:
            return
        precision = self.recipe.get("precision", "fp32")
        lower = "" if precision == "fp32" else f"the precision ({precision}; try fp32), "
        best = self.evaluator.state.best_metric_epoch
        kept = f"{self.folder / BEST} is from epoch {best}" if best > 0 else "no weights were saved"
        rate = engine.optimizer.param_groups[0]["lr"]
        raise FloatingPointError(
            f"the training diverged in epoch {engine.state.epoch}, step {step} of {engine.state.epoch_length}: "
            f"{fault}; likely causes are the learning rate ({rate:g}; try a tenth), {lower}and the data "
            f"(constant images, wrong masks); {kept}"
        )

    def _save(self, engine: Engine) -> None:
        if engine.state.rank != 0:
            return
        validation = self.evaluator.state
        if validation.best_metric_epoch == engine.state.epoch:
            save_weights(self.objects[self.weights_of], self.folder / BEST)
            record = {
                "epoch": int(engine.state.epoch),
                "epochs": int(engine.state.max_epochs),
                "metric": {validation.key_metric_name: float(validation.best_metric)},
                "recipe": self.recipe,
                "provenance": provenance(),
                "data_sha256": self.data,
                "weights_sha256": weights_digest(self.folder / BEST),
                "images": self._images(),
            }
            write_json(self.folder / RECORD, record)
        state = {
            "format": _FORMAT,
            "epoch": int(engine.state.epoch),
            "best_metric": float(validation.best_metric),
            "best_metric_epoch": int(validation.best_metric_epoch),
            "stopped": bool(engine.should_terminate),
            "recipe": self.recipe,
            "data": self.data,
            "scaler": engine.scaler.state_dict() if engine.scaler is not None else None,
            "objects": {name: target.state_dict() for name, target in self.objects.items()},
        }
        save_whole(state, self.folder / LATEST)

    def _images(self) -> dict[str, list[str]]:
        images = {part: case_digests(cases) for part, cases in self.cases.items()}
        if self.initial_weights is not None:
            before = (read_record(self.initial_weights) or {}).get("images", {})
            images["pre-training"] = [*before.get("training", []), *before.get("pre-training", [])]
            images["validation"] = list(dict.fromkeys([*images["validation"], *before.get("validation", [])]))
        return images
