"""Networks of MONAI and of nnU-Net's authors as baselines, for images with every side longer than their stride.

`channels` are the widths of the scales, from fine to coarse: by default 32 at the finest, doubled at each coarser one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from hybrid_attention.data.names import how_to_install
from hybrid_attention.networks.blocks.convolutions import (
    check_input,
    crop_like,
    pad_to_multiple,
    set_batch_norm_momentum,
)
from monai.networks import nets
from monai.networks.layers import Conv, Norm
from torch import nn

WIDTHS = (32, 64, 128, 256, 512)
MAX_WIDTH = {2: 512, 3: 320}  # of nnU-Net, by spatial dimensions


class PadToStride(nn.Module):
    """Pad the input by repeating its border until every side is a multiple of the stride, and crop the output.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side longer than `stride`
        - output: (batch, out_channels, *spatial), logits, of several heads their mean; in training a network with
          several heads gives the list of their logits, the last one first, for `monai.losses.DeepSupervisionLoss`
    """

    def __init__(
        self, network: nn.Module, spatial_dims: int, in_channels: int, stride: int, gradcam_layer: str
    ) -> None:
        super().__init__()
        self.network = network
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.stride = stride
        self.gradcam_layer = f"network.{gradcam_layer}"

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Return the logits at the input's size."""
        check_input(x, self.spatial_dims, self.in_channels, self.stride)
        if not torch.jit.is_tracing() and min(x.shape[2:]) == self.stride:
            raise ValueError(
                f"spatial size {tuple(x.shape[2:])} is too small: the deepest features are {self.stride} times coarser "
                f"and can't be normalised over a single position, so every side must be longer than {self.stride}"
            )
        output = self.network(pad_to_multiple(x, self.stride))
        if isinstance(output, list):
            if self.training and len(output) > 1:
                return [crop_like(logits, x) for logits in reversed(output)]
            output = torch.stack(output).mean(dim=0)
        return crop_like(output, x)


def without(network: nn.Module, *unused: str) -> nn.Module:
    """Remove parts that don't affect a network's output in place, so that their parameters are not counted."""
    for name in unused:
        network.set_submodule(name, nn.Identity())
    return network


def basic_unet(
    spatial_dims: int = 2, in_channels: int = 3, out_channels: int = 1, channels: Sequence[int] = WIDTHS
) -> nn.Module:
    """Build a U-Net with instance norm; 7,783,425 parameters in 2D.

    `hybrid_attention.networks.PlainUNet` is the U-Net without norm of HAN's paper.

    Reference:
        T. Falk et al., "U-Net: deep learning for cell counting, detection, and morphometry", Nature Methods 16, 67-70
        (2019), doi:10.1038/s41592-018-0261-2, as `monai.networks.nets.BasicUNet`.
    """
    network = nets.BasicUNet(spatial_dims, in_channels, out_channels, features=(*channels, channels[0]))
    return PadToStride(network, spatial_dims, in_channels, stride=16, gradcam_layer="upcat_1")


def residual_unet(
    spatial_dims: int = 2, in_channels: int = 3, out_channels: int = 1, channels: Sequence[int] = WIDTHS
) -> nn.Module:
    """Build the U-Net with residual units of MONAI's tutorials; 6,500,734 parameters in 2D.

    Reference:
        E. Kerfoot et al., "Left-Ventricle Quantification Using Residual U-Net", STACOM 2018,
        doi:10.1007/978-3-030-12029-0_40, as `monai.networks.nets.UNet`.

    Deviation:
        Batch norm, as in the tutorials. MONAI's default, instance norm, is also applied to the last unit, where it
        removes the mean of an image's only output channel, and so the size of the lesion.
    """
    halvings = len(channels) - 1
    network = nets.UNet(
        spatial_dims, in_channels, out_channels, channels, strides=(2,) * halvings, num_res_units=2, norm="batch"
    )
    # the last unit has only the output's channels
    return PadToStride(network, spatial_dims, in_channels, stride=2**halvings, gradcam_layer="model.1.submodule.2")


