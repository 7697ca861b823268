import math
from itertools import permutations

import numpy as np
import pytest
from hybrid_attention.evaluation.risk_coverage import risk_coverage, risk_coverage_scores

RISK = [0.1, 0.5, 0.9]


def test_by_hand():
    """The middle case is kept first, then the worst, then the best."""
    curve = risk_coverage([0.2, 0.8, 0.5], RISK)
    assert curve.risk == pytest.approx([0.5, 0.7, 0.5])
    assert curve.area == pytest.approx((0.5 + 0.7 + 0.5) / 3)
    assert curve.random == pytest.approx(0.5)
    assert curve.perfect == pytest.approx((0.1 + 0.3 + 0.5) / 3)
    assert curve.excess == pytest.approx(0.8 / 3)
    assert curve.gain == pytest.approx(-0.2 / 3)


def test_the_order_by_risk_is_perfect_and_its_reverse_the_worst():
    areas = {order: risk_coverage(order, RISK).area for order in permutations((1, 2, 3))}
    best, worst = risk_coverage([3, 2, 1], RISK), risk_coverage([1, 2, 3], RISK)
    assert best.excess == 0 and best.area == min(areas.values())
    assert worst.area == max(areas.values())
    assert np.mean(list(areas.values())) == pytest.approx(best.random)  # the mean over all orders


def test_ties_are_the_mean_over_their_orders():
    tied = risk_coverage([1, 0, 0, 0], [0.0, 0.2, 0.4, 0.9])
    orders = [risk_coverage([9, *order], [0.0, 0.2, 0.4, 0.9]) for order in permutations((1, 2, 3))]
    assert tied.risk == pytest.approx(np.mean([one.risk for one in orders], axis=0).tolist())
    all_alike = risk_coverage([1, 1, 1], RISK)
    assert all_alike.risk == pytest.approx([0.5, 0.5, 0.5]) and all_alike.gain == pytest.approx(0)


def test_intervals_hold_the_values_and_copies_count_once():
    generator = np.random.default_rng(0)
    risk = generator.random(60)
    confidence = -risk + 0.3 * generator.standard_normal(60)
    scores = risk_coverage_scores(confidence, risk, list(range(60)), resamples=200)
    for name in ("aurc", "e_aurc", "gain"):
        assert scores[name]["low"] < scores[name]["value"] < scores[name]["high"]
    assert scores["gain"]["low"] > 0 and 0.4 < scores["rank_correlation"] < 1
    assert scores["e_aurc"]["value"] == pytest.approx(scores["aurc"]["value"] - scores["perfect"])
    doubled = risk_coverage_scores([*confidence, *confidence], [*risk, *risk], [*range(60), *range(60)], resamples=200)
    single = scores["aurc"]["high"] - scores["aurc"]["low"]
    assert doubled["aurc"]["high"] - doubled["aurc"]["low"] == pytest.approx(single, rel=0.25)


def test_no_order_no_correlation():
    assert math.isnan(risk_coverage_scores([1, 1], [0.2, 0.4], [0, 1], resamples=5)["rank_correlation"])


@pytest.mark.parametrize(
    ("confidence", "risk", "message"),
    [
        ([], [], "need a confidence and a risk a case, got 0 and 0"),
        ([1], [1, 2], "got 1 and 2"),
        ([1, math.nan], [0, 0], "must be finite"),
        ([1, 2], [0, math.nan], "must be finite"),
    ],
)
def test_bad_arguments(confidence, risk, message):
    with pytest.raises(ValueError, match=message):
        risk_coverage(confidence, risk)
