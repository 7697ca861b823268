"""Batch-norm statistics for averaged weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys
from torch.optim.swa_utils import update_bn


class BatchNormStatistics:
    """Recompute a network's batch-norm statistics on training images before each validation.

    Averaged weights have other activations than the weights they are averaged from, and with averaged statistics a
    deep network can fail completely.

    Reference:
        P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. G. Wilson, "Averaging Weights Leads to Wider Optima and
        Better Generalization", UAI 2018, arXiv:1803.05407, section 3.2.

    Args:
        network: changed in place; unchanged if it has no batch norm.
        data: batches with `image`, for example the training's loader.
        inferer: runs the network, as in training.
        device: where the network is.
        batches: maximum number of batches.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        data: Iterable[Mapping[str, Any]],
        inferer: Callable[..., Any],
        device: torch.device | str = "cpu",
        batches: int = 20,
    ) -> None:
        self.network = network
        self.data = data
        self.inferer = inferer
        self.device = device
        self.batches = batches

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator.

        Args:
            engine: the evaluator.
        """
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Recompute the statistics."""
        images = (batch[CommonKeys.IMAGE].to(self.device) for batch in islice(self.data, self.batches))
        update_bn(images, _Inferred(self.network, self.inferer).train(self.network.training))


class _Inferred(torch.nn.Module):
    """A network as an inferer runs it."""

    def __init__(self, network: torch.nn.Module, inferer: Callable[..., Any]) -> None:
        super().__init__()
        self.network = network
        self.inferer = inferer

    def forward(self, x: torch.Tensor) -> Any:
        return self.inferer(x, self.network)
