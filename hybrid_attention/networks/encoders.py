"""Encoders that give a feature map at every scale.

Feature maps of `DenseNet121Encoder`; the stride is relative to the input, the last column the size for 256 x 256:

| map | end of                    | channels | stride | 256 x 256 |
|-----|---------------------------|----------|--------|-----------|
| E1  | stem: conv, norm, ReLU    | 64       | 2      | 128       |
| E2  | dense block 1             | 256      | 4      | 64        |
| E3  | dense block 2             | 512      | 8      | 32        |
| E4  | dense block 3             | 1024     | 16     | 16        |
| E5  | dense block 4, norm, ReLU | 1024     | 32     | 8         |

E5 exists with `depth=4` only. E2 to E4 are taken before the norm of the transition that follows. Every encoder has

- `stages`, a `ModuleList` with one stage a feature map, whose modules keep the names of the published weights;
- `channels` and `stride`, the width of every feature map and the stride of the last;
- `forward`, which returns the list of feature maps, the finest first.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from monai.networks.nets import DenseNet121
from torch import nn

from hybrid_attention.networks.weights import DENSENET121, WeightsSource, load_encoder_weights

DENSENET_DEPTHS = (3, 4)


class DenseNet121Encoder(nn.Module):
    """DenseNet-121 cut after its third dense block, or whole, as an encoder of four or five scales.

    Reference:
        G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger, "Densely Connected Convolutional Networks",
        CVPR 2017, doi:10.1109/CVPR.2017.243, table 1.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels.
        depth: number of dense blocks kept, 3 or 4.
        weights: what to start from: None (random), "imagenet" or the path of a published file; see
            `hybrid_attention.networks.weights`.

    Shape:
        - input: (batch, in_channels, *spatial), every side at least `stride`
        - output: list of the feature maps in the module's table; an odd side is rounded up by the stem and its
          pooling, and down by the transitions

    Raises:
        ValueError: When `depth` is neither 3 nor 4, or the weights don't fit; see `load_encoder_weights`.
    """

    def __init__(
        self, spatial_dims: int = 2, in_channels: int = 3, depth: int = 3, weights: WeightsSource = None
    ) -> None:
        super().__init__()
        if depth not in DENSENET_DEPTHS:
            raise ValueError(f"depth, the number of dense blocks, must be one of {DENSENET_DEPTHS}, got {depth}.")
        parts = dict(DenseNet121(spatial_dims, in_channels, out_channels=1).features.named_children())
        parts["relu5"] = nn.ReLU(inplace=True)
        names = [
            ("conv0", "norm0", "relu0"),
            ("pool0", "denseblock1"),
            ("transition1", "denseblock2"),
            ("transition2", "denseblock3"),
            ("transition3", "denseblock4", "norm5", "relu5"),
        ]
        self.stages = nn.ModuleList(
            [nn.Sequential(OrderedDict((name, parts[name]) for name in stage)) for stage in names[: depth + 1]]
        )
        self.channels = (64, 256, 512, 1024, 1024)[: depth + 1]
        self.stride = 2 ** (depth + 1)
        load_encoder_weights(self, weights, DENSENET121, spatial_dims=spatial_dims, in_channels=in_channels)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps, the finest first."""
        features: list[torch.Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features
