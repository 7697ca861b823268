"""Confidence intervals and statistical tests over groups of near-duplicate images."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from hybrid_attention.data.names import how_to_install

_TAILS = ((1 - 0.95) / 2, 1 - (1 - 0.95) / 2)  # of 95 % intervals


class Interval(NamedTuple):
    """An estimate with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap_ratio(
    numerators: Sequence[float] | np.ndarray, denominators: Sequence[float] | np.ndarray, groups: Sequence[Hashable]
) -> Interval:
    """Estimate sum(numerators) / sum(denominators) with a 95 % percentile bootstrap interval over groups.

    Images of a group are near-duplicates, so a bootstrap over single images, such as scipy's, gives intervals that are
    too narrow.

    Reference:
        A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application", Cambridge 1997, section 3.8.

    Args:
        numerators: one per case.
        denominators: one per case, not negative; their sum must be positive.
        groups: one per case; cases of one group are drawn together.
    """
    top, bottom = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    if not len(top) == len(bottom) == len(groups) or len(top) == 0:
        raise ValueError(
            f"expected one numerator, denominator and group per case, got {len(top)}, {len(bottom)} and {len(groups)}"
        )
    if bottom.sum() <= 0:
        raise ValueError("all denominators are zero")
    group_top, group_bottom = _group_sums(top, groups), _group_sums(bottom, groups)
    draws = _draws(len(group_top))
    sampled_bottom = group_bottom[draws].sum(axis=1)
    with np.errstate(invalid="ignore"):
        estimates = group_top[draws].sum(axis=1) / sampled_bottom
    low, high = np.nanquantile(estimates, _TAILS)
    return Interval(float(top.sum() / bottom.sum()), float(low), float(high))


@lru_cache(maxsize=4)
def _draws(groups: int) -> np.ndarray:
    """Return 2000 samples of groups, which are the same for all scores of the same cases."""
    return np.random.default_rng(0).integers(0, groups, size=(2000, groups))


def bootstrap_mean(values: Sequence[float] | np.ndarray, groups: Sequence[Hashable]) -> Interval:
    """Estimate the mean over images with its 95 % interval; see `bootstrap_ratio`."""
    return bootstrap_ratio(values, np.ones(len(values)), groups)


def bootstrap_statistic(
    statistic: Callable[[np.ndarray], float], groups: Sequence[Hashable], resamples: int = 1000
) -> Interval:
    """Estimate any statistic of cases with a 95 % percentile bootstrap interval; see `bootstrap_ratio`.

    The statistic is a function of the indices of cases, with repetitions. Samples in which it is NaN are ignored.
    """
    index = _group_index(groups)
    units = [np.flatnonzero(index == unit) for unit in range(index.max() + 1)]
    generator = np.random.default_rng(0)
    value = statistic(np.arange(len(groups)))
    samples = [
        statistic(np.concatenate([units[unit] for unit in generator.integers(0, len(units), len(units))]))
        for _ in range(resamples)
    ]
    if np.isnan(value) or np.isnan(samples).all():
        return Interval(float(value), math.nan, math.nan)
    low, high = np.nanquantile(samples, _TAILS)
    return Interval(float(value), float(low), float(high))


