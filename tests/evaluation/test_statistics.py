import math
from itertools import combinations

import numpy as np
import pytest
from hybrid_attention.evaluation.statistics import bootstrap_ratio, friedman_test, paired_accuracy_tests, paired_tests
from scipy.stats import binomtest, studentized_range

# Depression scale of nine patients before and after treatment: M. Hollander, D. A. Wolfe, "Nonparametric Statistical
# Methods", 1973, p. 29; the example of R's wilcox.test
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
# Three ways of rounding first base, 22 players: the same book, p. 140; the example of R's friedman.test, which prints
# chi-squared = 11.143, p = 0.003805
ROUNDING = np.array(
    """5.40 5.50 5.55  5.85 5.70 5.75  5.20 5.60 5.50  5.55 5.50 5.40  5.90 5.85 5.70  5.45 5.55 5.60  5.40 5.40 5.35
    5.45 5.50 5.35  5.25 5.15 5.00  5.85 5.80 5.70  5.25 5.20 5.10  5.65 5.55 5.45  5.60 5.35 5.45  5.05 5.00 4.95
    5.50 5.50 5.40  5.45 5.55 5.50  5.55 5.55 5.35  5.45 5.50 5.55  5.50 5.45 5.25  5.65 5.60 5.40  5.70 5.65 5.55
    6.30 6.30 6.25""".split(),
    dtype=float,
).reshape(22, 3)


def test_wilcoxon_of_the_textbook_and_copies():
    (test,) = paired_tests({"before": BEFORE, "after": AFTER}, range(9))
    assert test.p_value == test.p_holm == pytest.approx(2 * 0.01953125)  # printed there for one side
    assert test.difference == pytest.approx(np.mean(np.subtract(BEFORE, AFTER)))
    assert (test.first, test.second, test.groups) == ("before", "after", 9)
    assert test.low < test.difference < test.high
    copies = {"x": np.repeat(BEFORE, 4), "y": np.repeat(AFTER, 4)}  # count once
    copied = paired_tests(copies, np.repeat(range(9), 4).tolist())[0]
    assert (copied.p_value, copied.groups) == (pytest.approx(test.p_value), 9)
    assert paired_tests(copies, range(36))[0].p_value < 0.001


def test_friedman_of_the_textbook():
    scores = dict(zip(["round out", "narrow angle", "wide angle"], ROUNDING.T, strict=True))
    test = friedman_test(scores, range(22))
    assert test.statistic == pytest.approx(11.143, abs=5e-4)
    assert test.p_value == pytest.approx(0.003805, abs=5e-7)
    # 53, 47 and 32 over 22: rank 1 is the highest value
    assert test.mean_ranks == pytest.approx({"round out": 35 / 22, "narrow angle": 41 / 22, "wide angle": 56 / 22})
    for first, second in combinations(scores, 2):  # Nemenyi: studentized range of the mean ranks
        gap = abs(test.mean_ranks[first] - test.mean_ranks[second])
        statistic = gap / math.sqrt(3 * 4 / (6 * 22)) * math.sqrt(2)
        expected = studentized_range.sf(statistic, 3, np.inf)
        assert test.nemenyi.loc[first, second] == pytest.approx(expected, abs=1e-6)


def test_critical_difference_of_demsar():
    """Four classifiers on 14 data sets: J. Demšar, JMLR 7 (2006), section 3.2.2 prints 1.25."""
    scores = dict(zip("abcd", np.random.default_rng(0).random((4, 14)), strict=True))
    test = friedman_test(scores, range(14))
    assert test.critical_difference == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert test.critical_difference == pytest.approx(1.25, abs=0.005)


