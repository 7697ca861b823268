"""Losses of networks that predict masks only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.losses import DiceLoss
from monai.utils import LossReduction
from torch import nn
from torch.nn import functional
from torch.nn.modules.loss import _Loss


class BCEJaccardLoss(_Loss):
    """Weighted sum of binary cross-entropy and soft Jaccard loss on logits, per image and channel.

    `BCE` is the mean over the pixels. With `I = sum(p g)` and `U = sum(p + g - p g)` over the pixels of one image and
    channel, `Jaccard = 1 - (I + smooth) / (U + smooth)`. Both are computed in float32 or float64.

    Reference:
        M. A. Aslam, A. Naveed, N. Ahmed, "Hybrid Attention Network for Accurate Breast Tumor Segmentation in
        Ultrasound Images", arXiv:2506.16592, eq. 16-18.

    Args:
        smooth: pixels added to intersection and union, greater than 0, so that the loss of an empty target is
            `1 - smooth / (sum(p) + smooth)`, zero for an empty prediction. MONAI's Jaccard is
            `1 - (2 I + smooth_nr) / (2 U + smooth_dr)`, so both of its constants are `2 * smooth`.
        reduction: "mean" or "sum" over images and channels, or "none", which keeps them.

    Shape:
        - input: (batch, channel, *spatial), logits
        - target: the same, values in [0, 1]; not checked, because that would synchronise with the device
        - output: one value, or (batch, channel, 1, 1[, 1]) with `reduction="none"`

    After a call, `terms` holds the means over images and channels of `bce` and `jaccard`, without weights and gradient,
    which `History` logs.

    Deviation:
        Eq. 16 sums the cross-entropy over the pixels, which would dominate a Jaccard loss of at most one; here it is
        averaged, as in the authors' framework. Eq. 17 has no smoothing and is undefined for an empty target.
        The paper does not say whether the Jaccard is computed per image or per batch; here it is per image.
    """

    def __init__(
        self, bce_weight: float = 1.0, jaccard_weight: float = 1.0, smooth: float = 1.0, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction=LossReduction(reduction).value)
        if bce_weight < 0 or jaccard_weight < 0 or bce_weight + jaccard_weight == 0:
            raise ValueError(
                "bce_weight and jaccard_weight must be at least 0 and not both 0, "
                f"got {bce_weight} and {jaccard_weight}"
            )
        if smooth <= 0:
            raise ValueError(f"smooth must be more than 0, got {smooth}")
        self.terms: dict[str, torch.Tensor] = {}
        self.bce_weight = bce_weight
        self.jaccard_weight = jaccard_weight
        self.bce = nn.BCEWithLogitsLoss(reduction="none")
        self.jaccard = DiceLoss(
            sigmoid=True, jaccard=True, reduction="none", smooth_nr=2 * smooth, smooth_dr=2 * smooth
        )

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        if input.shape != target.shape:
            raise ValueError(
                f"input and target must have the same shape, got {tuple(input.shape)} and {tuple(target.shape)}"
            )
        if input.dtype in (torch.float16, torch.bfloat16):
            input = input.float()
        target = target.to(input.dtype)
        pixels = list(range(2, input.dim()))
        bce = self.bce(input, target).mean(dim=pixels, keepdim=True)  # (b, c, *spatial) -> (b, c, 1, 1)
        jaccard = self.jaccard(input, target)  # (b, c, 1, 1)
        self.terms = {"bce": bce.detach().mean(), "jaccard": jaccard.detach().mean()}
        loss = self.bce_weight * bce + self.jaccard_weight * jaccard  # (b, c, 1, 1)
        if self.reduction == "none":
            return loss
        return loss.mean() if self.reduction == "mean" else loss.sum()


def mask_boundary(mask: torch.Tensor) -> torch.Tensor:
    """Return the pixels whose 3x3 neighbourhood within the image is partly in the mask, of 0 and 1, partly not."""
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
