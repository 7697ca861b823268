import pytest
from hybrid_attention.evaluation.uncertainty import CONFIDENCES
from hybrid_attention.report.calibration_figure import calibration_figure, write_calibration_figure

from tests.evaluation.predicted import found


def test_what_is_drawn(tmp_path):
    result = found()
    scores = result.scores["mirror"]
    figure = calibration_figure(result)
    calibration, threshold, risk = ({line.get_label(): line.get_xydata() for line in one.lines} for one in figure.axes)
    assert figure.get_suptitle() == "mirror (net) (SYNTHETIC DATA)"
    assert f"unscaled (ECE {scores.before.expected_error():.4f})" in calibration
    after = calibration[f"temperature {scores.temperature:.2f} (ECE {scores.after.expected_error():.4f})"]
    assert after.tolist() == scores.after.curve()[["mean_probability", "lesion_fraction"]].to_numpy().tolist()
    curve, chosen, _ = threshold.values()
    assert len(curve) == 99 and curve[:, 1].max() == pytest.approx(100 * scores.choice.dice)
    assert chosen.tolist() == [[scores.choice.threshold, 100 * scores.choice.dice]]
    assert [name.split(" (")[0] for name in risk] == [*CONFIDENCES, "random ranking", "perfect ranking"]
    *curves, _, perfect = risk.values()
    for curve in curves:  # with all kept, the order says nothing
        assert curve[-1] == pytest.approx([100, 100 * (1 - scores.cases["dice"].mean())])
        assert (curve[:, 1] >= perfect[:, 1] - 1e-9).all()
    write_calibration_figure(result, tmp_path)
    assert (tmp_path / "calibration.pdf").read_bytes().startswith(b"%PDF")