def test_ties_are_evidence_for_neither():
    """Demšar's convention: zero differences count half for each side, which is more cautious than leaving them out."""
    better, worse = [0.0] * 10 + [0.9] * 8, [0.0] * 10 + [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    (test,) = paired_tests({"better": better, "worse": worse}, range(18))
    (without_ties,) = paired_tests({"better": better[10:], "worse": worse[10:]}, range(8))
    assert without_ties.p_value == pytest.approx(2 / 2**8)
    assert test.p_value > 1.2 * without_ties.p_value
    # no difference at all
    assert paired_tests({"x": BEFORE, "y": BEFORE}, range(9))[0].p_value == 1
    same = friedman_test({"x": BEFORE, "y": BEFORE, "z": BEFORE}, range(9))
    assert (same.statistic, same.p_value, set(same.mean_ranks.values())) == (0, 1, {2.0})


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (lambda: paired_tests({"x": [1.0]}, [0]), "at least 2 runs, got 1"),
        (lambda: paired_tests({"x": [1.0, 2.0], "y": [1.0]}, [0, 1]), "y has 1 scores for 2 cases"),
        (lambda: paired_tests({"x": [1.0], "y": [math.nan]}, [0]), "y has 1 scores that are NaN"),
        (lambda: paired_tests({"x": [1.0], "y": [2.0]}, [0], "z"), "no run named 'z'; there are x, y"),
        (lambda: friedman_test({"x": [1.0, 2.0], "y": [2.0, 1.0]}, [0, 1]), "at least 3 runs, got 2"),
        (lambda: friedman_test({name: [1.0, 2.0] for name in "xyz"}, [0, 0]), "2 groups of cases, got 1"),
        (lambda: bootstrap_ratio([1], [1, 1], ["a"]), "got 1, 2 and 1"),
        (lambda: bootstrap_ratio([1], [0], ["a"]), "all denominators are zero"),
    ],
)
def test_bad_scores(test, message):
    with pytest.raises(ValueError, match=message):
        test()


def test_accuracy_of_single_cases_is_mcnemars_exact_test():
    # of 20 cases the first alone is right in 5, the second alone in 1: 2·(1 + 6)/2^6
    first, second = [1] * 5 + [0] + [1] * 14, [0] * 5 + [1] + [1] * 14
    (test,) = paired_accuracy_tests({"a": first, "b": second}, range(20))
    assert test.p_value == pytest.approx(binomtest(1, 6).pvalue) == 14 / 64
    assert test.low < test.difference < test.high and test.difference == pytest.approx(4 / 20)
    # many cases are exchanged at random, always in the same way
    many = {"a": [1] * 30 + [0] * 15, "b": [0] * 30 + [1] * 15}
    assert paired_accuracy_tests(many, range(45)) == paired_accuracy_tests(many, range(45))
    assert paired_accuracy_tests(many, range(45))[0].p_value == pytest.approx(binomtest(15, 45).pvalue, abs=0.008)
    # 20 images that show two cases, ten times each, count as two: 2 of 4 signs
    (copies,) = paired_accuracy_tests({"a": [1] * 20, "b": [0] * 20}, [0] * 10 + [1] * 10)
    assert (copies.p_value, copies.groups) == (0.5, 2)
    # alike accuracies, and Holm's adjustment
    tests = paired_accuracy_tests({"a": [1] * 8, "b": [0] * 8, "c": [1] * 8}, range(8))
    assert [(test.first, test.second) for test in tests] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [test.p_value for test in tests] == [2 / 256, 1, 2 / 256]
    assert [test.p_holm for test in tests] == pytest.approx([6 / 256, 1, 6 / 256])


def test_ratio_by_hand():
    value, low, high = bootstrap_ratio([1, 3], [2, 4], ["a", "b"])
    assert value == pytest.approx(4 / 6)
    assert (low, high) == pytest.approx((1 / 2, 3 / 4))  # only one group drawn
    assert bootstrap_ratio([0.2, 0.8], [1, 1], ["a", "a"]) == pytest.approx((0.5, 0.5, 0.5))  # one group, no spread
    # copies leave the interval as it is
    values = np.random.default_rng(0).random(40)
    alone = bootstrap_ratio(values, np.ones(40), range(40))
    copied = bootstrap_ratio(np.repeat(values, 4), np.ones(160), np.repeat(range(40), 4).tolist())
    naive = bootstrap_ratio(np.repeat(values, 4), np.ones(160), range(160))
    assert copied == pytest.approx(alone)
    assert naive.high - naive.low < 0.6 * (alone.high - alone.low)
