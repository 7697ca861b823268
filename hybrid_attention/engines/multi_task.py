"""Validation metrics, adapters between MONAI's engines and networks that segment and classify, and distillation."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from hybrid_attention.engines.weights import load_weights
from hybrid_attention.losses import MultiTaskLoss, MultiTaskTarget
from hybrid_attention.networks.multi_task import MultiTaskOutput, lesion_logit
from hybrid_attention.transforms import NamingCompose
from hybrid_attention.transforms.chains import mask_of_logits
from ignite.metrics import Accuracy, Loss, Metric
from monai.handlers import IgniteMetricHandler, MeanDice, from_engine
from monai.transforms import Transform
from monai.utils import CommonKeys
from torch import nn

CLASS_INDEX = "class_index"
CLASS_PROBABILITY = "class_probability"


def prepare_multi_task_batch(
    batchdata: Mapping[str, Any], device: torch.device | str | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[torch.Tensor, MultiTaskTarget]:
    """Return a batch's images and targets on a device, as `prepare_batch` of MONAI's trainer and evaluator.

    Shape:
        - `batchdata`: `image`, (B, C, *spatial), `label`, (B, 1, *spatial), and for classification `class_index`, (B,)
        - output: the images, and the masks with the class indices (or None)
    """

    def moved(key: str) -> torch.Tensor:
        return batchdata[key].to(device=device, non_blocking=non_blocking, **kwargs)

    classes = moved(CLASS_INDEX) if CLASS_INDEX in batchdata else None
    return moved(CommonKeys.IMAGE), MultiTaskTarget(moved(CommonKeys.LABEL), classes)


class UnpackMultiTaskd(Transform):
    """Convert the output for one validation case to the keys of a segmentation network.

    `pred`, the fields of a `MultiTaskOutput`, becomes the logits of the lesion, (1, *spatial); `label`, the fields of a
    `MultiTaskTarget`, becomes the mask. The softmax of the class logits is added as `class_probability`, (classes,).
    The original values are kept as `task_logits` and `task_truth` for the metrics (`multi_task_pair`, `class_pair`).

    With `classes`, a network without class head is a ValueError.
    """

    def __init__(self, classes: bool = True) -> None:
        self.classes = classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case with its tasks under separate keys."""
        output, target = MultiTaskOutput(*data[CommonKeys.PRED]), MultiTaskTarget(*data[CommonKeys.LABEL])
        result = {**data, "task_logits": output, "task_truth": target, CommonKeys.LABEL: target.mask}
        result[CommonKeys.PRED] = lesion_logit(_whole([output], MultiTaskOutput))[0]
        if self.classes:
            if output.class_logits is None:
                raise ValueError(
                    "the network has no class head, which class_names require: set num_classes of the network, or "
                    "class_names to None"
                )
            result[CLASS_PROBABILITY] = output.class_logits.softmax(0)
        return result


def multi_task_postprocessing(classes: bool = True) -> NamingCompose:
    """Return `UnpackMultiTaskd`, then a mask at threshold 0.5; `probability` keeps the probability of lesion."""
    return NamingCompose([UnpackMultiTaskd(classes), *mask_of_logits()])


def multi_task_pair(output: Sequence[Mapping[str, Any]]) -> tuple[MultiTaskOutput, MultiTaskTarget]:
    """Return output and target of a batch, from `UnpackMultiTaskd` of each case, as `MultiTaskLoss` takes them."""
    logits = _whole([case["task_logits"] for case in output], MultiTaskOutput)
    return logits, _whole([case["task_truth"] for case in output], MultiTaskTarget)


def class_pair(output: Sequence[Mapping[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return class probabilities, (B, classes), and labels, (B,), of a batch, as Ignite's metrics take them."""
    probabilities = torch.stack([case[CLASS_PROBABILITY] for case in output])
    classes = [int(case["task_truth"].class_index) for case in output]
    return probabilities, torch.tensor(classes, device=probabilities.device)


def mean_dice() -> MeanDice:
    """Return the mean Dice over the images with a lesion; images without one are ignored."""
    return MeanDice(include_background=True, output_transform=from_engine(["pred", "label"]))


def validation_loss(loss: Callable[..., Any]) -> Metric:
    """Return the mean over the images of a loss of logits and masks; see `validation_postprocessing`."""
    return IgniteMetricHandler(loss_fn=loss, output_transform=from_engine(["logits", "label"]))


def class_accuracy() -> Metric:
    """Return the accuracy of the most probable class."""
    return Accuracy(output_transform=class_pair)


def multi_task_metrics(
    loss: Callable[..., Any], accuracy: Metric | None = None, dice: Metric | None = None
) -> dict[str, Metric]:
    """Return metrics of a network that segments and, with `accuracy`, classifies; the loss is averaged over images."""
    mean_loss = Loss(
        loss, output_transform=multi_task_pair, batch_size=lambda target: len(target.mask), skip_unrolling=True
    )
    metrics = {"val_mean_dice": dice, "val_accuracy": accuracy, "val_loss": mean_loss}
    return {name: metric for name, metric in metrics.items() if metric is not None}


def plane(array: Any) -> np.ndarray:
    """Return one plane of an engine's output as an array, (H, W) or (1, H, W) -> (H, W)."""
    values = np.asarray(array.cpu() if isinstance(array, torch.Tensor) else array)
    return values[0] if values.ndim == 3 else values


def _whole(cases: Sequence[Any], kind: type) -> Any:
    """Collate named tuples into one whose fields are batches; a field that is None stays None."""
    fields = [None if field[0] is None else field for field in zip(*cases, strict=True)]
    return kind(*(field and torch.stack([torch.as_tensor(one) for one in field]) for field in fields))


class DistillationTarget(NamedTuple):
    """Labels of a batch, and the predictions of the teachers for it."""

    mask: torch.Tensor
    class_index: torch.Tensor | None
    region_probability: torch.Tensor  # (B, regions, *spatial)
    class_probability: torch.Tensor | None  # (B, classes), or None for teachers without class head


class PrepareDistillation:
    """Add the mean prediction of trained networks to a batch, as `prepare_batch` of MONAI's trainer.

    The teachers see the images as the student does, after augmentation, and run under the same autocast.

    Args:
        prepare_batch: prepares images and `MultiTaskTarget`, for example `AugmentBatch`.
        teachers: networks that return a `MultiTaskOutput`; `weights` are their files, in the same order.
        inferer: runs them on `device`, as in training.
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

    After a call, `terms` contains those of `loss`, and `taught`, the cross-entropies to the teachers.
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
