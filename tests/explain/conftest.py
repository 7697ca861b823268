"""Networks whose answer is known."""

from typing import NamedTuple

import pytest
import torch
from torch import nn


class Both(NamedTuple):
    mask: torch.Tensor
    classes: torch.Tensor


class Channels(nn.Module):
    """Mask where channel 0 is above one half; classes by the means of channels 0 and 1."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(2, 2, kernel_size=1, bias=False)
        self.features.weight.data = torch.eye(2)[:, :, None, None]
        self.relu = nn.ReLU(inplace=True)
        self.unused = nn.Conv2d(2, 2, kernel_size=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()

    def forward(self, x):
        y = self.relu(self.features(x))
        self.unused(x)
        return Both(mask=y[:, :1] - 0.5, classes=self.flat(self.pool(y)))


@pytest.fixture
def channels():
    return Channels()


class Bright(nn.Module):
    """Lesion is what is brighter than one half, found at half the size of the image."""

    gradcam_layer = "deep"

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 1, kernel_size=1, bias=False), nn.BatchNorm2d(1), nn.MaxPool2d(2))
        self.deep = nn.ReLU(inplace=True)
        nn.init.ones_(self.first[0].weight)

    def forward(self, x):
        logits = self.deep(self.first(x)) - 0.5
        return nn.functional.interpolate(logits, size=x.shape[2:], mode="bilinear")


@pytest.fixture
def bright():
    return Bright().eval()


@pytest.fixture
def images():
    """Noise with a bright disc, another in each image: (2, 1, 32, 32)."""
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    noise = 0.3 * torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    discs = torch.stack([(rows - 12) ** 2 + (columns - across) ** 2 <= 16 for across in (10, 20)])[:, None]
    return noise + 0.6 * discs
