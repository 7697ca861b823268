"""Triple-encoder U-Net with CBAM or non-local attention, and the models that its paper compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from hybrid_attention.networks.blocks.attention import CBAM, NonLocal
from hybrid_attention.networks.blocks.convolutions import (
    check_input,
    crop_like,
    depthwise_separable,
    init_he_normal,
    interpolation_mode,
    pad_to_multiple,
    upsample_2x,
)
from hybrid_attention.networks.encoders import DenseNet121Encoder, EfficientNetB0Encoder, Encoder, ResNet18Encoder
from hybrid_attention.networks.pretrained import (
    DENSENET121,
    EFFICIENTNET_B0,
    RESNET18,
    PublishedWeights,
    WeightsSources,
    source_of_each,
)
from monai.networks.layers import Conv, Dropout
from torch import nn

ENCODERS: dict[str, tuple[Callable[..., Encoder], PublishedWeights]] = {
    "resnet18": (ResNet18Encoder, RESNET18),
    "densenet121": (partial(DenseNet121Encoder, depth=4), DENSENET121),
    "efficientnet-b0": (EfficientNetB0Encoder, EFFICIENTNET_B0),
}
ATTENTIONS: dict[str | None, type[nn.Module]] = {"cbam": CBAM, "non_local": NonLocal, None: nn.Identity}
DECODER_CHANNELS = (512, 256, 128, 64)  # width of the decoder's stages, at strides 32, 16, 8, 4
STRIDE = 32


class AdditiveSkip(nn.Module):
    """Add each encoder's feature map after a 1x1 convolution; without encoders, return the input.

    Shape:
        - input: (batch, channels, *spatial) and a list of (batch, encoder channels, *spatial)
        - output: (batch, channels, *spatial)
    """

    def __init__(self, spatial_dims: int, encoder_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.projections = nn.ModuleList([conv(c, channels, kernel_size=1, bias=False) for c in encoder_channels])

    def forward(self, x: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """Return the input with the projected feature maps added."""
        for i, projection in enumerate(self.projections):
            x = x + projection(features[i])
        return x


class TripleDecoderStage(nn.Module):
    """Add the skips, apply a depthwise separable convolution and attention, and upsample by two.

    Shape:
        - input: (batch, in_channels, *spatial) and a list of (batch, encoder channels, *spatial)
        - output: (batch, out_channels, *twice the spatial size)
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        encoder_channels: Sequence[int],
        out_channels: int,
        attention: nn.Module,
    ) -> None:
        super().__init__()
        self.mode = interpolation_mode(spatial_dims)
        self.skip = AdditiveSkip(spatial_dims, encoder_channels, in_channels)
        self.conv = depthwise_separable(spatial_dims, in_channels, out_channels)
        self.attention = attention
        init_he_normal(self.conv)

    def forward(self, x: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        """Return the decoded features at twice the size."""
        return upsample_2x(self.attention(self.conv(self.skip(x, features))), self.mode)


class TripleEncoderUNet(nn.Module):
    """Segment with several ImageNet encoders in parallel and a light decoder on their concatenated deepest features.

    Arguments of the 20 models of the paper's table 1 (R: resnet18, D: densenet121, E: efficientnet-b0):

    | models     | attention   | encoders | frozen | parameters | trainable  |
    |------------|-------------|----------|--------|------------|------------|
    | 1, 2       | "cbam"      | R D E    | no     | 23,881,989 | 23,881,989 |
    | 3, 4       | "non_local" | R D E    | no     | 24,493,277 | 24,493,277 |
    | 5, 6       | None        | R D E    | yes    | 23,794,557 |  1,656,641 |
    | 7, 8       | None        | R D E    | no     | 23,794,557 | 23,794,557 |
    | 9, 11      | "non_local" | R D E    | yes    | 24,493,277 |  2,355,361 |
    | 10, 12     | "cbam"      | R D E    | yes    | 23,881,989 |  1,744,073 |
    | 13, 14     | None        | D E      | yes    | 12,350,269 |  1,388,865 |
    | 15, 16     | None        | R E      | yes    | 16,305,149 |  1,121,089 |
    | 17, 18     | None        | R D      | yes    | 19,117,569 |    987,201 |
    | 19, 20     | None        | D E      | no     | 12,350,269 | 12,350,269 |

    Reference:
        S. Anari, S. Sadeghi, G. Sheikhi, R. Ranjbarzadeh, M. Bendechache, "Explainable attention based breast tumor
        segmentation using a combination of UNet, ResNet, DenseNet, and EfficientNet models", Scientific Reports 15,
        1027 (2025), doi:10.1038/s41598-024-84504-y, figure 2, table 1.

    Args:
        in_channels: number of input channels; ImageNet weights need 3.
        encoders: one or more of "resnet18", "densenet121", "efficientnet-b0"; their features are concatenated in
            this order.
        attention: block in every decoder stage: "cbam", "non_local" or None.
        freeze_encoders: whether the encoders keep their initial weights and batch-norm statistics, also in `train()`.
            After `torch.jit.script` this applies to their parameters only.
        dropout: rate of the channel-wise dropout before the head; 0.2 to 0.5 in the paper.
        skips: whether each encoder's feature maps are added to the decoder's at strides 16, 8 and 4, through a 1x1
            convolution (not in the paper's counts).
        encoder_weights: initial weights of the encoders: None (random, logged; an error for frozen encoders); "random"
            (also for frozen encoders, e.g. before trained weights are loaded); "imagenet" (downloaded once); a folder
            with the published files under their published names; or a mapping such as
            `{"resnet18": "imagenet", "densenet121": "densenet121-a639ec97.pth", "efficientnet-b0": None}`, with
            every encoder. For a single encoder also the path of its file.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side at least 32
        - output: (batch, out_channels, *spatial), logits

    Deviation:
        The paper gives no widths; they are inferred from the parameter counts of table 1, which all
        agree, except that two printed digits of models 19 and 20 are swapped (12,350,296). Text and figure 2 show skip
        connections between encoder and decoder, but the counts don't include their parameters, so `skips` is off by
        default. The place of the dropout is not given: here it is channel-wise before the head, after the last batch
        norm, so that it does not disturb batch statistics. The fourth stage ends at stride 2; the logits are
        then upsampled by two, which equals upsampling the features first, because the head is a 1x1 convolution.
        Sides that are not multiples of 32 are padded with their last row or column, and the output is cropped: the
        encoders round odd sides differently, so their features would be misaligned. The decoder's
        depthwise separable convolutions are initialised He-normal, all else by PyTorch's defaults. The paper's sigmoid
        is part of the loss and of post-processing.
    """

    gradcam_layer = "decoder.1.attention"  # at stride 16, after the encoders' features are joined

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 1,
        encoders: Sequence[str] = ("resnet18", "densenet121", "efficientnet-b0"),
        attention: str | None = "cbam",
        freeze_encoders: bool = False,
        dropout: float = 0.3,
        skips: bool = False,
        encoder_weights: WeightsSources = None,
    ) -> None:
        super().__init__()
        if not encoders or not set(encoders) <= set(ENCODERS) or len(set(encoders)) < len(encoders):
            raise ValueError(f"encoders must be one or more different names out of {tuple(ENCODERS)}, got {encoders!r}")
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {tuple(ATTENTIONS)}, got {attention!r}")
        self.mode = interpolation_mode(spatial_dims)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.stride = STRIDE
        self.freeze_encoders = freeze_encoders

        sources = source_of_each(encoder_weights, {name: ENCODERS[name][1] for name in encoders})
        if freeze_encoders and None in sources.values():
            raise ValueError(
                "frozen encoders keep their initial weights: give encoder_weights ('imagenet', a folder, or a file for "
                "each), or 'random' if they are to stay random or trained weights are loaded later"
            )
        parts = {name: ENCODERS[name][0](spatial_dims, in_channels, weights=sources[name]) for name in encoders}
        self.encoders = nn.ModuleDict(parts)
        self.encoders.requires_grad_(not freeze_encoders)

        width = sum(part.channels[-1] for part in parts.values())
        self.decoder = nn.ModuleList()
        for i, channels in enumerate(DECODER_CHANNELS):
            skip = [part.channels[-1 - i] for part in parts.values()] if skips and i > 0 else []
            block = ATTENTIONS[attention](spatial_dims, channels)
            self.decoder.append(TripleDecoderStage(spatial_dims, width, skip, channels, block))
            width = channels
        self.dropout = Dropout[Dropout.DROPOUT, spatial_dims](dropout)
        self.head = Conv[Conv.CONV, spatial_dims](width, out_channels, kernel_size=1)
        self.train()

    def train(self, mode: bool = True) -> TripleEncoderUNet:
        """Set training or evaluation mode; frozen encoders stay in evaluation mode."""
        super().train(mode)
        if self.freeze_encoders:
            self.encoders.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits at the input's size."""
        check_input(x, self.spatial_dims, self.in_channels, self.stride)
        padded = pad_to_multiple(x, self.stride)
        features: list[list[torch.Tensor]] = []
        for encoder in self.encoders.values():
            features.append(encoder(padded))
        y = torch.cat([maps[-1] for maps in features], dim=1)
        for i, stage in enumerate(self.decoder):
            y = stage(y, [maps[-1 - i] for maps in features])
        return crop_like(upsample_2x(self.head(self.dropout(y)), self.mode), x)


