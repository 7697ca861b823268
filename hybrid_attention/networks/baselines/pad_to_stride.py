"""Any image size for networks of other libraries."""

from __future__ import annotations

import torch
from hybrid_attention.networks.blocks.convolutions import check_input, crop_like, pad_to_multiple
from torch import nn


class PadToStride(nn.Module):
    """Pad the input by repeating its border until every side is a multiple of the stride, and crop the output.

    Args:
        network: returns one tensor, or a list of tensors of the same size, one for each of its heads.
        stride: downsampling factor of the network's deepest features.
        gradcam_layer: the network's default layer for Grad-CAM.

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
