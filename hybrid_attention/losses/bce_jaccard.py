"""Binary cross-entropy plus soft Jaccard loss."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from monai.utils import LossReduction
from torch import nn
from torch.nn.modules.loss import _Loss


class BCEJaccardLoss(_Loss):
    """Weighted sum of binary cross-entropy and soft Jaccard loss on logits, per image and channel.

    `BCE` is the mean over the pixels. With `I = sum(p g)` and `U = sum(p + g - p g)` over the pixels of one image and
    channel, `Jaccard = 1 - (I + smooth) / (U + smooth)`. Both are computed in float32 or float64.

    Reference:
        M. A. Aslam, A. Naveed, N. Ahmed, "Hybrid Attention Network for Accurate Breast Tumor Segmentation in
        Ultrasound Images", arXiv:2506.16592, eq. 16-18.

    Args:
        bce_weight: weight of the cross-entropy.
        jaccard_weight: weight of the Jaccard loss.
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

    Raises:
        ValueError: a weight is negative or both are zero, `smooth` is not positive, `reduction` is unknown, or
            the shapes differ.

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
