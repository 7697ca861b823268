"""Uncertainty of predictions: per pixel, and as confidence scores per case that predict failures.

The confidence scores are meant for images with a lesion, since Dice is undefined for others. A missed lesion has a Dice
of 0, so an empty mask gets the lowest confidence, however certain the network is. Otherwise missed lesions would rank
as the most reliable cases.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from hybrid_attention.evaluation.statistics import bootstrap_statistic
from hybrid_attention.prediction.result import expected_dice
from hybrid_attention.transforms import PredictiveEntropy
from scipy.stats import spearmanr

# confidence scores by column name
CONFIDENCES = {
    "expected_dice": "expected Dice of the mask under the probabilities",
    "minus_entropy": "negative mean entropy of the predicted lesion pixels, in bits",
    "member_dice": "mean Dice between the masks of the single predictions and the mask of their mean",
    "minus_disagreement": "negative mean disagreement of the predictions on the predicted lesion pixels, in bits",
}


def mutual_information(members: torch.Tensor) -> torch.Tensor:
    """Compute the disagreement of averaged predictions: the entropy of their mean minus the mean of their entropies.

    Equal probabilities, however uncertain, give 0; a 0 and a 1 give one bit.

    Reference:
        N. Houlsby, F. Huszár, Z. Ghahramani, M. Lengyel, "Bayesian Active Learning for Classification and Preference
        Learning", arXiv 1112.5745, eq. 2.

    Args:
        members: lesion probabilities of flips or networks, (members, *spatial).

    Returns:
        Disagreement in bits, from 0 to 1, (*spatial).
    """
    entropy = PredictiveEntropy()
    return (entropy(members.mean(0)) - entropy(members).mean(0)).clamp(0, 1)


def confidence_scores(
    probability: torch.Tensor,
    mask: torch.Tensor,
    member_masks: torch.Tensor | None = None,
    disagreement: torch.Tensor | None = None,
) -> dict[str, float]:
    """Estimate how reliable a mask is without knowing the ground truth; higher is better.

    Args:
        probability: lesion probability, (*spatial), ideally calibrated.
        mask: made from it, lesion above 0.5.
        member_masks: of the single predictions, (members, *spatial), or None for a single prediction.
        disagreement: from `mutual_information`, or None like `member_masks`.

    Returns:
        The scores of `CONFIDENCES`; the last two only of several predictions. For an empty mask, the lowest value of
        each, 0 or -1.
    """
    lesion = mask > 0.5

    def minus_mean(bits: torch.Tensor) -> float:
        return -float(bits[lesion].double().mean()) if lesion.any() else -1.0

    scores = {
        "expected_dice": expected_dice(probability, mask),
        "minus_entropy": minus_mean(PredictiveEntropy()(probability)),
    }
    if member_masks is not None and disagreement is not None:
        members = (member_masks > 0.5).flatten(1)
        shared = (members & lesion.flatten()).sum(1).double()
        dice = float(np.mean((2 * shared / (members.sum(1) + lesion.sum())).numpy())) if lesion.any() else 0.0
        scores |= {"member_dice": dice, "minus_disagreement": minus_mean(disagreement)}
    return scores


def risk_curve(confidence: Sequence[float] | np.ndarray, risk: Sequence[float] | np.ndarray) -> np.ndarray:
    """Compute the risk–coverage curve of a confidence score: the mean risk of the 1, 2, … n most confident cases.

    For ties, the curve is the mean over all orders of the tied cases. The mean of the curve is the area under it,
    AURC.

    Reference:
        Y. Geifman, R. El-Yaniv, "Selective Classification for Deep Neural Networks", NIPS 2017, arXiv 1705.08500. The
        risk here is 1 − Dice.

    Args:
        confidence: one number per case, higher is better.
        risk: one number per case, lower is better.
    """
    risks = np.asarray(risk, dtype=float)
    _, tied, counts = np.unique(-np.asarray(confidence, dtype=float), return_inverse=True, return_counts=True)
    means = np.bincount(tied, weights=risks) / counts
    return np.repeat(means, counts).cumsum() / np.arange(1, len(risks) + 1)


def risk_scores(
    confidence: Sequence[float] | np.ndarray,
    risk: Sequence[float] | np.ndarray,
    groups: Sequence[Hashable],
    resamples: int = 1000,
) -> dict[str, dict[str, float] | float]:
    """Measure how well a confidence score predicts failures, with intervals over groups of near-duplicates.

    Reference:
        Y. Geifman, G. Uziel, R. El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019,
        arXiv 1805.08206, for the area and its excess.

    Returns:
        `aurc`, `e_aurc` (excess over the perfect ranking, by the risk itself; 0 is perfect) and `gain` over a random
        ranking (0 or less for an uninformative score), each with `value`, `low` and `high` (95 % interval); the areas
        `random` and `perfect`; and `rank_correlation`, Spearman's correlation of confidence and negative risk (NaN if
        either is constant).
    """
    scores, risks = np.asarray(confidence, dtype=float), np.asarray(risk, dtype=float)
    areas: dict[str, Callable[[np.ndarray], float]] = {
        "aurc": lambda cases: float(risk_curve(scores[cases], risks[cases]).mean()),
        "perfect": lambda cases: float(risk_curve(-risks[cases], risks[cases]).mean()),
        "random": lambda cases: float(risks[cases].mean()),
    }
    statistics: dict[str, Callable[[np.ndarray], float]] = {
        "aurc": areas["aurc"],
        "e_aurc": lambda cases: areas["aurc"](cases) - areas["perfect"](cases),
        "gain": lambda cases: areas["random"](cases) - areas["aurc"](cases),
    }
    varied = len(set(scores.tolist())) > 1 and len(set(risks.tolist())) > 1
    everything = np.arange(len(risks))
    return {
        **{name: bootstrap_statistic(one, groups, resamples)._asdict() for name, one in statistics.items()},
        "random": areas["random"](everything),
        "perfect": areas["perfect"](everything),
        "rank_correlation": float(spearmanr(scores, -risks).statistic) if varied else float("nan"),
    }
