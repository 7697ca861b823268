"""A progress bar over the whole training."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from tqdm import tqdm


class Progress:
    """Show epoch, loss, best and last validation metric and the time left of the whole run on one line.

    Args:
        evaluator: whose key metric is shown.
    """

    def __init__(self, evaluator: Engine) -> None:
        self.evaluator = evaluator
        self.bar: Any = None

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self._close)

    def _open(self, engine: Engine) -> None:
        if engine.state.rank != 0 or self.bar is not None:
            return
        state = engine.state
        total = state.max_epochs * state.epoch_length
        self.bar = tqdm(total=total, initial=state.iteration, unit="step", dynamic_ncols=True, mininterval=0.5)

    def _step(self, engine: Engine) -> None:
        if self.bar is None:
            return
        state, validation = engine.state, self.evaluator.state
        self.bar.set_description(f"epoch {state.epoch}/{state.max_epochs}", refresh=False)
        shown = {"loss": f"{float(state.output[0][CommonKeys.LOSS]):.4f}"}
        name = validation.key_metric_name
        if name in validation.metrics:
            shown[name] = f"{validation.metrics[name]:.4f} (best {validation.best_metric:.4f})"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update()

    def _close(self, engine: Engine) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
