"""Is one network better than another? Tests on scores of the same cases, near copies counted once."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from hybrid_attention.data.extras import how_to_install
from hybrid_attention.evaluation.statistics import bootstrap_ratio


@dataclass(frozen=True)
class PairedTest:
    """Two networks, one score, the same cases.

    Args:
        first: name of a network.
        second: name of the other.
        difference: mean over the cases of first minus second.
        low: lower bound of its 95 % bootstrap interval over groups.
        high: upper bound.
        p_value: of the two-sided test over groups, which its maker names; 1 where all differences are zero.
        p_holm: adjusted for all tests that were made together.
        groups: how many pairs the test had.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    groups: int


@dataclass(frozen=True)
class FriedmanTest:
    """Three networks or more, one score, the same cases.

    Args:
        statistic: Friedman's chi-square, corrected for ties.
        p_value: that all networks rank alike.
        groups: how many blocks were ranked.
        mean_ranks: by network; rank 1 is the highest score.
        nemenyi: p-value by pair of networks (Nemenyi's post hoc test).
        critical_difference: of mean ranks, at the chosen level: networks closer than this can't be told apart.
    """

    statistic: float
    p_value: float
    groups: int
    mean_ranks: dict[str, float]
    nemenyi: dict[tuple[str, str], float]
    critical_difference: float


def paired_tests(
    scores: Mapping[str, Sequence[float]], groups: Sequence[Hashable], reference: str | None = None
) -> list[PairedTest]:
    """Compare networks pair by pair: differences with intervals, Wilcoxon's test, Holm's adjustment.

    Near copies of one image are no independent evidence, so that the test sees the mean of each group, once. Groups in
    which both score the same count half for each side (scipy's `zsplit`, as in Demšar's paper): many images on which
    both fail are no evidence for a difference.

    Reference:
        J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006) 1–30; S. Holm, "A
        Simple Sequentially Rejective Multiple Test Procedure", Scand. J. Statist. 6 (1979) 65–70.

    Args:
        scores: for each network a score a case, in one order of cases.
        groups: one a case.
        reference: compare all others with this one; None compares each pair.

    Returns:
        A test a pair, in the order of `scores`.

    Raises:
        ValueError: fewer than two networks, lengths that differ, a score that is no number, or no such reference.
        ImportError: statsmodels is missing.
    """
    from scipy.stats import wilcoxon

    def p_value(differences: np.ndarray) -> float:
        means = _group_sums(differences, groups) / _group_sums(np.ones(len(groups)), groups)
        return float(wilcoxon(means, zero_method="zsplit").pvalue) if means.any() else 1.0

    return _pairwise(_checked(scores, groups, at_least=2), groups, reference, p_value)


def paired_accuracy_tests(
    correct: Mapping[str, Sequence[float]], groups: Sequence[Hashable], reference: str | None = None
) -> list[PairedTest]:
    """Compare the accuracy of networks pair by pair: differences with intervals, a sign-flip test, Holm's adjustment.

    If two networks are equally good, the names in a pair could as well be exchanged. The test exchanges them in whole
    groups of near copies and counts how often the accuracies then differ by as much. Where each case is a group of its
    own this is McNemar's exact test; that test itself would take near copies for independent evidence. All exchanges
    are counted where there are fewer than 10,000, else 9999 random ones.

    Reference:
        Q. McNemar, "Note on the Sampling Error of the Difference between Correlated Proportions or Percentages",
        Psychometrika 12 (1947) 153–157; P. Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses", 3rd
        edition, Springer 2005, section 3.2; S. Holm as for `paired_tests`.

    Args:
        correct: for each network 1 or 0 a case, in one order of cases.
        groups: one a case.
        reference: compare all others with this one; None compares each pair.

    Returns:
        A test a pair, in the order of `correct`.

    Raises:
        ValueError: fewer than two networks, lengths that differ, a number that is none, or no such reference.
        ImportError: statsmodels is missing.
    """
    return _pairwise(
        _checked(correct, groups, at_least=2),
        groups,
        reference,
        lambda differences: _sign_flip_p_value(_group_sums(differences, groups)),
    )