class PairedTest(NamedTuple):
    """Paired test of a score of two networks: `difference` is the mean over the cases of first minus second.

    Its 95 % interval, `low` to `high`, and the two-sided `p_value` are over groups; `p_holm` is adjusted for all tests
    that were made together.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    groups: int


class FriedmanTest(NamedTuple):
    """Friedman test of a score of three networks or more, corrected for ties; rank 1 is the highest score.

    `nemenyi` holds the p-values of Nemenyi's post hoc test, one row and column per network; mean ranks closer than
    `critical_difference` don't differ significantly at the 5 % level.
    """

    statistic: float
    p_value: float
    groups: int
    mean_ranks: dict[str, float]
    nemenyi: pd.DataFrame
    critical_difference: float


def paired_tests(
    scores: Mapping[str, Sequence[float]], groups: Sequence[Hashable], reference: str | None = None
) -> list[PairedTest]:
    """Compare networks pairwise: differences with intervals, Wilcoxon's signed-rank test, Holm's adjustment.

    The test uses the mean of each group, since near-duplicates are not independent. Ties are split between both sides
    (scipy's `zsplit`, as in Demšar's paper), so that images on which both networks fail do not count as evidence
    for a difference.

    Reference:
        J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006) 1–30; S. Holm, "A
        Simple Sequentially Rejective Multiple Test Procedure", Scand. J. Statist. 6 (1979) 65–70.

    Args:
        scores: by network, one finite score per case, of two networks or more.
        groups: one per case.
        reference: network to compare all others with; None compares all pairs.
    """
    from scipy.stats import wilcoxon

    def p_value(differences: np.ndarray) -> float:
        means = _group_means(differences, groups)
        return float(wilcoxon(means, zero_method="zsplit").pvalue) if means.any() else 1.0

    return _pairwise(scores, groups, reference, p_value)


def paired_accuracy_tests(
    correct: Mapping[str, Sequence[float]], groups: Sequence[Hashable], reference: str | None = None
) -> list[PairedTest]:
    """Compare the accuracy of networks pairwise: differences with intervals, permutation test, Holm's adjustment.

    The permutation test exchanges the results of two networks in whole groups of near-duplicates and counts how often
    the accuracies differ at least as much. If each case is a group, this is McNemar's exact test. All permutations are
    used if there are fewer than 10,000, else 9999 random ones.

    Reference:
        Q. McNemar, "Note on the Sampling Error of the Difference between Correlated Proportions or Percentages",
        Psychometrika 12 (1947) 153–157; P. Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", 3rd
        edition, Springer 2005, section 3.2; S. Holm as for `paired_tests`.

    Args:
        correct: by network, 1 (correct) or 0 per case.
        groups: as for `paired_tests`.
        reference: as for `paired_tests`.
    """
    from scipy.stats import permutation_test

    def p_value(differences: np.ndarray) -> float:
        sums = _group_sums(differences, groups)
        moved = sums[sums != 0]
        if len(moved) < 2:
            return 1.0  # both signs reach the total
        test = permutation_test((moved,), np.sum, permutation_type="samples", n_resamples=9999, random_state=0)
        return float(test.pvalue)

    return _pairwise(correct, groups, reference, p_value)


def _pairwise(
    scores: Mapping[str, Sequence[float]],
    groups: Sequence[Hashable],
    reference: str | None,
    p_value: Callable[[np.ndarray], float],
) -> list[PairedTest]:
    try:
        from statsmodels.stats.multitest import multipletests
    except ImportError as error:
        raise ImportError(f"Holm's adjustment needs statsmodels: {how_to_install('report')}") from error
    table = _checked(scores, groups, at_least=2)
    if reference is not None and reference not in table:
        raise ValueError(f"no run named {reference!r}; there are {', '.join(table)}")
    if reference is None:
        pairs = list(combinations(table, 2))
    else:
        pairs = [(name, reference) for name in table if name != reference]
    differences = [table[first] - table[second] for first, second in pairs]
    p_values = [p_value(difference) for difference in differences]
    adjusted = multipletests(p_values, method="holm")[1]
    return [
        PairedTest(first, second, *bootstrap_mean(difference, groups), p, float(p_holm), len(set(groups)))
        for (first, second), difference, p, p_holm in zip(pairs, differences, p_values, adjusted, strict=True)
    ]


def friedman_test(scores: Mapping[str, Sequence[float]], groups: Sequence[Hashable]) -> FriedmanTest:
    """Compare three networks or more: Friedman's test, and Nemenyi's post hoc test of all pairs.

    Reference:
        J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006) 1–30, section 3.2.

    If all scores are equal, the statistic is 0 and the p-value 1.

    Args:
        scores: by network, one finite score per case, higher is better.
        groups: one per case, of two groups or more; the means of groups are ranked.
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    try:
        from scikit_posthocs import posthoc_nemenyi_friedman
    except ImportError as error:
        raise ImportError(f"Nemenyi's test needs scikit-posthocs: {how_to_install('report')}") from error
    table = _checked(scores, groups, at_least=3)
    blocks = np.stack([_group_means(values, groups) for values in table.values()], axis=1)  # (groups, networks)
    count, networks = blocks.shape
    if count < 2:
        raise ValueError(f"the test needs at least 2 groups of cases, got {count}")
    equal = bool((blocks == blocks[:, :1]).all())
    statistic, p_value = (0.0, 1.0) if equal else friedmanchisquare(*blocks.T)
    names = list(table)
    return FriedmanTest(
        statistic=float(statistic),
        p_value=float(p_value),
        groups=count,
        mean_ranks=dict(zip(names, rankdata(-blocks, axis=1).mean(axis=0).tolist(), strict=True)),
        nemenyi=posthoc_nemenyi_friedman(blocks).set_axis(names).set_axis(names, axis=1),
        critical_difference=float(studentized_range.ppf(0.95, networks, np.inf))
        / math.sqrt(2)
        * math.sqrt(networks * (networks + 1) / (6 * count)),
    )


def _checked(scores: Mapping[str, Sequence[float]], groups: Sequence[Hashable], at_least: int) -> dict[str, np.ndarray]:
    if len(scores) < at_least:
        raise ValueError(f"the test needs at least {at_least} runs, got {len(scores)}")
    table = {name: np.asarray(values, dtype=float) for name, values in scores.items()}
    for name, values in table.items():
        if len(values) != len(groups) or not len(values):
            raise ValueError(f"{name} has {len(values)} scores for {len(groups)} cases")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has {int((~np.isfinite(values)).sum())} scores that are NaN or Inf")
    return table


def _group_index(groups: Sequence[Hashable]) -> np.ndarray:
    """Return the number of each case's group, in order of appearance."""
    return pd.factorize(pd.Series(list(groups), dtype=object))[0]


def _group_sums(values: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    return np.bincount(_group_index(groups), weights=values)


def _group_means(values: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    return _group_sums(values, groups) / _group_sums(np.ones(len(groups)), groups)
