import numpy as np
import pytest
from hybrid_attention.report import reliability_figure, write_reliability_figure
from PIL import Image

from tests.evaluation.predicted import found


@pytest.fixture(scope="module")
def result():
    return found()


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_what_is_drawn(result):
    scores = result.scores["mirror"]
    figure = reliability_figure(result)
    calibration, threshold, risk = figure.axes
    assert figure.get_suptitle() == "mirror (net) (SYNTHETIC DATA)"
    drawn = lines(calibration)
    assert f"as predicted (ECE {scores.before.expected_error():.4f})" in drawn
    after = drawn[f"temperature {scores.temperature:.2f} (ECE {scores.after.expected_error():.4f})"]
    assert after.tolist() == [[row["mean_probability"], row["lesion_fraction"]] for row in scores.after.curve()]
    curve, chosen, _ = threshold.get_lines()
    assert len(curve.get_xydata()) == 99
    assert chosen.get_xydata().tolist() == [[scores.choice.threshold, 100 * scores.choice.dice]]
    assert curve.get_ydata().max() == pytest.approx(100 * scores.choice.dice)
    names = [name.split(" (")[0] for name in lines(risk)]
    assert names == [
        "expected_dice",
        "minus_entropy",
        "member_dice",
        "minus_disagreement",
        "random order",
        "perfect order",
    ]
    whole = 100 * (1 - scores.chosen_dice.mean())
    for line in risk.get_lines()[:4]:
        assert line.get_xydata()[-1] == pytest.approx([100, whole])  # with all kept, the order says nothing
    perfect = lines(risk)[next(name for name in lines(risk) if name.startswith("perfect"))][:, 1]
    assert all((np.array(line.get_ydata()) >= perfect - 1e-9).all() for line in risk.get_lines()[:4])


def test_a_single_pass_has_two_scores(result):
    risk = reliability_figure(found(best="as is")).axes[2]
    assert len(risk.get_lines()) == 4


def test_files(result, tmp_path):
    path = write_reliability_figure(result, tmp_path)
    assert path == tmp_path / "reliability.png"
    with Image.open(path) as picture:
        assert picture.width > picture.height > 500
    assert (tmp_path / "reliability.pdf").read_bytes().startswith(b"%PDF")