def _pairwise(
    table: Mapping[str, np.ndarray],
    groups: Sequence[Hashable],
    reference: str | None,
    p_value: Callable[[np.ndarray], float],
) -> list[PairedTest]:
    try:
        from statsmodels.stats.multitest import multipletests
    except ImportError as error:
        raise ImportError(f"Holm's adjustment needs statsmodels: {how_to_install('report')}") from error
    if reference is not None and reference not in table:
        raise ValueError(f"no run named {reference!r}; there are {', '.join(table)}")
    pairs = [(first, second) for first, second in combinations(table, 2)]
    if reference is not None:
        pairs = [(name, reference) for name in table if name != reference]
    p_values = [p_value(table[first] - table[second]) for first, second in pairs]
    adjusted = multipletests(p_values, method="holm")[1]
    tests = []
    for (first, second), p, p_holm in zip(pairs, p_values, adjusted, strict=True):
        difference = table[first] - table[second]
        mean, low, high = bootstrap_ratio(difference.tolist(), [1.0] * len(difference), groups)
        tests.append(PairedTest(first, second, mean, low, high, p, float(p_holm), len(set(groups))))
    return tests


def _sign_flip_p_value(sums: np.ndarray, resamples: int = 9999, seed: int = 0) -> float:
    """Return the two-sided p-value of the total of group sums under all, or many random, changes of their signs."""
    moved = sums[sums != 0]
    reached = abs(moved.sum()) - 1e-9
    if 2 ** len(moved) <= resamples:
        flipped = np.array(list(product((-1, 1), repeat=len(moved))), dtype=float) @ moved
        return float((np.abs(flipped) >= reached).mean())
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(resamples, len(moved)))
    return float((1 + (np.abs(signs @ moved) >= reached).sum()) / (1 + resamples))


def friedman_test(
    scores: Mapping[str, Sequence[float]], groups: Sequence[Hashable], alpha: float = 0.05
) -> FriedmanTest:
    """Compare three networks or more at once: Friedman's test on ranks, Nemenyi's test of the pairs.

    Reference:
        J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006) 1–30, section 3.2.

    Args:
        scores: for each network a score a case, higher is better, in one order of cases.
        groups: one a case; the means of groups are ranked.
        alpha: level of the critical difference.

    Returns:
        The test. Where all scores are the same the statistic is 0 and the p-value 1.

    Raises:
        ValueError: fewer than three networks, fewer than two groups, lengths that differ, or a score that is no number.
        ImportError: scikit-posthocs is missing.
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    try:
        from scikit_posthocs import posthoc_nemenyi_friedman
    except ImportError as error:
        raise ImportError(f"Nemenyi's test needs scikit-posthocs: {how_to_install('report')}") from error
    table = _checked(scores, groups, at_least=3)
    sizes = _group_sums(np.ones(len(groups)), groups)
    blocks = np.stack([_group_sums(values, groups) / sizes for values in table.values()], axis=1)  # (groups, networks)
    count, networks = blocks.shape
    if count < 2:
        raise ValueError(f"ranks need two groups of cases or more, got {count}")
    alike = bool((blocks == blocks[:, :1]).all())
    statistic, p_value = (0.0, 1.0) if alike else friedmanchisquare(*blocks.T)
    pairs = posthoc_nemenyi_friedman(blocks).to_numpy()
    names = list(table)
    return FriedmanTest(
        statistic=float(statistic),
        p_value=float(p_value),
        groups=count,
        mean_ranks=dict(zip(names, rankdata(-blocks, axis=1).mean(axis=0).tolist(), strict=True)),
        nemenyi={(names[i], names[j]): float(pairs[i, j]) for i, j in combinations(range(networks), 2)},
        critical_difference=float(studentized_range.ppf(1 - alpha, networks, np.inf))
        / math.sqrt(2)
        * math.sqrt(networks * (networks + 1) / (6 * count)),
    )


def _checked(scores: Mapping[str, Sequence[float]], groups: Sequence[Hashable], at_least: int) -> dict[str, np.ndarray]:
    table = {name: np.asarray(values, dtype=float) for name, values in scores.items()}
    if len(table) < at_least:
        raise ValueError(f"the test needs {at_least} runs or more, got {len(table)}")
    for name, values in table.items():
        if len(values) != len(groups) or len(values) == 0:
            raise ValueError(f"{name} has {len(values)} scores for {len(groups)} cases")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has {int((~np.isfinite(values)).sum())} scores that are NaN or Inf")
    return table


def _group_sums(values: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    names = {name: index for index, name in enumerate(dict.fromkeys(groups))}
    return np.bincount(np.array([names[name] for name in groups]), weights=values)
