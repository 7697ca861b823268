"""Networks whose answer is known, and one that has learned to find discs."""

from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from hybrid_attention.losses import BCEJaccardLoss
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


class Detector(nn.Module):
    """Two convolutions at half the size, on the only way from the image to the logits."""

    gradcam_layer = "deep"

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.deep = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.head = nn.Conv2d(8, 1, kernel_size=1)

    def forward(self, x):
        return nn.functional.interpolate(self.head(self.deep(self.first(x))), size=x.shape[2:], mode="bilinear")


def scenes(count, seed, side=32):
    """Noise with a bright disc, which is the lesion, and a dark square: (n, 1, side, side), and the discs."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.arange(side)
    images = 0.1 * torch.randn(count, 1, side, side, generator=generator)
    masks = torch.zeros(count, 1, side, side)
    for image, mask in zip(images, masks, strict=True):
        x, y = torch.randint(7, side - 7, (2,), generator=generator)
        mask[0] = ((axis[:, None] - x) ** 2 + (axis - y) ** 2 <= 16).float()
        x, y = torch.randint(0, side - 6, (2,), generator=generator)
        image[0, x : x + 6, y : y + 6] -= 1
        image[mask > 0] = 1 + 0.1 * torch.randn(int(mask.sum()), generator=generator)
    return images, masks


@pytest.fixture(scope="session")
def trained():
    """A detector that finds the discs, with scenes that it has not seen."""
    torch.manual_seed(0)
    net = Detector()
    images, masks = scenes(32, seed=0)
    loss, optimizer = BCEJaccardLoss(), torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(120):
        batch = slice(8 * (step % 4), 8 * (step % 4) + 8)
        optimizer.zero_grad()
        loss(net(images[batch]), masks[batch]).backward()
        optimizer.step()
    net.zero_grad()
    images, truth = scenes(6, seed=1)
    with torch.no_grad():
        predicted = net.eval()(images) > 0
    overlap = 2 * (predicted & (truth > 0)).sum() / (predicted.sum() + truth.sum())
    assert overlap > 0.85, "the network of the tests has not learned"
    return SimpleNamespace(net=net, images=images, truth=truth)
