import pytest
from hybrid_attention.evaluation.curves import read_curve

ROC = "false_positive_rate,true_positive_rate,threshold\n0,0,inf\n"
BINS = "low,high,pixels,mean_probability,lesion_fraction\n0,0.5,10,0.1,0.2\n"


def test_good_curves(tmp_path):
    assert read_curve(tmp_path, "roc") is None
    (tmp_path / "roc.csv").write_text(ROC + "0.25,0.75,0.5\n0.25,0.75,0.4\n1,1,0\n")
    rates = [tuple(point.values()) for point in read_curve(tmp_path, "roc")]
    assert rates == [(0, 0), (0.25, 0.75), (0.25, 0.75), (1, 1)]
    (tmp_path / "calibration.csv").write_text(BINS)
    assert read_curve(tmp_path, "calibration")[0]["pixels"] == 10


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("roc", ROC + "nan,1,0\n", "line 3: false_positive_rate is 'nan', must be a number from 0 to 1"),
        ("roc", ROC + "1,1.01,0\n", "line 3: true_positive_rate is '1.01'"),
        ("roc", ROC + "-0.1,1,0\n", "line 3: false_positive_rate is '-0.1'"),
        ("roc", ROC + "much,1,0\n", "line 3: false_positive_rate is 'much'"),
        ("roc", ROC + "0.5,0.5,0\n\n0.6,0.4,0\n", "line 5: true_positive_rate falls from 0.5 to 0.4"),
        ("roc", ROC + "0.5,0.5\n", "line 3: [0-9]+ cells, but the header has"),
        ("roc", ROC + "0.5,0.5,0,1\n", "line 3: [0-9]+ cells, but the header has"),
        ("roc", ROC.splitlines()[0] + "\n", "holds no row"),
        ("roc", "false_positive_rate,rate\n0,0\n", "lacks the columns true_positive_rate"),
        ("calibration", BINS + "0.5,1,inf,0.7,0.7\n", "line 3: pixels is 'inf', must be a number that is 0 or more"),
        ("calibration", BINS + "0.5,1,-3,0.7,0.7\n", "line 3: pixels is '-3'"),
        ("calibration", BINS + "0.5,1,3,0.7,nan\n", "line 3: lesion_fraction is 'nan'"),
        ("calibration", BINS + "0.5,0.4,3,0.7,0.7\n", "line 3: high falls from 0.5 to 0.4"),
    ],
)
def test_damaged_curves(tmp_path, name, text, message):
    (tmp_path / f"{name}.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"{name}\.csv.*{message}"):
        read_curve(tmp_path, name)
