"""Intervals for scores of data in which some images are near copies of others."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np


def bootstrap_ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    groups: Sequence[Hashable],
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Estimate sum(numerators) / sum(denominators) with a percentile interval, resampling whole groups.

    A mean over images is the case of all denominators 1; a score pooled over pixels has each image's own. Images of one
    group are near copies, so a bootstrap over images would give intervals that are too narrow.

    Reference:
        A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application", Cambridge 1997, section 3.8.

    Args:
        numerators: one a case.
        denominators: one a case, not negative.
        groups: one a case; cases of one group are drawn together.
        resamples: bootstrap samples.
        confidence: of the interval.
        seed: of the resampling.

    Returns:
        Estimate, lower and upper bound.

    Raises:
        ValueError: no case, lengths that differ, or all denominators zero.
    """
    top, bottom = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    if not len(top) == len(bottom) == len(groups) or len(top) == 0:
        raise ValueError(
            f"need one numerator, denominator and group a case, got {len(top)}, {len(bottom)} and {len(groups)}"
        )
    if bottom.sum() <= 0:
        raise ValueError("all denominators are zero")
    names = {name: index for index, name in enumerate(dict.fromkeys(groups))}
    index = np.array([names[name] for name in groups])
    group_top, group_bottom = np.bincount(index, weights=top), np.bincount(index, weights=bottom)
    draws = np.random.default_rng(seed).integers(0, len(names), size=(resamples, len(names)))
    sampled_bottom = group_bottom[draws].sum(axis=1)
    with np.errstate(invalid="ignore"):
        estimates = group_top[draws].sum(axis=1) / sampled_bottom
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(estimates, [tail, 1 - tail])
    return float(top.sum() / bottom.sum()), float(low), float(high)


def bootstrap_statistic(
    statistic: Callable[[np.ndarray], float],
    groups: Sequence[Hashable],
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Estimate any statistic of cases with a percentile interval, resampling whole groups.

    Args:
        statistic: takes the indices of cases, with repetitions, and returns a number, or NaN where it is undefined.
        groups: one a case; cases of one group are drawn together.
        resamples: bootstrap samples.
        confidence: of the interval.
        seed: of the resampling.

    Returns:
        The statistic of all cases, lower and upper bound; samples in which it is undefined are left out of the bounds.

    Raises:
        ValueError: no case.
    """
    if len(groups) == 0:
        raise ValueError("need one case or more")
    members: dict[Hashable, list[int]] = {}
    for case, name in enumerate(groups):
        members.setdefault(name, []).append(case)
    units = [np.array(cases) for cases in members.values()]
    generator = np.random.default_rng(seed)
    value = statistic(np.arange(len(groups)))
    samples = [
        statistic(np.concatenate([units[unit] for unit in generator.integers(0, len(units), len(units))]))
        for _ in range(resamples)
    ]
    tail = (1 - confidence) / 2
    if np.isnan(value) or np.isnan(samples).all():
        return float(value), np.nan, np.nan
    low, high = np.nanquantile(samples, [tail, 1 - tail])
    return float(value), float(low), float(high)
