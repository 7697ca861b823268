import pandas as pd
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.report.figures import draw_trainings, look_of, parts_of, read_history

from tests.evaluation.drawn_runs import change_record


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
