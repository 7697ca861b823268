import random

import numpy as np
import pytest
import torch
from hybrid_attention.engines import BatchNormStatistics, EpochSeed
from ignite.engine import Engine, Events
from monai.data import Dataset
from monai.inferers import SimpleInferer
from monai.transforms import Compose, RandScaleIntensity
from torch import nn


def draws(seed, epochs, skip=0, rank=0):
    """What an epoch draws from each source of randomness, for the epochs after `skip`."""
    transform = Compose([RandScaleIntensity(factors=0.5, prob=1.0)])
    dataset = Dataset([torch.ones(1, 2, 2)], transform)
    engine = Engine(lambda engine, batch: None)
    engine.state.rank = rank
    EpochSeed(seed, dataset).attach(engine)
    found = []
    engine.add_event_handler(
        Events.EPOCH_STARTED,
        lambda engine: found.append(
            (random.random(), np.random.rand(), torch.rand(1).item(), float(dataset[0].sum()), engine.state.epoch)
        ),
    )
    if skip:
        engine.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "epoch", skip))
    engine.run([0], max_epochs=epochs)
    return found


def test_epoch_is_the_same_after_a_resume():
    whole = draws(seed=3, epochs=4)
    assert [epoch for *_, epoch in whole] == [1, 2, 3, 4]
    assert draws(seed=3, epochs=4, skip=2) == whole[2:]


def test_epochs_seeds_and_processes_differ():
    first, second = draws(seed=3, epochs=2)
    others = [second, draws(seed=4, epochs=1)[0], draws(seed=3, epochs=1, rank=1)[0]]
    for other in others:
        assert all(a != b for a, b in zip(first[:4], other[:4], strict=True))


DATA = [{"image": torch.full((4, 1, 2, 2), value)} for value in (1.0, 3.0, 100.0)]


def test_statistics_are_those_of_the_batches():
    network = nn.Sequential(nn.BatchNorm2d(1), nn.BatchNorm2d(1, affine=False)).eval()
    network[0].running_mean.fill_(7)
    BatchNormStatistics(network, DATA, SimpleInferer(), batches=2)(None)
    assert network[0].running_mean == pytest.approx(2)  # of 1 and 3, the old 7 forgotten
    assert network[0].running_var == pytest.approx(0)
    assert network[1].running_mean == pytest.approx(0, abs=1e-3)
    assert not network.training
    assert network[0].momentum == 0.1


def test_without_batch_norm_nothing_is_read():
    def data():
        raise AssertionError
        yield

    BatchNormStatistics(nn.Conv2d(1, 1, 1), data(), SimpleInferer())(None)
