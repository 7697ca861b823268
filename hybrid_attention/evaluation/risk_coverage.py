"""Does a score of confidence know the failures? The risk that stays when the least confident cases are left out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from hybrid_attention.evaluation.statistics import bootstrap_statistic
from scipy.stats import spearmanr


@dataclass(frozen=True)
class RiskCoverage:
    """The curve of one score and the areas under it, each the mean risk over all numbers of kept cases.

    Args:
        risk: mean risk of the 1, 2, … n most confident cases.
        area: under the curve (AURC).
        random: area of a random order, which is the mean risk.
        perfect: area of the order by the risk itself, the least that there is.
    """

    risk: list[float]
    area: float
    random: float
    perfect: float

    @property
    def excess(self) -> float:
        """What the area exceeds the perfect one by (E-AURC); 0 is perfect."""
        return self.area - self.perfect

    @property
    def gain(self) -> float:
        """What the area is less than that of a random order; 0 or less for a score that knows nothing."""
        return self.random - self.area


def risk_coverage(confidence: Sequence[float], risk: Sequence[float]) -> RiskCoverage:
    """Draw the risk–coverage curve of a score.

    Cases of the same confidence have no order: the curve is the mean over all their orders.

    Reference:
        Y. Geifman, R. El-Yaniv, "Selective Classification for Deep Neural Networks", NIPS 2017, arXiv 1705.08500, for
        the curve; Y. Geifman, G. Uziel, R. El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural
        Classifiers", ICLR 2019, arXiv 1805.08206, for the area and its excess. The risk here is 1 − Dice.

    Args:
        confidence: a number a case, more is better.
        risk: a number a case, less is better.

    Returns:
        The curve and its areas.

    Raises:
        ValueError: no case, lengths that differ, or a number that is NaN or infinite.
    """
    scores, risks = np.asarray(confidence, dtype=float), np.asarray(risk, dtype=float)
    if len(scores) != len(risks) or len(risks) == 0:
        raise ValueError(f"need a confidence and a risk a case, got {len(scores)} and {len(risks)}")
    if not (np.isfinite(scores).all() and np.isfinite(risks).all()):
        raise ValueError("confidences and risks must be finite; leave out cases that have none")
    curve = _curve(scores, risks)
    return RiskCoverage(curve.tolist(), float(curve.mean()), float(risks.mean()), float(_curve(-risks, risks).mean()))


def risk_coverage_scores(
    confidence: Sequence[float], risk: Sequence[float], groups: Sequence[Hashable], resamples: int = 1000
) -> dict[str, dict[str, float] | float]:
    """Summarize how well a score ranks failures, with intervals over groups of near copies.

    Args:
        confidence: a number a case.
        risk: a number a case.
        groups: one a case.
        resamples: bootstrap samples.

    Returns:
        `aurc`, `e_aurc` and `gain` over the random order, each with `value`, `low` and `high` of the 95 % interval; the
        areas `random` and `perfect`; and `rank_correlation`, Spearman's of confidence and minus risk (NaN where either
        is constant).

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
    """Return the mean risk of the 1, 2, … n highest scores; within ties each case counts as their mean."""
    _, tied, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    means = np.bincount(tied, weights=risks) / counts
    return np.repeat(means, counts).cumsum() / np.arange(1, len(risks) + 1)