def unet_plus_plus(
    spatial_dims: int = 2,
    in_channels: int = 3,
    out_channels: int = 1,
    channels: Sequence[int] = WIDTHS,
    deep_supervision: bool = False,
) -> nn.Module:
    """Build a U-Net++; 9,119,233 parameters in 2D, 9,119,332 with deep supervision.

    With `deep_supervision` all four nested U-Nets, L1 to L4, have a head, as in the paper. In training the network then
    returns their logits, those of L4 first, for `monai.losses.DeepSupervisionLoss`.

    Reference:
        Z. Zhou, M. M. Rahman Siddiquee, N. Tajbakhsh, J. Liang, "UNet++: A Nested U-Net Architecture for Medical Image
        Segmentation", DLMIA 2018, doi:10.1007/978-3-030-00889-5_1, with the paper's widths, as
        `monai.networks.nets.BasicUNetPlusPlus`.

    Deviation:
        MONAI's blocks: instance norm and leaky ReLU. The paper's "accurate" mode averages the probabilities of the four
        heads; here, their logits.
    """
    network = nets.BasicUNetPlusPlus(
        spatial_dims, in_channels, out_channels, features=(*channels, channels[0]), deep_supervision=deep_supervision
    )
    if not deep_supervision:
        without(network, "final_conv_0_1", "final_conv_0_2", "final_conv_0_3")
    return PadToStride(network, spatial_dims, in_channels, stride=16, gradcam_layer="upcat_0_4")


def attention_unet(
    spatial_dims: int = 2, in_channels: int = 3, out_channels: int = 1, channels: Sequence[int] = WIDTHS
) -> nn.Module:
    """Build an Attention U-Net; 7,940,321 parameters in 2D.

    Reference:
        O. Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018, arXiv:1804.03999, as
        `monai.networks.nets.AttentionUnet`.

    Deviation:
        MONAI's form has strided convolutions instead of max-pooling, transposed convolutions instead of interpolation,
        batch norm, and one convolution after each concatenation. Its gates are half as wide as the skip, and see the
        upsampled features. `DeepAttentionUNet` is the form of one of this project's papers, with pooling.
    """
    halvings = len(channels) - 1
    network = nets.AttentionUnet(spatial_dims, in_channels, out_channels, channels, strides=(2,) * halvings)
    return PadToStride(network, spatial_dims, in_channels, stride=2**halvings, gradcam_layer="model.1.merge")


def segresnet(
    spatial_dims: int = 2,
    in_channels: int = 3,
    out_channels: int = 1,
    init_filters: int = 32,
    dropout_prob: float | None = None,
) -> nn.Module:
    """Build a SegResNet without its variational autoencoder; 6,299,073 parameters in 2D.

    `init_filters`, the width of the finest scale, is a multiple of 8; the paper's `dropout_prob`
    of the first features is 0.2.

    Reference:
        A. Myronenko, "3D MRI brain tumor segmentation using autoencoder regularization", BrainLes 2018,
        doi:10.1007/978-3-030-11726-9_28, with the paper's width, as `monai.networks.nets.SegResNet`.
    """
    network = nets.SegResNet(spatial_dims, init_filters, in_channels, out_channels, dropout_prob)
    return PadToStride(network, spatial_dims, in_channels, stride=8, gradcam_layer="up_layers.2")


def swin_unetr(spatial_dims: int = 2, in_channels: int = 3, out_channels: int = 1, feature_size: int = 24) -> nn.Module:
    """Build a Swin UNETR; 6,302,875 parameters in 2D, 25,139,275 with the paper's `feature_size=48`.

    `feature_size`, the width of the finest scale, is a multiple of 12; 24 is the size of the other baselines.

    Reference:
        A. Hatamizadeh et al., "Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in MRI Images",
        BrainLes 2021, doi:10.1007/978-3-031-08999-2_22, as `monai.networks.nets.SwinUNETR`.
    """
    network = nets.SwinUNETR(in_channels, out_channels, feature_size=feature_size, spatial_dims=spatial_dims)
    return PadToStride(network, spatial_dims, in_channels, stride=32, gradcam_layer="decoder1")