class TripleEncoderModel(NamedTuple):
    """A row of the paper's table 1: arguments of `TripleEncoderUNet`, and the loss, "bce" or "dice"."""

    attention: str | None
    encoders: tuple[str, ...]
    freeze_encoders: bool
    loss: str


_R, _D, _E = "resnet18", "densenet121", "efficientnet-b0"
# numbers of the models with cross-entropy and with Dice loss; attention, encoders, frozen
_ROWS: list[tuple[int, int, str | None, tuple[str, ...], bool]] = [
    (1, 2, "cbam", (_R, _D, _E), False),
    (3, 4, "non_local", (_R, _D, _E), False),
    (6, 5, None, (_R, _D, _E), True),
    (7, 8, None, (_R, _D, _E), False),
    (11, 9, "non_local", (_R, _D, _E), True),
    (12, 10, "cbam", (_R, _D, _E), True),
    (14, 13, None, (_D, _E), True),
    (15, 16, None, (_R, _E), True),
    (17, 18, None, (_R, _D), True),
    (19, 20, None, (_D, _E), False),
]
MODELS = {
    number: TripleEncoderModel(attention, encoders, frozen, loss)
    for bce, dice, attention, encoders, frozen in _ROWS
    for number, loss in ((bce, "bce"), (dice, "dice"))
}


def triple_encoder_model(number: int) -> TripleEncoderModel:
    """Return the settings of one of the paper's models, 1 to 20 of table 1; a ValueError for another number."""
    if number not in MODELS:
        raise ValueError(f"model must be a number from 1 to {len(MODELS)}, as in the paper's table 1, got {number!r}")
    return MODELS[number]
