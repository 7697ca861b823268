"""Knowledge distillation: a small network learns from the predictions of larger ones, beside the labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from hybrid_attention.engines.trained_weights import load_weights
from hybrid_attention.losses import MultiTaskLoss, MultiTaskTarget
from hybrid_attention.networks import MultiTaskOutput
from torch import nn


class DistillationTarget(NamedTuple):
    """Labels of a batch, and the predictions of the teachers for it."""

    mask: torch.Tensor
    class_index: torch.Tensor | None
    region_probability: torch.Tensor
    """(B, regions, *spatial)."""
    class_probability: torch.Tensor | None
    """(B, classes), or None for teachers without class head."""


class PrepareDistillation:
    """Add the mean prediction of trained networks to a batch, as `prepare_batch` of MONAI's trainer.

    The teachers see the images as the student does, after augmentation, and run under the same autocast.

    Args:
        prepare_batch: prepares images and `MultiTaskTarget`, for example `AugmentBatch`.
        teachers: networks that return a `MultiTaskOutput`.
        weights: their weight files (`model.pt`), in the same order.
        inferer: runs them, as in training.
        device: where they run.

    Raises:
        ValueError: there is no teacher, or not one weight file per teacher, or the weights do not fit.
    """

    def __init__(
        self,
        prepare_batch: Callable[..., tuple[torch.Tensor, MultiTaskTarget]],
        teachers: Sequence[nn.Module],
        weights: Sequence[str | os.PathLike[str]],
        inferer: Callable[..., MultiTaskOutput],
        device: torch.device | str,
    ) -> None:
        if not teachers or len(teachers) != len(weights):
            raise ValueError(f"expected one weight file per teacher, got {len(weights)} for {len(teachers)}")
        for teacher, path in zip(teachers, weights, strict=True):
            load_weights(teacher, path)
            teacher.to(device).eval()
        self.prepare_batch, self.teachers, self.inferer = prepare_batch, list(teachers), inferer

    @torch.no_grad()
    def __call__(
        self, batchdata: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, DistillationTarget]:
        """Return the images and their targets."""
        images, target = self.prepare_batch(batchdata, *args, **kwargs)
        outputs = [self.inferer(images, teacher) for teacher in self.teachers]
        regions = torch.stack([output.mask.softmax(1) for output in outputs]).mean(0)
        logits = [output.class_logits for output in outputs if output.class_logits is not None]
        classes = torch.stack([one.softmax(1) for one in logits]).mean(0) if logits else None
        return images, DistillationTarget(*target, regions, classes)


class DistillationLoss(nn.Module):
    """Weighted sum of a loss to the labels and the cross-entropies to the teachers' probabilities.

    `L = (1 - weight) loss(labels) + weight (CE(regions) + classification_weight CE(classes))`, the class term with the
    weight that it has in `loss`.

    Reference:
        G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, section 2, at
        temperature 1.

    Args:
        loss: loss to the labels.
        weight: weight of the teachers, from 0 to 1.

    Shape:
        - input: `MultiTaskOutput`
        - target: `DistillationTarget`
        - output: one value

    After a call, `terms` contains those of `loss`, and `taught`, the cross-entropies to the teachers.

    Raises:
        ValueError: `weight` is out of range.
    """

    def __init__(self, loss: MultiTaskLoss, weight: float = 0.5) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise ValueError(f"weight must be from 0 to 1, got {weight}")
        self.loss, self.weight = loss, weight
        self.terms: dict[str, torch.Tensor] = {}

    def forward(self, input: MultiTaskOutput, target: DistillationTarget) -> torch.Tensor:
        """Return the loss."""
        labels = self.loss(input, MultiTaskTarget(target.mask, target.class_index))
        taught = _cross_entropy(input.mask, target.region_probability)
        if input.class_logits is not None and target.class_probability is not None:
            classes = _cross_entropy(input.class_logits, target.class_probability)
            taught = taught + self.loss.classification_weight * classes
        self.terms = {**self.loss.terms, "taught": taught.detach()}
        return (1 - self.weight) * labels + self.weight * taught


def _cross_entropy(logits: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
    return -(probability * logits.float().log_softmax(1)).sum(1).mean()
