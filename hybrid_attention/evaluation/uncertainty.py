"""Uncertainty of predictions: per pixel, and as confidence scores per case that predict failures.

The confidence scores are meant for images with a lesion, since Dice is undefined for others. A missed lesion has a Dice
of 0, so an empty mask gets the lowest confidence, however certain the network is. Otherwise missed lesions would rank
as the most reliable cases.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

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
_LEAST = -1.0  # lowest value of a negative binary entropy


def mutual_information(members: torch.Tensor) -> torch.Tensor:
    """Compute the disagreement of averaged predictions: the entropy of their mean minus the mean of their entropies.

    Equal probabilities, however uncertain, give 0; a 0 and a 1 give one bit.

    Reference:
        N. Houlsby, F. Huszár, Z. Ghahramani, M. Lengyel, "Bayesian Active Learning for Classification and Preference
        Learning", arXiv 1112.5745, eq. 2.

    Args:
        members: lesion probabilities of flips or networks, (members, *spatial).

    Returns:
        Disagreement in bits, from 0 to 1, (*spatial); 0 for a single member.

    Raises:
        ValueError: there is no member, or a probability is NaN or out of range.
    """
    if members.ndim < 1 or len(members) == 0:
        raise ValueError(f"expected at least one member, got shape {tuple(members.shape)}")
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
        disagreement: from `mutual_information`, or None.

    Returns:
        The scores of `CONFIDENCES`; the last two only if their arguments are given. For an empty mask, the lowest
        value of each, 0 or -1.

    Raises:
        ValueError: shapes differ, there is no member, or a probability is NaN or out of range.
    """
    lesion = mask > 0.5
    shapes = {tuple(one.shape) for one in (probability, mask, disagreement) if one is not None}
    shapes |= set() if member_masks is None else {tuple(member_masks.shape[1:])}
    if len(shapes) > 1:
        raise ValueError(f"all arguments must have the same spatial shape, got {sorted(shapes)}")
    scores = {
        "expected_dice": expected_dice(probability, mask),
        "minus_entropy": _minus_mean(PredictiveEntropy()(probability), lesion),
    }
    if member_masks is not None:
        scores["member_dice"] = _member_dice(member_masks > 0.5, lesion)
    if disagreement is not None:
        scores["minus_disagreement"] = _minus_mean(disagreement, lesion)
    return scores


def _minus_mean(bits: torch.Tensor, lesion: torch.Tensor) -> float:
    return -float(bits[lesion].double().mean()) if lesion.any() else _LEAST


def _member_dice(members: torch.Tensor, lesion: torch.Tensor) -> float:
    if not lesion.any():
        return 0.0
    pixels = members.flatten(1)
    shared = (pixels & lesion.flatten()).sum(1).double()
    return float(np.mean((2 * shared / (pixels.sum(1) + lesion.sum())).numpy()))


@dataclass(frozen=True)
class RiskCoverage:
    """Risk–coverage curve of a confidence score, and the areas under it.

    Args:
        risk: mean risk of the 1, 2, … n most confident cases.
        area: area under the curve (AURC).
        random: area of a random ranking, which is the mean risk.
        perfect: area of the ranking by the risk itself, the lowest possible.
    """

    risk: list[float]
    area: float
    random: float
    perfect: float

    @property
    def excess(self) -> float:
        """Excess area over the perfect ranking (E-AURC); 0 is perfect."""
        return self.area - self.perfect

    @property
    def gain(self) -> float:
        """Reduction of the area compared with a random ranking; 0 or less for an uninformative score."""
        return self.random - self.area


def risk_coverage(confidence: Sequence[float], risk: Sequence[float]) -> RiskCoverage:
    """Compute the risk–coverage curve of a confidence score.

    For ties, the curve is the mean over all orders of the tied cases.

    Reference:
        Y. Geifman, R. El-Yaniv, "Selective Classification for Deep Neural Networks", NIPS 2017, arXiv 1705.08500, for
        the curve; Y. Geifman, G. Uziel, R. El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural
        Classifiers", ICLR 2019, arXiv 1805.08206, for the area and its excess. The risk here is 1 − Dice.

    Args:
        confidence: one number per case, higher is better.
        risk: one number per case, lower is better.

    Raises:
        ValueError: there is no case, the lengths differ, or a number is not finite.
    """
    scores, risks = np.asarray(confidence, dtype=float), np.asarray(risk, dtype=float)
    if len(scores) != len(risks) or len(risks) == 0:
        raise ValueError(f"expected a confidence and a risk per case, got {len(scores)} and {len(risks)}")
    if not (np.isfinite(scores).all() and np.isfinite(risks).all()):
        raise ValueError("confidences and risks must be finite; leave out cases without them")
    curve = _curve(scores, risks)
    return RiskCoverage(curve.tolist(), float(curve.mean()), float(risks.mean()), float(_curve(-risks, risks).mean()))


def risk_coverage_scores(
    confidence: Sequence[float], risk: Sequence[float], groups: Sequence[Hashable], resamples: int = 1000
) -> dict[str, dict[str, float] | float]:
    """Measure how well a confidence score predicts failures, with intervals over groups of near-duplicates.

    Returns:
        `aurc`, `e_aurc` and `gain` over a random ranking, each with `value`, `low` and `high` (95 % interval); the
        areas `random` and `perfect`; and `rank_correlation`, Spearman's correlation of confidence and negative risk
        (NaN if either is constant).

    Raises:
        ValueError: as for `risk_coverage`.
    """
    scores, risks = np.asarray(confidence, dtype=float), np.asarray(risk, dtype=float)
    whole = risk_coverage(confidence, risk)

    def interval(name: str) -> dict[str, float]:
        value, low, high = bootstrap_statistic(
            lambda cases: float(getattr(risk_coverage(scores[cases], risks[cases]), name)), groups, resamples
        )
        return {"value": value, "low": low, "high": high}

    varied = len(set(scores.tolist())) > 1 and len(set(risks.tolist())) > 1
    correlation = float(spearmanr(scores, -risks).statistic) if varied else float("nan")
    return {
        **{title: interval(name) for title, name in (("aurc", "area"), ("e_aurc", "excess"), ("gain", "gain"))},
        "random": whole.random,
        "perfect": whole.perfect,
        "rank_correlation": correlation,
    }


def _curve(scores: np.ndarray, risks: np.ndarray) -> np.ndarray:
    """Return the mean risk of the 1, 2, … n highest scores; tied cases count as their mean."""
    _, tied, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    means = np.bincount(tied, weights=risks) / counts
    return np.repeat(means, counts).cumsum() / np.arange(1, len(risks) + 1)
