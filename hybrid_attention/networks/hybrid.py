"""Hybrid attention network (HAN), its ablation, and HAN with a class head, which recognises images without a lesion."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from hybrid_attention.networks.blocks.convolutions import (
    check_input,
    conv_norm_act,
    conv_relu,
    init_glorot_uniform,
    interpolation_mode,
    resize_like,
)
from hybrid_attention.networks.blocks.sfeb import SFEB
from hybrid_attention.networks.blocks.tam import TAM
from hybrid_attention.networks.encoders import (
    SCALES,
    DenseNet121Encoder,
    EfficientNetB0Encoder,
    EfficientNetLiteEncoder,
    Encoder,
    ResNet18Encoder,
)
from hybrid_attention.networks.multi_task import MultiTaskOutput, class_head
from hybrid_attention.networks.pretrained import WeightsSource, mismatch
from monai.networks.layers import Conv
from torch import nn

SKIP_CHANNELS = (64, 128, 256, 256)  # width of the skip from E1, E2, E3, E4
BOTTLENECK_CHANNELS = 256
FINAL_CHANNELS = 64


class DecoderStage(nn.Module):
    """Reduce and enhance the skip, upsample the input to its size, concatenate and convolve.

    Shape:
        - input: (batch, in_channels, *coarse) and (batch, encoder_channels, *spatial)
        - output: (batch, out_channels, *spatial)
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, encoder_channels: int, out_channels: int, enhance: nn.Module
    ) -> None:
        super().__init__()
        self.mode = interpolation_mode(spatial_dims)
        self.skip = conv_relu(spatial_dims, encoder_channels, out_channels)
        self.enhance = enhance
        self.conv = conv_relu(spatial_dims, in_channels + out_channels, out_channels)

    def forward(self, x: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Return the decoded features at the skip's size."""
        skip = self.enhance(self.skip(features))
        x = resize_like(x, skip, self.mode)
        return self.conv(torch.cat([x, skip], dim=1))


class HybridAttentionNet(nn.Module):
    """Segment with a DenseNet-121 encoder, a light decoder, SFEB on bottleneck and skips, and TAM at the bottleneck.

    Flags and trainable parameters of the rows of the paper's table 2:

    | conv_block | sfeb  | tam   | row                         | parameters |
    |------------|-------|-------|-----------------------------|------------|
    | False      | False | False | Baseline (BL)               | 10,498,945 |
    | True       | False | False | BL + ConvBlock              | 11,089,537 |
    | True       | True  | False | BL + ConvBlock + SFEB       | 15,339,329 |
    | True       | True  | True  | BL + ConvBlock + SFEB + TAM | 15,427,713 |

    Reference:
        M. A. Aslam, A. Naveed, N. Ahmed, "Hybrid Attention Network for Accurate Breast Tumor Segmentation in
        Ultrasound Images", arXiv:2506.16592, section 3, figures 1-3, table 2; journal version: Scientific Reports
        (2025), doi:10.1038/s41598-025-23213-6.

    Args:
        in_channels: number of input channels; ImageNet weights need 3.
        conv_block: whether the bottleneck has the convolution block with batch norm.
        sfeb: whether bottleneck and skips have spatial feature enhancement blocks.
        tam: whether the bottleneck ends in the transformer attention module.
        sfeb_pooling: "local" or "global"; see `SFEB`.
        encoder_depth: number of dense blocks; 3 by the paper's counts, or 4 for the whole DenseNet-121, which adds a
            fifth scale with its skip and decoder stage.
        encoder: "densenet121" as in the paper, or "resnet18", "efficientnet-b0", "efficientnet-lite0",
            "efficientnet-lite1" or "efficientnet-lite2", which have five scales and two dimensions.
        encoder_weights: initial weights of the encoder: None (random; logged), "imagenet" (downloaded once) or the path
            of the published file.
        tsa_scale: "positions" or "channels"; see `TSA`.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side at least 16 (32 with five scales)
        - output: (batch, out_channels, *spatial), logits

        For `torch.export` set the minimum of dynamic sides to twice that: it specialises on maps of width 1.

    Raises:
        ValueError: a training batch has one image (with SFEB); for `encoder_weights` see `load_encoder_weights`.

    Deviation:
        The paper gives few widths; they are inferred from the parameter counts of table 2, which all agree exactly.
        Certainty: ConvBlock and SFEB about 95 %; baseline about 85 % (the text has four dense blocks and
        three transitions, the counts fit three and two); the inside of TAM about 50 % (the counts allow other
        arrangements). The introduction names semantic attention blocks in the decoder, for which the counts leave no
        room and the method section has no definition; here there are none. The paper's sigmoid is part of the loss and
        of post-processing. All but the encoder is initialised Glorot-uniform, as in Keras, which the authors used;
        batch norm has PyTorch's momentum and epsilon.
    """

    gradcam_layer = "bottleneck"

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        conv_block: bool = True,
        sfeb: bool = True,
        tam: bool = True,
        sfeb_pooling: str = "local",
        encoder_depth: int = 3,
        encoder_weights: WeightsSource = None,
        encoder: str = "densenet121",
        tam_heads: int = 1,
        tsa_scale: str = "positions",
    ) -> None:
        super().__init__()
        self.mode = interpolation_mode(spatial_dims)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels

        def enhance(channels: int) -> nn.Module:
            return SFEB(spatial_dims, channels, sfeb_pooling) if sfeb else nn.Identity()

        width = BOTTLENECK_CHANNELS
        self.encoder = _encoder(encoder, spatial_dims, in_channels, encoder_depth, encoder_weights)
        self.bottleneck = nn.Sequential(
            OrderedDict(
                reduce=conv_relu(spatial_dims, self.encoder.channels[-1], width),
                sfeb=enhance(width),
                conv=conv_relu(spatial_dims, width, width),
                conv_block=conv_norm_act(spatial_dims, width, width) if conv_block else nn.Identity(),
                tam=TAM(spatial_dims, width, num_heads=tam_heads, tsa_scale=tsa_scale) if tam else nn.Identity(),
            )
        )
        self.decoder = nn.ModuleList()
        for level in reversed(range(len(self.encoder.channels) - 1)):  # the deepest skip first
            skip = SKIP_CHANNELS[level]
            self.decoder.append(DecoderStage(spatial_dims, width, self.encoder.channels[level], skip, enhance(skip)))
            width = skip
        self.final = conv_relu(spatial_dims, width, FINAL_CHANNELS)
        self.head = Conv[Conv.CONV, spatial_dims](FINAL_CHANNELS, out_channels, kernel_size=1)
        for part in (self.bottleneck, self.decoder, self.final, self.head):
            init_glorot_uniform(part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits at the input's size."""
        check_input(x, self.spatial_dims, self.in_channels, self.encoder.stride)
        features = self.encoder(x)
        return self.decode(x, features, self.bottleneck(features[-1]))

    def decode(self, x: torch.Tensor, features: list[torch.Tensor], y: torch.Tensor) -> torch.Tensor:
        """Return the logits at the size of the input x, from the encoder's features and the bottleneck's y."""
        for i, stage in enumerate(self.decoder):
            y = stage(y, features[-2 - i])
        return self.head(self.final(resize_like(y, x, self.mode)))


def _encoder(name: str, spatial_dims: int, in_channels: int, depth: int, weights: WeightsSource) -> Encoder:
    if name == "densenet121":
        return DenseNet121Encoder(spatial_dims, in_channels, depth, weights)
    if name in ("resnet18", "efficientnet-b0"):
        kind = ResNet18Encoder if name == "resnet18" else EfficientNetB0Encoder
        return kind(spatial_dims, in_channels, weights)
    sizes = [f"efficientnet-{size}" for size in SCALES]
    if name not in sizes:
        known = ", ".join(["densenet121", "resnet18", "efficientnet-b0", *sizes])
        raise ValueError(f"encoder must be one of {known}, got {name!r}")
    if spatial_dims != 2:
        raise ValueError(f"{name} is for spatial_dims=2, got {spatial_dims}")
    return EfficientNetLiteEncoder(name.removeprefix("efficientnet-"), in_channels, weights=weights)


class HybridMultiTaskNet(nn.Module):
    """Segment with the hybrid attention network, and classify from its bottleneck.

    The paper excludes images without a lesion, and a network trained on lesions only often predicts one in normal
    images. In the `mtl_oca` bundle it can replace the network. With three channels, two regions and three classes it
    has 15,559,877 trainable parameters.

    Args:
        num_classes: number of classes of the image, or None for no class head.
        num_regions: number of regions of the mask, the background included.
        options: further arguments of `HybridAttentionNet`.

    Shape:
        - input: (batch, in_channels, *spatial), as `HybridAttentionNet` takes it
        - output: `MultiTaskOutput`, the mask at the input's size, no coarse mask
    """

    gradcam_layer = "network.bottleneck"  # what both tasks see

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int | None = 3,
        num_regions: int = 2,
        **options: Any,
    ) -> None:
        super().__init__()
        if num_regions < 2:
            raise ValueError(f"num_regions must be at least 2 (background and lesion), got {num_regions}")
        self.network = HybridAttentionNet(spatial_dims, in_channels, num_regions, **options)
        self.classifier = class_head(spatial_dims, BOTTLENECK_CHANNELS, num_classes)

    @torch.no_grad()
    def start_from_masks(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Load the weights of a HAN with one output channel and the same options, as the start of the lesion logit.

        HAN has the grey image in each of its channels; here the first channel is the grey image. Further channels and
        regions start with zero weights, so that they do not change the lesion logit. Other weights are a ValueError.
        """
        stem, head = "encoder.stages.0.conv0.weight", "head"
        own = self.network.state_dict()
        adapted = dict(weights)
        if stem in weights and weights[stem][:, :1].shape == own[stem][:, :1].shape:
            adapted[stem] = torch.zeros_like(own[stem])
            adapted[stem][:, 0] = weights[stem].float().sum(dim=1)
        for name in (f"{head}.weight", f"{head}.bias"):
            if name in weights and weights[name].shape == own[name][:1].shape:
                adapted[name] = torch.zeros_like(own[name])
                adapted[name][1] = weights[name][0]
        fault = mismatch(own, adapted)
        if fault:
            raise ValueError(f"the weights are not those of a HAN for masks with the same options: {fault}")
        self.network.load_state_dict(adapted)

    def forward(self, x: torch.Tensor) -> MultiTaskOutput:
        """Return the logits of the mask and of the classes."""
        check_input(x, self.network.spatial_dims, self.network.in_channels, self.network.encoder.stride)
        features = self.network.encoder(x)
        y = self.network.bottleneck(features[-1])
        mask = self.network.decode(x, features, y)
        return MultiTaskOutput(mask=mask, coarse_mask=None, class_logits=self.classifier(y))
