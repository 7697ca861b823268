"""The networks of nnU-Net as configured by its planners, without its training procedure."""

from __future__ import annotations

from typing import Any

from hybrid_attention.data.names import how_to_install
from hybrid_attention.networks.baselines.pad_to_stride import PadToStride, without
from monai.networks.layers import Conv, Norm
from torch import nn

MAX_WIDTH = {2: 512, 3: 320}


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
