"""Validation metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hybrid_attention.engines.multi_task import class_pair, multi_task_pair
from ignite.metrics import Accuracy, Loss, Metric
from monai.handlers import IgniteMetricHandler, MeanDice, from_engine


def mean_dice() -> MeanDice:
    """Return the mean Dice over the images with a lesion; images without one are ignored."""
    return MeanDice(include_background=True, output_transform=from_engine(["pred", "label"]))


def validation_loss(loss: Callable[..., Any]) -> Metric:
    """Return the mean loss over the images.

    Args:
        loss: takes logits and masks; see `validation_postprocessing`.
    """
    return IgniteMetricHandler(loss_fn=loss, output_transform=from_engine(["logits", "label"]))


def class_accuracy() -> Metric:
    """Return the accuracy of the most probable class."""
    return Accuracy(output_transform=class_pair)


def multi_task_metrics(
    loss: Callable[..., Any], accuracy: Metric | None = None, dice: Metric | None = None
) -> dict[str, Metric]:
    """Return metrics of a network that segments and classifies, by name.

    Args:
        loss: a `MultiTaskLoss`, whose mean over the images is `val_loss`.
        accuracy: for `val_accuracy`; None for a network without class head.
        dice: for `val_mean_dice`, or None.
    """
    mean_loss = Loss(
        loss, output_transform=multi_task_pair, batch_size=lambda target: len(target.mask), skip_unrolling=True
    )
    metrics = {"val_mean_dice": dice, "val_accuracy": accuracy, "val_loss": mean_loss}
    return {name: metric for name, metric in metrics.items() if metric is not None}
