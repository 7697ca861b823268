import math

import numpy as np
import pandas as pd
import pytest
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.evaluation.uncertainty import CONFIDENCES
from hybrid_attention.report.calibration_figure import calibration_figure, write_calibration_figure
from hybrid_attention.report.figures import draw_trainings, look_of, parts_of, read_history
from hybrid_attention.report.stress import draw_examples, draw_stress
from hybrid_attention.transforms.corruptions import CORRUPTIONS, Corrupt
from PIL import Image

from tests.evaluation.drawn_runs import change_record
from tests.evaluation.predicted import DarkIsLesion, found, write_case


def test_curves_of_runs_with_other_losses_and_epochs(make_run):
    def trained(name, epochs, **columns):
        folder = make_run(f"{name}/evaluation")
        scores = {"val_mean_dice": 0.5, "learning_rate": 0.1}
        table = pd.DataFrame({"epoch": range(1, epochs + 1), "train_loss": 1.0, **columns, **scores})
        table.to_csv(folder.parent / "history.csv", index=False)
        return read_evaluation(folder)

    figure = draw_trainings([trained("long", 4, train_bce=[4, 3, 2, 1]), trained("short", 2)])["training"].figure
    curves = {axes.get_title(): [line.get_xydata().T.tolist() for line in axes.lines] for axes in figure.axes[:3]}
    long, short = [1, 2, 3, 4], [1, 2]
    assert curves == {
        "train loss": [[long, [1] * 4], [short, [1] * 2]],
        "train bce": [[long, [4, 3, 2, 1]]],
        "val mean dice": [[long, [0.5] * 4], [short, [0.5] * 2]],
    }
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["long, 4 epochs", "short, 2 epochs"]
    assert len({tuple(look_of(index).values()) for index in range(28)}) == 28
    run = trained("a", 1)  # another training: its best epoch is the second
    assert read_history(run) is None and draw_trainings([run]) == {}


def test_roc_of_the_parts_of_one_training(make_run):
    folder = change_record(make_run("net/evaluation", error=3), weights_sha256="a")
    assert "roc_parts" not in draw_trainings([read_evaluation(folder)])
    train = change_record(make_run("net/evaluation_train", error=1), part="train", weights_sha256="a")
    other = change_record(make_run("net/evaluation_validation", error=5), part="validation", weights_sha256="b")
    run = read_evaluation(folder)
    assert list(parts_of(run)) == ["train", "test"]  # the validation is of other weights
    change_record(other, weights_sha256="a")
    (axes,) = draw_trainings([run])["roc_parts"].figure.axes
    parts = zip(("train", "validation", "test"), map(read_evaluation, (train, other, folder)), strict=True)
    expected = [f"{part} (AUC {one.recorded('pixel_roc', 'auc'):.4f})" for part, one in parts]
    assert [line.get_label() for line in axes.lines[1:]] == expected
    assert axes.get_title() == "net"
    assert axes.lines[3].get_xdata().tolist() == run.roc["false_positive_rate"].tolist()


def test_calibration(tmp_path):
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


def summary(clean, losses, synthetic=False):
    """A run that loses so much Dice at each strength, by kind."""

    def score(mean):
        return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}

    kinds = {
        kind: {"strengths": [{"strength": n, "dice": score(clean - n * loss)} for n in range(1, 6)]}
        for kind, loss in losses.items()
    }
    return {"clean": {"dice": score(clean)}, "kinds": kinds, "synthetic_data": synthetic}


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes if axes.axison}


def test_stress_has_one_panel_per_kind_and_one_line_per_run():
    one = summary(0.8, dict.fromkeys(CORRUPTIONS, 0.1))
    other = summary(0.6, {kind: 0.01 * place for place, kind in enumerate(CORRUPTIONS)})
    figure = draw_stress({"net_$1$": one, "other": other})
    drawn = panels(figure)
    assert list(drawn) == list(CORRUPTIONS)
    for place, axes in enumerate(drawn.values()):
        first, second = axes.get_lines()
        np.testing.assert_array_equal(first.get_xdata(), range(6))
        np.testing.assert_allclose(first.get_ydata(), [80, 70, 60, 50, 40, 30])
        np.testing.assert_allclose(second.get_ydata(), [60 - n * place for n in range(6)])
        assert first.get_color() != second.get_color()
        shade = axes.collections[0].get_datalim(axes.transData)
        assert (shade.ymin, shade.ymax) == pytest.approx((20, 90))  # 30 less 10 to 80 plus 10
    (legend,) = figure.legends
    names = legend.get_texts()
    assert [text.get_text() for text in names] == ["net_$1$", "other"] and not names[0].get_parse_math()
    assert figure.get_suptitle() == ""

    empty = summary(0.8, {"gain": 0.1}, synthetic=True)
    for entry in (empty["clean"], *empty["kinds"]["gain"]["strengths"]):
        entry["dice"] = None  # no image has a lesion
    figure = draw_stress({"net": empty})
    assert figure.get_suptitle() == "SYNTHETIC DATA"
    (line,) = panels(figure)["gain"].get_lines()
    assert all(math.isnan(value) for value in line.get_ydata())


def outlines(axes):
    """The boxes that the outlines of an example fill, in pixels of the image: left, right, top, bottom."""
    boxes = []
    for lines in axes.collections:
        corners = np.concatenate([path.vertices for path in lines.get_paths()])
        boxes.append([*np.sort([corners[:, 0].min(), corners[:, 0].max()]), corners[:, 1].min(), corners[:, 1].max()])
    return boxes


def test_examples_of_stress(tmp_path):
    case, network = write_case(tmp_path, "0", 30, True), DarkIsLesion(tmp_path, step=2, chance=1.0)
    figure = draw_examples({"net": network}, case, ["gain", "text"], seed=2)
    shown = [axes for axes in figure.axes if axes.get_images()]
    titles = [axes.get_title() for axes in shown]
    assert titles == ["benign/0.png", *2 * ["strength 1", "strength 3", "strength 5"]]
    assert [block.get_suptitle() for block in figure.subfigs] == ["undegraded", "gain", "text", ""]

    image = np.array(Image.open(case["image"]), np.float32)[None]
    for axes, (kind, strength) in zip(shown[1:], [(k, s) for k in ("gain", "text") for s in (1, 3, 5)], strict=True):
        (drawn,) = axes.get_images()
        np.testing.assert_allclose(drawn.get_array(), Corrupt(kind, strength, 2)(image, case["case_id"])[0], atol=1e-3)
        assert drawn.get_clim() == (0, 255)  # brightness is not scaled away
    truth, predicted = outlines(shown[0])
    assert truth == pytest.approx([8, 16, 8, 16], abs=0.5)
    assert predicted == pytest.approx([8, 16, 8, 16], abs=1)  # of half the size, stretched to the image
    assert outlines(shown[2])[1] == pytest.approx([8, 16, 8, 16], abs=1)  # gain 1.6: 48, still dark
    assert len(outlines(shown[3])) == 1  # gain 2.5: 75, nothing is predicted
