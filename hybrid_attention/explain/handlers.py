"""Handlers of an evaluation, as the configs of all bundles ask for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_attention.data.splits import Split
from hybrid_attention.evaluation import CaseScores
from hybrid_attention.explain.save_grad_cam import SaveGradCAM
from hybrid_attention.explain.scores import Output
from hybrid_attention.networks.multi_task_output import lesion_logit
from torch import nn

# what Grad-CAM can explain of a network that segments and classifies
EXPLAINED: dict[str, Output] = {"mask": lesion_logit, "class": "class_logits"}


def evaluation_handlers(
    folder: str,
    split: Split,
    part: str,
    weights: str,
    score_size: str,
    settings: Mapping[str, Any],
    decision: Mapping[str, Any],
    gradcam_network: nn.Module | None = None,
    layer: str | None = None,
    explained: str | None = None,
    class_names: Sequence[str] | None = None,
) -> list[Any]:
    """Return the handlers that score a part of a split, and with `gradcam_network` write heat maps.

    Args:
        folder: see `CaseScores`.
        split: of the cases.
        part: `train`, `validation` or `test`.
        weights: see `CaseScores`.
        score_size: see `CaseScores`.
        settings: see `CaseScores`.
        decision: see `CaseScores`.
        gradcam_network: the network whose heat maps are written; None writes none.
        layer: see `SaveGradCAM`.
        explained: "mask" or "class" where the network gives both; None where its output is the mask's logit.
        class_names: see `CaseScores`.

    Raises:
        ValueError: `explained` is neither; see also `CaseScores` and `SaveGradCAM`.
    """
    scores = CaseScores(
        folder,
        split.part(part),
        weights,
        split.rule,
        part,
        settings,
        class_names=class_names,
        decision=decision,
        score_size=score_size,
    )
    heat = [] if gradcam_network is None else [SaveGradCAM(folder, gradcam_network, layer, output_explained(explained))]
    return [scores, *heat]


def output_explained(name: str | None) -> Output:
    """Return which part of a network's output "mask" or "class" stands for, None for the output itself."""
    if name is not None and name not in EXPLAINED:
        raise ValueError(f"Grad-CAM explains {' or '.join(EXPLAINED)}, got {name!r}")
    return None if name is None else EXPLAINED[name]
