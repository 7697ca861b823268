"""Convolution units, initialisation, resizing and checks of the input, shared by the networks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution
from torch import nn

INTERPOLATION = {2: "bilinear", 3: "trilinear"}
GROUPS = 8  # of a group norm


def conv_relu(spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Module:
    """Build a convolution (with bias) followed by ReLU, written C in the parameter tables."""
    return Convolution(spatial_dims, in_channels, out_channels, kernel_size=kernel_size, norm=None, act="relu")


def conv_norm_act(
    spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 3, act: str = "relu"
) -> nn.Module:
    """Build a convolution (with bias) followed by batch norm and an activation, written CB in the parameter tables."""
    return Convolution(spatial_dims, in_channels, out_channels, kernel_size=kernel_size, norm="batch", act=act)


def plain_stage(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Build two 3x3 convolutions, each with batch norm and ReLU: `9 (Cin + Cout) Cout + 6 Cout` parameters in 2D."""
    return nn.Sequential(
        conv_norm_act(spatial_dims, in_channels, out_channels), conv_norm_act(spatial_dims, out_channels, out_channels)
    )


def conv_group_norm(
    spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int = 3, groups: int = GROUPS
) -> nn.Module:
    """Build a convolution (with bias) followed by group norm and ReLU: `9 Cin Cout + 3 Cout` parameters in 2D."""
    norm = ("group", {"num_groups": groups})
    return Convolution(
        spatial_dims, in_channels, out_channels, kernel_size=kernel_size, adn_ordering="NA", norm=norm, act="relu"
    )


def depthwise_separable(spatial_dims: int, in_channels: int, out_channels: int) -> nn.Module:
    """Build a 3x3 convolution per channel, then a 1x1 convolution across the channels, each with ReLU6.

    depthwise (no bias) → batch norm → ReLU6 → pointwise (no bias) → batch norm → ReLU6. In two dimensions it has
    `9 Cin + 2 Cin + Cin Cout + 2 Cout` trainable parameters.

    Reference:
        A. G. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
        arXiv:1704.04861, figure 3; with ReLU6 as in S. Anari et al., doi:10.1038/s41598-024-84504-y, "Depthwise
        separable convolutions".
    """
    return nn.Sequential(
        OrderedDict(
            depthwise=Convolution(
                spatial_dims, in_channels, in_channels, groups=in_channels, bias=False, norm="batch", act="relu6"
            ),
            pointwise=Convolution(
                spatial_dims, in_channels, out_channels, kernel_size=1, bias=False, norm="batch", act="relu6"
            ),
        )
    )


def init_glorot_uniform(module: nn.Module) -> None:
    """Initialise every convolution in `module` Glorot-uniform with bias zero, the default of Keras.

    PyTorch's default reduces the variance about six-fold per convolution with ReLU; the initial output of a decoder
    or a U-Net without normalisation would hardly depend on its input.

    Reference:
        X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks",
        AISTATS 2010, eq. 16.
    """
    _init_convolutions(module, nn.init.xavier_uniform_)


def init_he_normal(module: nn.Module) -> None:
    """Initialise every convolution in `module` He-normal with bias zero, so that ReLU preserves the variance.

    Reference:
        K. He et al., "Delving Deep into Rectifiers", ICCV 2015, eq. 10; O. Ronneberger, P. Fischer, T. Brox, "U-Net",
        MICCAI 2015, section 3.
    """
    _init_convolutions(module, partial(nn.init.kaiming_normal_, nonlinearity="relu"))


def _init_convolutions(module: nn.Module, init: Callable[[torch.Tensor], torch.Tensor]) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            init(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def set_batch_norm_momentum(module: nn.Module, momentum: float = 0.1) -> None:
    """Set the momentum of every batch norm in `module`, by default to PyTorch's default.

    MONAI's EfficientNet has 0.01: a few hundred steps after random initialisation its running variances are still far
    above those of the images, and in evaluation nothing is predicted although the training loss falls.
    """
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            part.momentum = momentum


def with_group_norm(network: nn.Module, groups: int = GROUPS) -> nn.Module:
    """Replace every batch norm of a network with group norm, which does not depend on the batch.

    Unlike the `norm` argument of MONAI's `FlexibleUNet`, which applies to the decoder only. Scales and shifts are
    initialised, as weights trained with batch norm are of no use without its statistics.

    Reference:
        Y. Wu, K. He, "Group Normalization", ECCV 2018, arXiv:1803.08494.

    The network is changed in place, and returned.

    Raises:
        ValueError: the network has no batch norm, or its channels are not divisible by `groups`.
    """
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
    }
    if not norms:
        raise ValueError(f"{type(network).__name__} has no batch norm to replace")
    for name, norm in norms.items():
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.GroupNorm(groups, norm.num_features, norm.eps, norm.affine))
    return network


def interpolation_mode(spatial_dims: int) -> str:
    """Return the mode of linear interpolation for a number of spatial dimensions."""
    if spatial_dims not in INTERPOLATION:
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}")
    return INTERPOLATION[spatial_dims]


def resize_like(x: torch.Tensor, other: torch.Tensor, mode: str, align_corners: bool = False) -> torch.Tensor:
    """Interpolate `x` to the spatial size of `other`."""
    return F.interpolate(x, size=other.shape[2:], mode=mode, align_corners=align_corners)


def upsample_2x(x: torch.Tensor, mode: str) -> torch.Tensor:
    """Interpolate to twice the spatial size."""
    return F.interpolate(x, size=[2 * side for side in x.shape[2:]], mode=mode, align_corners=False)


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Repeat the last row and column until every side is a multiple of `multiple`.

    By index, because `torch.export` can't prove the amounts of `F.pad` for every size.
    """
    for axis in range(2, x.dim()):
        side = x.shape[axis]
        index = torch.arange((side + multiple - 1) // multiple * multiple, device=x.device)
        x = x.index_select(axis, index.clamp(max=side - 1))
    return x


def crop_like(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Crop `x` at the end of every axis to the spatial size of `other`."""
    for axis in range(2, x.dim()):
        x = x.index_select(axis, torch.arange(other.shape[axis], device=x.device))
    return x


def check_training_batch(x: torch.Tensor, training: bool, block: str) -> None:
    """Raise an error if a block with batch norm on one value per channel is trained with a batch of one."""
    if training and x.shape[0] == 1:
        raise ValueError(
            f"{block} got a batch of 1 in training mode: its gate normalises one value per channel over the batch. "
            "Train with a batch of at least 2 (drop_last=True skips a short last batch), "
            "or call eval() for inference"
        )


def check_input(x: torch.Tensor, spatial_dims: int, in_channels: int, stride: int) -> None:
    """Raise an error if the dimensions or channels of a batch differ from these, or a side is shorter than `stride`."""
    if torch.jit.is_tracing():  # sizes are tensors then, and comparisons would become constants of the graph
        return
    if x.dim() != spatial_dims + 2:
        raise ValueError(
            f"expected (batch, channel) and {spatial_dims} spatial dimensions, received {x.dim()} dimensions in all"
        )
    if x.shape[1] != in_channels:
        raise ValueError(
            f"expected {in_channels} input channels, received {x.shape[1]}. For grey images and a network with three "
            "input channels repeat the channel (monai.transforms.RepeatChannel), or build it with in_channels=1"
        )
    for axis in range(spatial_dims):
        if x.shape[axis + 2] < stride:
            raise ValueError(
                f"spatial size {x.shape[axis + 2]} (axis {axis}) is too small: "
                f"the total stride is {stride}, so every side needs at least {stride}"
            )
