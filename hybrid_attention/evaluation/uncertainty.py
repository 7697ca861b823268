"""How unsure a prediction is: pixel by pixel, and as scores of a case that put the failures last.

The scores of a case are meant for images with a lesion, which alone have a Dice. Where nothing is marked in one, the
Dice is 0: so an empty mask gets the least confidence of each score, even where the network is sure that there is
nothing and all its passes agree. Missed lesions would else rank as the safest cases.
"""

from __future__ import annotations

import numpy as np
import torch
from hybrid_attention.transforms import ExpectedDice, PredictiveEntropy

# by column: what it is
CONFIDENCES = {
    "expected_dice": "expected Dice of the mask under the probabilities",
    "minus_entropy": "minus the mean entropy of the marked pixels, in bits",
    "member_dice": "mean Dice between the masks of the single passes and the mask of their mean",
    "minus_disagreement": "minus the mean disagreement of the passes on the marked pixels, in bits",
}
OF_SEVERAL = ("member_dice", "minus_disagreement")
_LEAST = -1.0  # of what is minus some bits of a yes or no


def mutual_information(members: torch.Tensor) -> torch.Tensor:
    """Compute how much the members of an average disagree: the entropy of their mean minus the mean of their entropies.

    Members that are unsure alike disagree in nothing; one that says 0 and one that says 1 disagree by one bit.

    Reference:
        N. Houlsby, F. Huszár, Z. Ghahramani, M. Lengyel, "Bayesian Active Learning for Classification and Preference
        Learning", arXiv 1112.5745, eq. 2.

    Args:
        members: probabilities of flips or networks, (members, *spatial).

    Returns:
        In bits, from 0 to 1, (*spatial); 0 for a single member.

    Raises:
        ValueError: there is no member, or a probability is NaN or out of range.
    """
    if members.ndim < 1 or len(members) == 0:
        raise ValueError(f"need one member or more, got shape {tuple(members.shape)}")
    entropy = PredictiveEntropy()
    return (entropy(members.mean(0)) - entropy(members).mean(0)).clamp(0, 1)


def confidence_scores(
    probability: torch.Tensor,
    mask: torch.Tensor,
    member_masks: torch.Tensor | None = None,
    disagreement: torch.Tensor | None = None,
) -> dict[str, float]:
    """Score how much a mask can be trusted without knowing the truth; more is better.

    Args:
        probability: of lesion, (*spatial), calibrated at best.
        mask: made of it; above 0.5 is marked.
        member_masks: masks of the single passes, (members, *spatial), or None for a single pass.
        disagreement: of the passes, from `mutual_information`, or None.

    Returns:
        What `CONFIDENCES` describes; the last two only where their arguments are given. Where nothing is marked, 0 or
        -1, the least of each.

    Raises:
        ValueError: shapes differ, there is no member, or a probability is NaN or out of range.
    """
    marked = mask > 0.5
    shapes = {tuple(one.shape) for one in (probability, mask, disagreement) if one is not None}
    shapes |= set() if member_masks is None else {tuple(member_masks.shape[1:])}
    if len(shapes) > 1:
        raise ValueError(f"all arguments must be of one shape, members of one axis more, got {sorted(shapes)}")
    scores = {
        "expected_dice": ExpectedDice()(probability, mask),
        "minus_entropy": _minus_mean(PredictiveEntropy()(probability), marked),
    }
    if member_masks is not None:
        scores["member_dice"] = _member_dice(member_masks > 0.5, marked)
    if disagreement is not None:
        scores["minus_disagreement"] = _minus_mean(disagreement, marked)
    return scores


def _minus_mean(bits: torch.Tensor, marked: torch.Tensor) -> float:
    return -float(bits[marked].double().mean()) if marked.any() else _LEAST


def _member_dice(members: torch.Tensor, marked: torch.Tensor) -> float:
    if len(members) == 0:
        raise ValueError("need the mask of one member or more, got none")
    if not marked.any():
        return 0.0
    pixels = members.flatten(1)
    shared = (pixels & marked.flatten()).sum(1).double()
    return float(np.mean((2 * shared / (pixels.sum(1) + marked.sum())).numpy()))
