"""Tables of the tests between runs."""

from __future__ import annotations

from hybrid_attention.evaluation.comparison import FriedmanTest, PairedTest, friedman_test, paired_tests
from hybrid_attention.evaluation.text import p_value, percent_interval, plural, score_title
from hybrid_attention.report.matching import Comparison
from hybrid_attention.report.paired_scores import PairedScores, paired_scores
from hybrid_attention.report.table import Table


def why_no_tests(comparison: Comparison) -> str:
    """Say why there are no tests, or nothing where there are."""
    if len(comparison.runs) == 1:
        return "One run only: there is nothing to test it against."
    groups = len(set(paired_scores(comparison).groups))
    if groups < 2:
        return f"No tests: they need two groups of images with a lesion, there are {groups}."
    return ""


def friedman(comparison: Comparison) -> FriedmanTest | None:
    """Test three runs or more at once; None for fewer, or for fewer than two groups of cases."""
    if len(comparison.runs) < 3 or why_no_tests(comparison):
        return None
    paired = paired_scores(comparison)
    return friedman_test(paired.scores, paired.groups)


def paired_table(comparison: Comparison) -> Table | None:
    """Lay the pairwise differences out; None where there is nothing to test."""
    if why_no_tests(comparison):
        return None
    paired = paired_scores(comparison)
    tests = paired_tests(paired.scores, paired.groups, comparison.reference)
    return Table(
        key="paired",
        title=f"Differences in {score_title(comparison.score).capitalize()}",
        header=("first minus second", "difference (%)", "p (Wilcoxon)", "p (Holm)"),
        rows=[paired_row(test) for test in tests],
        note=(
            f"Means over {_cases(paired)}; 95 % intervals by bootstrap over duplicate groups. Wilcoxon's signed-rank "
            f"test sees the mean of each of the {tests[0].groups} groups once; Holm's adjustment is over all tests of "
            f"this table, {len(tests)} in number."
        ),
    )


def paired_row(test: PairedTest) -> tuple[str, ...]:
    """Lay one test out: the pair, its difference with interval, and both p-values."""
    interval = percent_interval(test.difference, test.low, test.high, signed=True)
    return (f"{test.first} - {test.second}", interval, p_value(test.p_value), p_value(test.p_holm))


def _cases(paired: PairedScores) -> str:
    left_out = [
        f"{count} {why}"
        for count, why in ((paired.without_lesion, "without lesion"), (paired.undefined, "undefined in a run"))
        if count
    ]
    return f"{plural(len(paired.groups), 'image')} with lesion" + (
        f" (left out: {', '.join(left_out)})" if left_out else ""
    )


def friedman_table(comparison: Comparison, test: FriedmanTest) -> Table:
    """Lay mean ranks and Nemenyi's p-values out, a line a run."""
    names = list(test.mean_ranks)

    def nemenyi(first: str, second: str) -> str:
        if first == second:
            return ""
        return p_value(test.nemenyi[(first, second) if (first, second) in test.nemenyi else (second, first)])

    return Table(
        key="friedman",
        title="All runs at once: Friedman and Nemenyi",
        header=("run", "mean rank", *(f"p against {name}" for name in names)),
        rows=[(one, f"{test.mean_ranks[one]:.2f}", *(nemenyi(one, other) for other in names)) for one in names],
        note=(
            f"Friedman's chi-square {test.statistic:.2f}, p {_relation(test.p_value)}, over the ranks of "
            f"{score_title(comparison.score).capitalize()} in {test.groups} groups (rank 1 is best). "
            f"Nemenyi's test of the pairs; mean ranks closer than {test.critical_difference:.2f} can't be told apart "
            "at the 5 % level."
        ),
    )


def _relation(value: float) -> str:
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"
