"""Stop when validation no longer improves, also across a resume."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping as IgniteEarlyStopping


class EarlyStopping:
    """Terminate a trainer after `patience` epochs without a better validation metric.

    It is Ignite's handler attached to the trainer itself, so that a bundle needs no circular reference from the
    evaluator back to the trainer, and its count goes into the checkpoint. Attach after validation.

    Args:
        patience: epochs without improvement before training stops.
        evaluator: the validation engine, whose best key metric counts (better as its `metric_cmp_fn` says).
    """

    def __init__(self, patience: int, evaluator: Engine) -> None:
        self.patience = patience
        self.evaluator = evaluator
        self._handler: IgniteEarlyStopping | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer.

        Args:
            engine: the trainer.
        """
        self._handler = IgniteEarlyStopping(patience=self.patience, score_function=self._score, trainer=engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._handler)

    def state_dict(self) -> dict[str, Any]:
        """Return the count and the best score."""
        return dict(self._attached().state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the count of an earlier run.

        Args:
            state: from `state_dict`.
        """
        self._attached().load_state_dict(state)

    def _attached(self) -> IgniteEarlyStopping:
        if self._handler is None:
            raise RuntimeError("attach EarlyStopping to a trainer first")
        return self._handler

    def _score(self, engine: Engine) -> float:
        return float(self.evaluator.state.best_metric_epoch)  # grows with each improvement, whatever better means
