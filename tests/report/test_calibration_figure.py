import numpy as np
import pytest
from hybrid_attention.evaluation.uncertainty import CONFIDENCES
from hybrid_attention.report.calibration_figure import calibration_figure, write_calibration_figure
from PIL import Image

from tests.evaluation.predicted import found


@pytest.fixture(scope="module")
def result():
    return found()


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_what_is_drawn(result):
    scores = result.scores["mirror"]
    figure = calibration_figure(result)
    calibration, threshold, risk = figure.axes
    assert figure.get_suptitle() == "mirror (net) (SYNTHETIC DATA)"
    drawn = lines(calibration)
    assert f"unscaled (ECE {scores.before.expected_error():.4f})" in drawn
    after = drawn[f"temperature {scores.temperature:.2f} (ECE {scores.after.expected_error():.4f})"]
    assert after.tolist() == scores.after.curve()[["mean_probability", "lesion_fraction"]].to_numpy().tolist()
    curve, chosen, _ = threshold.get_lines()
    assert len(curve.get_xydata()) == 99
    assert chosen.get_xydata().tolist() == [[scores.choice.threshold, 100 * scores.choice.dice]]
    assert curve.get_ydata().max() == pytest.approx(100 * scores.choice.dice)
    names = [name.split(" (")[0] for name in lines(risk)]
    assert names == [*CONFIDENCES, "random ranking", "perfect ranking"]
    whole = 100 * (1 - scores.cases["dice"].mean())
    for line in risk.get_lines()[:4]:
        assert line.get_xydata()[-1] == pytest.approx([100, whole])  # with all kept, the order says nothing
    perfect = lines(risk)[next(name for name in lines(risk) if name.startswith("perfect"))][:, 1]
    assert all((np.array(line.get_ydata()) >= perfect - 1e-9).all() for line in risk.get_lines()[:4])


def test_files_of_calibration(result, tmp_path):
    assert len(calibration_figure(found(best="as is")).axes[2].get_lines()) == 4  # two confidence scores
    write_calibration_figure(result, tmp_path)
    with Image.open(tmp_path / "calibration.png") as picture:
        assert picture.width > picture.height > 500
    assert (tmp_path / "calibration.pdf").read_bytes().startswith(b"%PDF")
