"""Convolution units, their initialisation and the size rules that the networks share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution
from torch import nn

INTERPOLATION = {2: "bilinear", 3: "trilinear"}


def conv_relu(spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Module:
    """Build convolution (with bias), then ReLU: the unit written C in the count tables."""
    return Convolution(spatial_dims, in_channels, out_channels, kernel_size=kernel_size, norm=None, act="relu")


def conv_norm_act(
    spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 3, act: str = "relu"
) -> nn.Module:
    """Build convolution (with bias), batch norm, then activation: the unit written CB in the count tables."""
    return Convolution(spatial_dims, in_channels, out_channels, kernel_size=kernel_size, norm="batch", act=act)


def init_glorot_uniform(module: nn.Module) -> None:
    """Draw every convolution in `module` Glorot-uniform with bias zero, as Keras does by default.

    PyTorch's own default shrinks the signal about six-fold in variance at each convolution with ReLU; a decoder
    or a U-Net without normalisation would start with an output that hardly depends on its input.

    Reference:
        X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks",
        AISTATS 2010, eq. 16.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def init_he_normal(module: nn.Module) -> None:
    """Draw every convolution in `module` He-normal with bias zero, so that ReLU keeps the signal's size.

    Reference:
        K. He et al., "Delving Deep into Rectifiers", ICCV 2015, eq. 10; O. Ronneberger, P. Fischer, T. Brox, "U-Net",
        MICCAI 2015, section 3.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def set_batch_norm_momentum(module: nn.Module, momentum: float = 0.1) -> None:
    """Let the running statistics of every batch norm in `module` follow training at PyTorch's own pace.

    MONAI's EfficientNet has 0.01: after a few hundred steps from a random start its running variances are still far
    above those of the images, and in evaluation nothing is marked while the training loss falls.
    """
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            part.momentum = momentum


def interpolation_mode(spatial_dims: int) -> str:
    """Name the linear interpolation for this number of spatial dimensions.

    Raises:
        ValueError: When `spatial_dims` is neither 2 nor 3.
    """
    if spatial_dims not in INTERPOLATION:
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
    return INTERPOLATION[spatial_dims]


def resize_like(x: torch.Tensor, other: torch.Tensor, mode: str) -> torch.Tensor:
    """Interpolate `x` to the spatial size of `other`: by two where sizes divide evenly, and to fit elsewhere."""
    return F.interpolate(x, size=other.shape[2:], mode=mode, align_corners=False)


def check_input(x: torch.Tensor, spatial_dims: int, in_channels: int, stride: int) -> None:
    """Refuse a batch that a network cannot take.

    Args:
        x: the batch.
        spatial_dims: expected number of spatial dimensions.
        in_channels: expected number of channels.
        stride: total stride of the network, which is the smallest size it can take.

    Raises:
        ValueError: When the number of dimensions or of channels differs, or a side is shorter than `stride`.
    """
    if torch.jit.is_tracing():  # sizes are tensors then, and a comparison would be frozen into the graph
        return
    if x.dim() != spatial_dims + 2:
        raise ValueError(
            f"expected (batch, channel) and {spatial_dims} spatial dimensions, received {x.dim()} dimensions in all."
        )
    if x.shape[1] != in_channels:
        raise ValueError(
            f"expected {in_channels} input channels, received {x.shape[1]}. For grey images and a network with three "
            "input channels repeat the channel (monai.transforms.RepeatChannel), or build it with in_channels=1."
        )
    for axis in range(spatial_dims):
        if x.shape[axis + 2] < stride:
            raise ValueError(
                f"spatial size {x.shape[axis + 2]} (axis {axis}) is too small: "
                f"the total stride is {stride}, so every side needs at least {stride}."
            )
