import json

import pandas as pd
import pytest
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.report.figures import draw_trainings, legend, look_of, new_figure, parts_of, read_history


@pytest.fixture
def trained(make_run, tmp_path):
    """An evaluation in the folder of its training, of as many epochs as asked for."""

    def of(name, epochs, **columns):
        folder = make_run(f"{name}/evaluation")
        table = {
            "epoch": range(1, epochs + 1),
            "train_loss": 1.0,
            **columns,
            "val_mean_dice": 0.5,
            "learning_rate": 0.1,
        }
        pd.DataFrame(table).to_csv(tmp_path / name / "history.csv", index=False)
        return read_evaluation(folder)

    return of


def lines(figure):
    return {
        axes.get_title(): {tuple(line.get_xdata()): list(line.get_ydata()) for line in axes.lines}
        for axes in figure.axes
        if axes.get_title()
    }


def test_curves_of_runs_with_other_losses_and_epochs(trained):
    runs = [trained("long", 4, train_bce=[4, 3, 2, 1]), trained("short", 2)]
    figure = draw_trainings(runs)["training"].figure
    assert lines(figure) == {
        "train loss": {(1, 2, 3, 4): [1] * 4, (1, 2): [1] * 2},
        "train bce": {(1, 2, 3, 4): [4, 3, 2, 1]},
        "val mean dice": {(1, 2, 3, 4): [0.5] * 4, (1, 2): [0.5] * 2},
    }
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["long, 4 epochs", "short, 2 epochs"]


def test_history_of_another_training_is_not_drawn(trained, tmp_path):
    run = trained("a", 1)  # its best epoch is the second
    assert read_history(run) is None and draw_trainings([run]) == {}
    assert len(read_history(trained("b", 2))) == 2


def test_roc_of_the_parts_of_one_training(make_run, record_edit):
    folder = record_edit(make_run("net/evaluation", error=3), weights_sha256="a")
    assert "roc_parts" not in draw_trainings([read_evaluation(folder)])
    record_edit(make_run("net/evaluation_train", error=1), part="train", weights_sha256="a")
    other = record_edit(make_run("net/evaluation_validation", error=5), part="validation", weights_sha256="b")
    run = read_evaluation(folder)
    assert list(parts_of(run)) == ["train", "test"]  # the validation is of other weights
    record_edit(other, weights_sha256="a")
    figure = draw_trainings([run])["roc_parts"].figure
    (axes,) = figure.axes
    areas = [
        json.loads((one / "summary.json").read_text())["pixel_roc"]["auc"]
        for one in (folder.with_name("evaluation_train"), other, folder)
    ]
    assert [line.get_label() for line in axes.lines[1:]] == [
        f"{part} (AUC {area:.4f})" for part, area in zip(("train", "validation", "test"), areas, strict=True)
    ]
    assert axes.get_title() == "net"
    assert axes.lines[3].get_xdata().tolist() == run.roc["false_positive_rate"].tolist()


def test_looks_differ_and_names_are_not_parsed_as_formulas():
    assert len({tuple(look_of(index).values()) for index in range(28)}) == 28
    figure = new_figure(4, 3)
    figure.subplots().plot([0, 1], label="net_$1$")
    legend(figure)
    (names,) = figure.legends
    assert [(text.get_text(), text.get_parse_math()) for text in names.get_texts()] == [("net_$1$", False)]
