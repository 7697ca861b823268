import math

import pytest
from hybrid_attention.evaluation.formatting import p_value, percent, plural, score_interval, score_spread


@pytest.mark.parametrize(
    ("score", "text"),
    [
        ({"mean": 0.7782, "low": 0.719, "high": 0.8314}, "77.8 [71.9, 83.1]"),
        ({"value": 1.0, "low": 1.0, "high": 1.0}, "100.0 [100.0, 100.0]"),
        ({"mean": math.nan, "low": math.nan, "high": math.nan}, "n/a"),
        (None, "n/a"),
    ],
)
def test_intervals(score, text):
    assert score_interval(score) == text


def test_numbers():
    assert [plural(count, "case") for count in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
    assert (percent(0.0314, signed=True), percent(-0.0314, signed=True)) == ("+3.1", "-3.1")
    assert (p_value(0.0004), p_value(0.0014), p_value(1.0)) == ("< 0.001", "0.001", "1.000")


def test_spreads():
    assert score_spread({"mean": 0.7782, "sd": 0.0314}) == "77.8 ± 3.1"
    assert score_spread({"mean": 0.5, "sd": math.nan}) == "50.0 ± n/a"  # of one fold
    assert score_spread({"mean": math.nan, "sd": math.nan}) == score_spread(None) == "n/a"
