"""Any image size for a network that halves it several times."""

from __future__ import annotations

import torch
from hybrid_attention.networks.blocks.convolutions import check_input
from hybrid_attention.networks.triple_encoder_unet import crop_like, pad_to_multiple
from torch import nn


class PadToStride(nn.Module):
    """Repeat the border until every side is a multiple of the network's stride, and crop its output again.

    Args:
        network: returns one tensor, or a list whose last tensor is the finest.
        spatial_dims: number of spatial dimensions, 2 or 3.
        in_channels: number of input channels.
        stride: how much coarser the network's deepest features are than the image.
        gradcam_layer: name of the network's layer that Grad-CAM explains unless told otherwise.

    Shape:
        - input: (batch, in_channels, *spatial), any size with every side longer than `stride`
        - output: (batch, out_channels, *spatial), logits

    Raises:
        ValueError: When the input doesn't fit.
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits at the input's size."""
        check_input(x, self.spatial_dims, self.in_channels, self.stride)
        if not torch.jit.is_tracing() and min(x.shape[2:]) == self.stride:
            raise ValueError(
                f"spatial size {tuple(x.shape[2:])} is too small: the deepest features are {self.stride} times coarser "
                f"and need more than one position to be normalised, so every side needs more than {self.stride}."
            )
        output = self.network(pad_to_multiple(x, self.stride))
        return crop_like(output[-1] if isinstance(output, list) else output, x)


def without(network: nn.Module, *unused: str) -> nn.Module:
    """Take parts out of a network that never act on its output, so that they are not counted.

    Args:
        network: changed in place.
        unused: names of the parts; each becomes `nn.Identity()`.

    Returns:
        The network.
    """
    for name in unused:
        network.set_submodule(name, nn.Identity())
    return network
