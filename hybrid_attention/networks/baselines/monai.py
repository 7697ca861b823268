"""Baselines from MONAI, for images with every side longer than their stride.

`channels` are the widths of the scales, from fine to coarse: by default 32 at the finest, doubled at each coarser one.
"""

from __future__ import annotations

from collections.abc import Sequence

from hybrid_attention.networks.baselines.pad_to_stride import PadToStride, without
from hybrid_attention.networks.blocks.convolutions import set_batch_norm_momentum
from monai.networks import nets
from torch import nn

WIDTHS = (32, 64, 128, 256, 512)


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
