"""The same randomness in epoch n, whether the run reached it at once or after a kill."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events


class EpochSeed:
    """Seed every source of randomness at the start of each epoch from (seed, epoch, rank).

    Since no state is carried from one epoch to the next, a resumed run needs none to be restored: it repeats what the
    uninterrupted run would have drawn. The order of the cases comes from the sampler, which is seeded alike.

    Args:
        seed: the run's seed.
        dataset: whose `transform` holds random transforms, or None.
    """

    def __init__(self, seed: int, dataset: Any = None) -> None:
        self.seed = seed
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer.

        Args:
            engine: the trainer.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed for the epoch that starts."""
        entropy = [self.seed, engine.state.epoch, engine.state.rank]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        transform: Any = getattr(self.dataset, "transform", None)
        if hasattr(transform, "set_random_state"):
            transform.set_random_state(seed=seed)
