"""Validation metrics, and adapters between MONAI's engines and networks that segment and classify."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from hybrid_attention.losses import MultiTaskTarget
from hybrid_attention.networks.multi_task import MultiTaskOutput, lesion_logit
from hybrid_attention.transforms import NamingCompose
from hybrid_attention.transforms.chains import mask_of_logits
from ignite.metrics import Accuracy, Loss, Metric
from monai.handlers import IgniteMetricHandler, MeanDice, from_engine
from monai.transforms import Transform
from monai.utils import CommonKeys

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

    Args:
        classes: whether the network must have a class head.

    Raises:
        ValueError: when called, if `classes` is true but the network has no class head.
    """

    def __init__(self, classes: bool = True) -> None:
        self.classes = classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the case with its tasks under separate keys."""
        output, target = MultiTaskOutput(*data[CommonKeys.PRED]), MultiTaskTarget(*data[CommonKeys.LABEL])
        result = dict(data)
        result.update(task_logits=output, task_truth=target)
        result[CommonKeys.PRED] = lesion_logit(_whole([output], MultiTaskOutput))[0]
        result[CommonKeys.LABEL] = target.mask
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
    return (
        _whole([case["task_logits"] for case in output], MultiTaskOutput),
        _whole([case["task_truth"] for case in output], MultiTaskTarget),
    )


def class_pair(output: Sequence[Mapping[str, Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return class probabilities, (B, classes), and labels, (B,), of a batch, as Ignite's metrics take them."""
    probabilities = torch.stack([case[CLASS_PROBABILITY] for case in output])
    return probabilities, torch.tensor(
        [int(case["task_truth"].class_index) for case in output], device=probabilities.device
    )


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


def plane(array: Any) -> np.ndarray:
    """Return one plane of an engine's output as an array, (H, W) or (1, H, W) -> (H, W)."""
    values = np.asarray(array.cpu() if isinstance(array, torch.Tensor) else array)
    return values[0] if values.ndim == 3 else values


def _whole(cases: Sequence[Any], kind: type) -> Any:
    """Collate named tuples into one whose fields are batches; a field that is None stays None."""
    return kind(*(_stacked(field) for field in zip(*cases, strict=True)))


def _stacked(values: Sequence[Any]) -> torch.Tensor | None:
    return None if values[0] is None else torch.stack([torch.as_tensor(value) for value in values])
