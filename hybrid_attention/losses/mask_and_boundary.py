"""Loss of networks that predict several masks and boundaries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.loss import _Loss


def mask_boundary(mask: torch.Tensor) -> torch.Tensor:
    """Return the pixels whose 3x3 neighbourhood within the image is partly in the mask and partly outside.

    Args:
        mask: (batch, channel, height, width), values 0 and 1.

    Returns:
        Dilation minus erosion, of the same shape and type.
    """
    values = mask if mask.is_floating_point() else mask.float()
    dilated = functional.max_pool2d(values, kernel_size=3, stride=1, padding=1)
    eroded = -functional.max_pool2d(-values, kernel_size=3, stride=1, padding=1)
    return (dilated - eroded).to(mask.dtype)


class MaskAndBoundaryLoss(_Loss):
    """Compare each predicted mask with the mask, and each predicted boundary with the boundary of the mask.

    Args:
        loss: of logits and target, (batch, channel, height, width); its mean over the channels weighs all maps alike.

    Shape:
        - input: a pair of logits, masks (batch, any, height, width) and boundaries (batch, any, height, width); or one
          tensor of masks, as in evaluation
        - target: (batch, 1, height, width), the mask, values 0 and 1
        - output: that of `loss`
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, input: torch.Tensor | Sequence[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        if isinstance(input, torch.Tensor):
            return self.loss(input, target)
        masks, boundaries = input
        targets = [target.expand(masks.shape), mask_boundary(target).expand(boundaries.shape)]
        return self.loss(torch.cat([masks, boundaries], dim=1), torch.cat(targets, dim=1))
