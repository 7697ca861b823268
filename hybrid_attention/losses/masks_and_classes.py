"""Segmentation and classification loss of a multi-task network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from monai.losses import DiceLoss
from monai.losses.focal_loss import softmax_focal_loss
from torch import nn
from torch.nn import functional


class MultiTaskTarget(NamedTuple):
    """Labels of a batch."""

    mask: torch.Tensor
    """Index of the region at each pixel, (B, 1, *spatial), any dtype; with two regions 0 or 1 (lesion)."""

    class_index: torch.Tensor | None = None
    """Index of the class of each image, (B,), integers; None where the classes are not known."""


class MultiTaskLoss(nn.Module):
    """Weighted sum of cross-entropies of mask, coarse mask and class, and optionally the soft Jaccard of the mask.

    `L = segmentation_weight (CE(refined) + jaccard_weight Jaccard(refined) + coarse_weight CE(coarse)) +
    classification_weight CE(class)`.

    CE is the softmax cross-entropy, the mean over the pixels or the images of the batch. Terms without a network output
    are omitted: the coarse one without object context, the class one if there is neither a class head nor a class
    label. A label without a head, or a head without a label, is an error unless `classification_weight` is 0. Half
    precision is computed in float32.

    Reference:
        Y. Lu et al., Front Oncol 15:1567577 (2025), eq. 4 and 5, with α = 0.4 and cross-entropies throughout. Focal
        loss, which the paper does not use: T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.

    Args:
        coarse_weight: weight α of the coarse mask within the segmentation loss.
        segmentation_weight: weight of the segmentation loss L_s.
        classification_weight: weight of the classification loss L_c. With 0, class labels are ignored.
        class_weights: one weight above 0 per class, against class imbalance; as in
            `torch.nn.CrossEntropyLoss(weight)`, the mean over the images is weighted by them. None is equal weights.
        focal_gamma: the class loss of each image is multiplied by `(1 - p)^focal_gamma`, with p the probability of
            its true class; 0 is plain cross-entropy, else at least 1 (in between, the gradient is infinite at p = 1).
        jaccard_weight: weight of the soft Jaccard loss of the refined mask, which the paper does not use: the mean over
            images and regions except the background, smoothed by one pixel as in `BCEJaccardLoss`. With two regions and
            weight 1 the segmentation loss is that of HAN.

    Shape:
        - input: `networks.MultiTaskOutput`: logits of the regions, `mask` and `coarse_mask`, (B, K, *spatial), and of
          the classes, `class_logits`, (B, C); None for missing heads
        - target: `MultiTaskTarget`, or a pair in its order
        - output: one value

    After a call, `terms` holds the terms without weights and gradient, which `History` logs: `mask` (of the paper's
    augmented features), `jaccard`, `coarse` (of the soft object regions) and `class`, as far as they are computed.

    Raises:
        ValueError: at the call, shapes do not match, or a label is out of range, not an integer or missing. Checking
            the labels synchronises with the device, since an index out of range would end a CUDA process.
    """

    class_weights: torch.Tensor | None

    def __init__(
        self,
        coarse_weight: float = 0.4,
        segmentation_weight: float = 1.0,
        classification_weight: float = 1.0,
        class_weights: Sequence[float] | None = None,
        focal_gamma: float = 0.0,
        jaccard_weight: float = 0.0,
    ) -> None:
        super().__init__()
        weights = (coarse_weight, segmentation_weight, classification_weight, jaccard_weight)
        if not all(weight >= 0 for weight in weights) or segmentation_weight + classification_weight == 0:
            raise ValueError(
                "coarse_weight, segmentation_weight, classification_weight and jaccard_weight must be at least 0, and "
                f"the second and third not both 0, got {', '.join(map(str, weights))}"
            )
        if class_weights is not None and not all(weight > 0 for weight in class_weights):
            raise ValueError(f"class_weights must all be more than 0, got {list(class_weights)}")
        if not (focal_gamma == 0 or focal_gamma >= 1):
            raise ValueError(f"focal_gamma must be 0 or at least 1, got {focal_gamma}")
        self.terms: dict[str, torch.Tensor] = {}
        self.coarse_weight = coarse_weight
        self.segmentation_weight = segmentation_weight
        self.classification_weight = classification_weight
        self.focal_gamma = focal_gamma
        self.jaccard_weight = jaccard_weight
        self.jaccard = DiceLoss(
            include_background=False, to_onehot_y=True, softmax=True, jaccard=True, smooth_nr=2.0, smooth_dr=2.0
        )
        values = None if class_weights is None else torch.tensor([float(weight) for weight in class_weights])
        self.register_buffer("class_weights", values, persistent=False)

    def forward(self, input: Any, target: MultiTaskTarget | tuple[torch.Tensor, torch.Tensor | None]) -> torch.Tensor:
        """Return the loss."""
        mask, class_index = target
        labels = _region_labels(input.mask, mask)
        terms = {"mask": functional.cross_entropy(_full(input.mask), labels)}
        weights = {"mask": 1.0, "jaccard": self.jaccard_weight, "coarse": self.coarse_weight}
        if self.jaccard_weight > 0:
            terms["jaccard"] = self.jaccard(_full(input.mask), labels[:, None])
        if input.coarse_mask is not None:
            if input.coarse_mask.shape != input.mask.shape:
                raise ValueError(
                    "mask and coarse_mask must have the same shape, "
                    f"got {tuple(input.mask.shape)} and {tuple(input.coarse_mask.shape)}"
                )
            terms["coarse"] = functional.cross_entropy(_full(input.coarse_mask), labels)
        weighted = [self.segmentation_weight * weights[name] * term for name, term in terms.items()]
        if self.classification_weight > 0 and not (input.class_logits is None and class_index is None):
            terms["class"] = self._classification(input.class_logits, class_index)
            weighted.append(self.classification_weight * terms["class"])
        self.terms = {name: term.detach() for name, term in terms.items()}
        return torch.stack(weighted).sum()

    def _classification(self, logits: torch.Tensor | None, class_index: torch.Tensor | None) -> torch.Tensor:
        if logits is None:
            raise ValueError(
                "the target has class labels but the network has no class head (class_logits is None); "
                "give it one, or set classification_weight to 0"
            )
        if class_index is None:
            raise ValueError(
                f"the network has class logits {tuple(logits.shape)} but the target has no class labels; "
                "give class_index, or set classification_weight to 0"
            )
        labels = _class_labels(logits, class_index)
        logits, classes = _full(logits), logits.shape[1]
        truth = functional.one_hot(labels, classes)  # (B,) -> (B, C)
        losses = softmax_focal_loss(logits, truth, gamma=self.focal_gamma).sum(1)  # (B, C) -> (B,)
        if self.class_weights is None:
            return losses.mean()
        if len(self.class_weights) != classes:
            raise ValueError(f"class_weights has {len(self.class_weights)} values for {classes} classes")
        weights = self.class_weights.to(logits)[labels]  # (B,)
        return (weights * losses).sum() / weights.sum()


def _full(logits: torch.Tensor) -> torch.Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _region_labels(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mask as indices: (B, 1, *spatial) -> (B, *spatial), int64."""
    expected = (logits.shape[0], 1, *logits.shape[2:])
    if logits.ndim < 3 or logits.shape[1] < 2 or tuple(mask.shape) != expected:
        raise ValueError(
            "mask logits must be (B, regions, *spatial) with two regions or more, and the target mask "
            f"(B, 1, *spatial) of the same size, got {tuple(logits.shape)} and {tuple(mask.shape)}"
        )
    labels = mask.long()
    if not ((labels == mask) & (labels >= 0) & (labels < logits.shape[1])).all():
        raise ValueError(
            f"the target mask must hold whole numbers from 0 to {logits.shape[1] - 1}, "
            f"got values from {mask.min().item():g} to {mask.max().item():g}, or between"
        )
    return labels[:, 0]


def _class_labels(logits: torch.Tensor, class_index: torch.Tensor) -> torch.Tensor:
    """Return the class labels as int64, (B,)."""
    if logits.ndim != 2 or logits.shape[1] < 2 or tuple(class_index.shape) != (logits.shape[0],):
        raise ValueError(
            "class_logits must be (B, classes) with two classes or more, and the class labels (B,), "
            f"got {tuple(logits.shape)} and {tuple(class_index.shape)}"
        )
    if class_index.is_floating_point():
        raise ValueError(f"class labels must be integers, got {class_index.dtype}")
    labels = class_index.long()
    if not ((labels >= 0) & (labels < logits.shape[1])).all():
        raise ValueError(f"class labels must be from 0 to {logits.shape[1] - 1}, got {labels.tolist()}")
    return labels
