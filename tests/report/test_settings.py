import dataclasses

from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.report.matching import match_runs
from hybrid_attention.report.settings import differences, settings_table


def test_settings_that_differ_are_named(make_run):
    comparison = match_runs(
        [read_evaluation(make_run("a")), read_evaluation(make_run("b", epochs=9)), read_evaluation(make_run("c"))]
    )
    assert differences(comparison) == ["epochs (a, c: 3; b: 9)"]
    table = settings_table(comparison)
    row = next(index for index, row in enumerate(table.rows) if row[0] == "epochs")
    assert table.rows[row] == ("epochs", "3", "9", "3", "differs")
    assert table.marked == {row}


def test_none_is_not_the_same_as_not_recorded(make_run):
    runs = [read_evaluation(make_run(name)) for name in ("a", "b")]
    training = runs[1].record["training"]
    recipe = {**training["recipe"], "encoder_weights": None}
    runs[1] = dataclasses.replace(runs[1], record={**runs[1].record, "training": {**training, "recipe": recipe}})
    assert differences(match_runs(runs)) == ["encoder weights (a: not recorded; b: none)"]


def test_image_sizes_and_truths_that_differ_are_named(make_run, edit):
    small = read_evaluation(make_run("small", size=32))
    found = differences(match_runs([read_evaluation(make_run("a")), small]))
    assert found == ["image size (a: 64; small: 32)"]  # the same images hold a lesion

    def moved(rows):  # a pixel of the truth more, which is missed; all scores follow
        first = rows[0]
        tp, tn = int(first["tp"]), int(first["tn"]) - 1
        scores = {"dice": 2 * tp / (2 * tp + 1), "jaccard": tp / (tp + 1), "sensitivity": tp / (tp + 1)}
        scores |= {"f1": scores["dice"], "specificity": 1, "precision": 1, "accuracy": 1 - 1 / 64**2}
        return [{**first, **scores, "fn": 1, "tn": tn}, *rows[1:]]

    other = read_evaluation(edit(make_run("other"), moved))
    truths = [text for text in differences(match_runs([read_evaluation(make_run("b")), other])) if "truth" in text]
    assert truths == ["ground truth of 1 case between b and other (the first: benign/benign (0).png)"]
