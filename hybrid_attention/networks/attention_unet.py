"""Attention U-Net with four stages per side, a dropout rate per stage, and gates as wide as the decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hybrid_attention.networks.blocks.convolutions import check_input, conv_norm_act, interpolation_mode, resize_like
from monai.networks.layers import Conv, Pool
from monai.networks.nets.attentionunet import AttentionBlock
from torch import nn


def dropout_stage(spatial_dims: int, in_channels: int, out_channels: int, dropout: float) -> nn.Module:
    """Build two 3x3 convolutions, each with batch norm and ReLU, with dropout between them."""
    return nn.Sequential(
        conv_norm_act(spatial_dims, in_channels, out_channels),
        nn.Dropout(dropout),
        conv_norm_act(spatial_dims, out_channels, out_channels),
    )


class OpenGate(nn.Module):
    """Return the skip unchanged, in place of an attention gate."""

    def forward(self, g: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the skip `x`, whatever the gating signal `g`."""
        return x


class GatedDecoderStage(nn.Module):
    """Upsample to the skip's size and convolve, gate the skip with the result, concatenate, and convolve twice.

    Shape:
        - input: (batch, in_channels, *coarse) and (batch, skip_channels, *spatial)
        - output: (batch, out_channels, *spatial)
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        dropout: float,
        attention_gate: bool,
    ) -> None:
        super().__init__()
        self.mode = interpolation_mode(spatial_dims)
        self.up = conv_norm_act(spatial_dims, in_channels, out_channels)
        self.gate = (
            AttentionBlock(spatial_dims, f_int=out_channels, f_g=out_channels, f_l=skip_channels)
            if attention_gate
            else OpenGate()
        )
        self.convs = dropout_stage(spatial_dims, skip_channels + out_channels, out_channels, dropout)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return the decoded features at the skip's size."""
        x = self.up(resize_like(x, skip, self.mode))
        return self.convs(torch.cat([self.gate(x, skip), x], dim=1))


class DeepAttentionUNet(nn.Module):
    """Segment with an Attention U-Net one stage deeper than the original, whose decoder is half as wide as its encoder.

    It has 14,378,733 trainable parameters, 14,114,241 without gates, which are those of MONAI's `AttentionUnet`.

    Reference:
        J. Cheng, "The Segmentation Model for Breast Cancer Ultrasound Image Based on Attention U-Net", section 4,
        figure 3; O. Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018,
        arXiv:1804.03999, eq. 1 and 2.

    Args:
        channels: width of each encoder stage, from fine to coarse.
        decoder_channels: width of each decoder stage and of the gate that feeds it, from coarse to fine.
        encoder_dropout: dropout rate of each encoder stage, from fine to coarse; the bottleneck has the last one.
        decoder_dropout: dropout rate of each decoder stage, from coarse to fine.
        attention_gates: whether the skips are gated.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side at least `2 ** len(channels)`
        - output: (batch, out_channels, *spatial), logits

    Deviation:
        The paper does not give the width of the bottleneck; here width and dropout are those of the deepest encoder
        stage. It does not specify the stages, the pooling, the upsampling, the normalisation or the number of input
        channels: here two 3x3 convolutions with batch norm, ReLU and the stage's dropout between them (dropout after
        each convolution made learning much slower), max-pooling, linear interpolation to the skip's size followed by a
        convolution, and one grey channel, because there are no pretrained weights that need three.
        The gate sees the upsampled features, not the coarse ones, so that its coefficients have the skip's resolution.
        Weights are initialised by PyTorch's defaults. The paper's sigmoid is part of the loss and of post-processing.
    """

    gradcam_layer = "decoder.0"  # the deepest features that a gate has acted on

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512),
        bottleneck_channels: int = 512,
        decoder_channels: Sequence[int] = (256, 128, 64, 32),
        encoder_dropout: Sequence[float] = (0.25, 0.25, 0.3, 0.3),
        decoder_dropout: Sequence[float] = (0.3, 0.3, 0.25, 0.25),
        attention_gates: bool = True,
    ) -> None:
        super().__init__()
        lists = {
            "channels": channels,
            "decoder_channels": decoder_channels,
            "encoder_dropout": encoder_dropout,
            "decoder_dropout": decoder_dropout,
        }
        lengths = {name: len(values) for name, values in lists.items()}
        if len(set(lengths.values())) != 1 or not channels:
            raise ValueError(f"{', '.join(lists)} need one entry per stage, got lengths {lengths}")
        interpolation_mode(spatial_dims)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.stride = 2 ** len(channels)
        self.pool = Pool[Pool.MAX, spatial_dims](kernel_size=2)
        self.encoder = nn.ModuleList()
        width = in_channels
        for stage_channels, rate in zip(channels, encoder_dropout, strict=True):
            self.encoder.append(dropout_stage(spatial_dims, width, stage_channels, rate))
            width = stage_channels
        self.bottleneck = dropout_stage(spatial_dims, width, bottleneck_channels, encoder_dropout[-1])
        self.decoder = nn.ModuleList()
        width = bottleneck_channels
        for skip, stage_channels, rate in zip(reversed(channels), decoder_channels, decoder_dropout, strict=True):
            self.decoder.append(GatedDecoderStage(spatial_dims, width, skip, stage_channels, rate, attention_gates))
            width = stage_channels
        self.head = Conv[Conv.CONV, spatial_dims](width, out_channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits at the input's size."""
        check_input(x, self.spatial_dims, self.in_channels, self.stride)
        skips: list[torch.Tensor] = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottleneck(x)
        for i, stage in enumerate(self.decoder):
            x = stage(x, skips[-1 - i])
        return self.head(x)
