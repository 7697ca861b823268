import pytest
import torch
from hybrid_attention.engines.handlers import BatchNormStatistics
from monai.inferers import SimpleInferer
from torch import nn

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