def flexible_unet(
    spatial_dims: int = 2, in_channels: int = 3, out_channels: int = 1, backbone: str = "efficientnet-b0"
) -> nn.Module:
    """Build a U-Net on an ImageNet classifier's encoder, from a random start.

    In 2D it has 5,367,117 parameters with efficientnet-b0 and 23,653,745 with resnet34.

    `backbone` is "efficientnet-b0" to "efficientnet-b8", or "resnet10" to "resnet200" (those that MONAI has).

    Reference:
        M. Tan, Q. V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
        arXiv:1905.11946, or K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385,
        as `monai.networks.nets.FlexibleUNet`.

    Deviation:
        Batch norm of an EfficientNet encoder has momentum 0.1 instead of MONAI's 0.01; see `set_batch_norm_momentum`.
    """
    network = nets.FlexibleUNet(in_channels, out_channels, backbone, pretrained=False, spatial_dims=spatial_dims)
    if backbone.startswith("efficientnet"):
        without(network, "encoder._conv_head", "encoder._bn1", "encoder._fc")  # the classifier's
        set_batch_norm_momentum(network.encoder)
    return PadToStride(network, spatial_dims, in_channels, stride=32, gradcam_layer="decoder.blocks.4")


def nnunet(spatial_dims: int = 2, in_channels: int = 3, out_channels: int = 1, stages: int = 6) -> nn.Module:
    """Build nnU-Net's U-Net; 20,617,697 parameters in 2D with 6 stages, 33,469,409 with 7.

    `stages` is the number of scales. nnU-Net's planner halves the size while a side has 4 or more positions: 6 scales
    for sides of 128 to 255 pixels, 7 for 256 to 511. Every side of an image must be longer than `2 ** (stages - 1)`.

    Reference:
        F. Isensee, P. F. Jaeger, S. A. A. Kohl, J. Petersen, K. H. Maier-Hein, "nnU-Net: a self-configuring method for
        deep learning-based biomedical image segmentation", Nature Methods 18, 203-211 (2021),
        doi:10.1038/s41592-020-01008-z, as `PlainConvUNet` of its authors' dynamic-network-architectures.

    Raises:
        ImportError: dynamic-network-architectures is not installed.

    Deviation:
        No deep supervision: the bundles' losses expect one mask.
    """
    network = _architectures().PlainConvUNet(
        **_plan(spatial_dims, in_channels, out_channels, stages), n_conv_per_stage=2, n_conv_per_stage_decoder=2
    )
    return _ready(network, spatial_dims, in_channels, stages)


def nnunet_residual(spatial_dims: int = 2, in_channels: int = 3, out_channels: int = 1, stages: int = 6) -> nn.Module:
    """Build nnU-Net's U-Net with residual encoder (ResEnc).

    In 2D it has 71,815,201 parameters with 6 stages, 105,914,401 with 7.

    Arguments, result, errors and deviation are those of `nnunet`.

    Reference:
        F. Isensee et al., "nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image Segmentation",
        MICCAI 2024, arXiv:2404.09556, as `ResidualEncoderUNet` of its authors'
        dynamic-network-architectures.
    """
    blocks = [(1, 3, 4, 6)[min(stage, 3)] for stage in range(stages)]
    network = _architectures().ResidualEncoderUNet(
        **_plan(spatial_dims, in_channels, out_channels, stages), n_blocks_per_stage=blocks, n_conv_per_stage_decoder=1
    )
    return _ready(network, spatial_dims, in_channels, stages)


def _architectures() -> Any:
    try:
        from dynamic_network_architectures.architectures import unet
    except ImportError as error:
        raise ImportError(
            f"nnU-Net's networks need dynamic-network-architectures: {how_to_install('baselines')}"
        ) from error
    return unet


def _plan(spatial_dims: int, in_channels: int, out_channels: int, stages: int) -> dict[str, Any]:
    """Return the arguments that both networks share."""
    return {
        "input_channels": in_channels,
        "n_stages": stages,
        "features_per_stage": [min(32 * 2**stage, MAX_WIDTH[spatial_dims]) for stage in range(stages)],
        "conv_op": Conv[Conv.CONV, spatial_dims],
        "kernel_sizes": 3,
        "strides": [1] + [2] * (stages - 1),
        "num_classes": out_channels,
        "conv_bias": True,
        "norm_op": Norm[Norm.INSTANCE, spatial_dims],
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
    }


def _ready(network: Any, spatial_dims: int, in_channels: int, stages: int) -> nn.Module:
    """Initialise the weights as nnU-Net does, and remove the heads of deep supervision."""
    network.apply(network.initialize)
    without(network, *(f"decoder.seg_layers.{stage}" for stage in range(stages - 2)))
    return PadToStride(network, spatial_dims, in_channels, 2 ** (stages - 1), f"decoder.stages.{stages - 2}")
