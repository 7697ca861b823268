"""Encoders that return a feature map at each scale.

Each encoder has `stages`, a `ModuleList` with one stage per feature map, whose modules keep the names of the published
weights; `channels`, the width of each feature map; and `stride`, the stride of the last. Each stage halves the size:

| map | stride | 256 x 256 | `DenseNet121Encoder`           | `ResNet18Encoder`  | `EfficientNetB0Encoder`         |
|-----|--------|-----------|--------------------------------|--------------------|---------------------------------|
| E1  | 2      | 128       | 64: stem                       | 64: stem           | 16: stem, block 0               |
| E2  | 4      | 64        | 256: dense block 1             | 64: pool, layer 1  | 24: blocks 1-2                  |
| E3  | 8      | 32        | 512: dense block 2             | 128: layer 2       | 40: blocks 3-4                  |
| E4  | 16     | 16        | 1024: dense block 3            | 256: layer 3       | 112: blocks 5-10                |
| E5  | 32     | 8         | 1024: dense block 4, norm, ReLU| 512: layer 4       | 1280: blocks 11-15, head        |

Stem and head (320 to 1280 channels) are convolution, norm and activation. DenseNet has E5 with `depth=4` only, and its
E2 to E4 are taken before the norm of the following transition.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from hybrid_attention.networks.blocks.convolutions import set_batch_norm_momentum
from hybrid_attention.networks.weights import (
    DENSENET121,
    EFFICIENTNET_B0,
    RESNET18,
    PublishedWeights,
    WeightsSource,
    load_encoder_weights,
)
from monai.networks.nets import DenseNet121, EfficientNetBN, ResNet
from torch import nn

DENSENET_DEPTHS = (3, 4)


class Encoder(nn.Module):
    """Base of the encoders: a sequence of stages, each of which halves the size and returns a feature map.

    Args:
        stages: the modules of each stage by name.
        channels: width of each feature map.
        weights: initial weights: None (random), "imagenet" or the path of a published file; see
            `load_encoder_weights`.
        published: the published file.
        spatial_dims: number of spatial dimensions.
        in_channels: number of input channels.

    Raises:
        ValueError: the weights do not fit; see `load_encoder_weights`, also for other errors.
    """

    def __init__(
        self,
        stages: Sequence[Mapping[str, nn.Module]],
        channels: tuple[int, ...],
        weights: WeightsSource,
        published: PublishedWeights,
        *,
        spatial_dims: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Sequential(OrderedDict(stage)) for stage in stages])
        self.channels = channels
        self.stride = 2 ** len(channels)
        load_encoder_weights(self, weights, published, spatial_dims=spatial_dims, in_channels=in_channels)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the feature maps, from fine to coarse."""
        features: list[torch.Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class DenseNet121Encoder(Encoder):
    """DenseNet-121, whole or cut after its third dense block, as an encoder of five or four scales.

    Reference:
        G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger, "Densely Connected Convolutional Networks",
        CVPR 2017, doi:10.1109/CVPR.2017.243, table 1.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels.
        depth: number of dense blocks kept, 3 or 4.
        weights: initial weights; see `Encoder`.

    Shape:
        - input: (batch, in_channels, *spatial), every side at least `stride`
        - output: list of the feature maps in the module's table; an odd side is rounded up by the stem and its
          pooling, and down by the transitions

    Raises:
        ValueError: When `depth` is neither 3 nor 4, or the weights do not fit; see `load_encoder_weights`.
    """

    def __init__(
        self, spatial_dims: int = 2, in_channels: int = 3, depth: int = 3, weights: WeightsSource = None
    ) -> None:
        if depth not in DENSENET_DEPTHS:
            raise ValueError(f"depth, the number of dense blocks, must be one of {DENSENET_DEPTHS}, got {depth}")
        parts = dict(DenseNet121(spatial_dims, in_channels, out_channels=1).features.named_children())
        parts["relu5"] = nn.ReLU(inplace=True)
        names = [
            ("conv0", "norm0", "relu0"),
            ("pool0", "denseblock1"),
            ("transition1", "denseblock2"),
            ("transition2", "denseblock3"),
            ("transition3", "denseblock4", "norm5", "relu5"),
        ]
        super().__init__(
            stages=[{name: parts[name] for name in stage} for stage in names[: depth + 1]],
            channels=(64, 256, 512, 1024, 1024)[: depth + 1],
            weights=weights,
            published=DENSENET121,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
        )


class ResNet18Encoder(Encoder):
    """ResNet-18 of torchvision without its classifier: 11,176,512 parameters in two dimensions.

    Reference:
        K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
        doi:10.1109/CVPR.2016.90, table 1.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels.
        weights: initial weights; see `Encoder`.

    Shape:
        - input: (batch, in_channels, *spatial), every side at least `stride`
        - output: list of the feature maps in the module's table; an odd side is rounded up

    Raises:
        ValueError: the weights do not fit; see `load_encoder_weights`.
    """

    def __init__(self, spatial_dims: int = 2, in_channels: int = 3, weights: WeightsSource = None) -> None:
        net = ResNet(
            "basic",
            layers=[2, 2, 2, 2],
            block_inplanes=[64, 128, 256, 512],
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            bias_downsample=False,
            feed_forward=False,
        )
        super().__init__(
            stages=[
                {"conv1": net.conv1, "bn1": net.bn1, "act": net.act},
                {"maxpool": net.maxpool, "layer1": net.layer1},
                {"layer2": net.layer2},
                {"layer3": net.layer3},
                {"layer4": net.layer4},
            ],
            channels=(64, 64, 128, 256, 512),
            weights=weights,
            published=RESNET18,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
        )


class EfficientNetB0Encoder(Encoder):
    """EfficientNet-B0 with its head convolution, without its classifier: 4,007,548 parameters in two dimensions.

    In training, residual branches are dropped at random (stochastic depth, rate 0 to 0.2), as published.

    Reference:
        M. Tan, Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
        arXiv:1905.11946, table 1.

    Args:
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels.
        weights: initial weights; see `Encoder`.

    Shape:
        - input: (batch, in_channels, *spatial), every side at least `stride`
        - output: list of the feature maps in the module's table; an odd side is rounded down. The padding is
          TensorFlow's "same", as in the training of the published weights, only for sides that are multiples of 32

    Raises:
        ValueError: the weights do not fit; see `load_encoder_weights`.

    Deviation:
        `torch.nn.SiLU` replaces MONAI's memory-efficient swish: it computes the same, and can be scripted and exported.
        Batch norm has momentum 0.1, as in the other encoders, instead of 0.01; see `set_batch_norm_momentum`.
    """

    def __init__(self, spatial_dims: int = 2, in_channels: int = 3, weights: WeightsSource = None) -> None:
        net = EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=spatial_dims, in_channels=in_channels)
        set_batch_norm_momentum(net)
        blocks = [block for stack in net._blocks for block in stack]
        for block in blocks:
            block._swish = nn.SiLU()

        def named(first: int, last: int) -> dict[str, nn.Module]:
            return {f"block{i}": blocks[i] for i in range(first, last + 1)}

        stem = {"pad_stem": net._conv_stem_padding, "conv_stem": net._conv_stem, "bn0": net._bn0, "swish0": nn.SiLU()}
        head = {"conv_head": net._conv_head, "bn1": net._bn1, "swish1": nn.SiLU()}
        super().__init__(
            stages=[stem | named(0, 0), named(1, 2), named(3, 4), named(5, 10), named(11, 15) | head],
            channels=(16, 24, 40, 112, 1280),
            weights=weights,
            published=EFFICIENTNET_B0,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
        )
