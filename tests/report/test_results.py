import dataclasses
import math

from hybrid_attention.report import read_run
from hybrid_attention.report.matching import match_runs
from hybrid_attention.report.results import score_tables
from hybrid_attention.report.settings import differences, settings_table


def tables(*runs, **settings):
    comparison = match_runs(runs, **settings)
    return {table.key: table for table in score_tables(comparison)}


def cells(table, row=0):
    return dict(zip(table.header, table.rows[row], strict=True))


def test_perfect_masks_under_each_convention(make_run):
    # 6 of 8 images hold a lesion; in the others nothing is marked
    row = cells(tables(read_run(make_run("perfect")))["summary"])
    assert row["lesion_only"] == row["empty_is_one"] == row["pooled"] == "100.0 [100.0, 100.0]"
    assert row["median of lesion_only"] == "100.0"
    assert row["empty_is_zero"].startswith("75.0 [")


def test_everything_else(make_run):
    row = cells(tables(read_run(make_run("perfect")))["other"])
    assert row["hd95 (pixel)"] == "0.0 [0.0, 0.0]"
    assert row["without distance"] == "0"
    assert row["lesions found (%)"] == "100.0 [100.0, 100.0]"
    assert row["false lesions an image"] == "0.00 [0.00, 0.00]"
    assert row["images without lesion, marked (%)"] == "0.0"
    assert row["pixel AUC"] == "1.0000 ± 0"
    assert row["ECE of pixels"] == "0.1000"  # 0.9 where all is lesion, 0.1 where none is


def test_units_that_differ_stand_in_the_cells(make_run):
    runs = [read_run(make_run(name)) for name in ("a", "b")]
    runs[1] = dataclasses.replace(runs[1], record={**runs[1].record, "distance_unit": "mm"})
    table = tables(*runs)["other"]
    assert [cells(table, row)["hd95"] for row in (0, 1)] == ["0.0 [0.0, 0.0] pixel", "0.0 [0.0, 0.0] mm"]


def test_a_pixel_of_a_distance_is_explained(make_run):
    run = read_run(make_run("a"))
    assert "A pixel of a distance is one of the image file" in tables(run)["other"].note
    run = dataclasses.replace(run, record={**run.record, "distance_unit": "mm"})
    assert "image file" not in tables(run)["other"].note


def test_f1_is_not_told_twice(make_run):
    found = tables(read_run(make_run("a")))
    assert "F1 is the same number as Dice." in found["scores-lesion_only"].note
    for convention in ("lesion_only", "empty_is_one", "empty_is_zero", "pooled"):
        assert found[f"scores-{convention}"].header[1] == "dice"
        assert "f1" not in found[f"scores-{convention}"].header


def test_conventions_that_agree_are_not_told_twice(make_run):
    found = tables(read_run(make_run("lesions", normal_every=0)))
    assert [key for key in found if key.startswith("scores")] == ["scores-lesion_only", "scores-pooled"]
    for key in ("summary", "scores-lesion_only"):
        assert "the three means over images agree but for precision" in found[key].note
    assert "agree" not in tables(read_run(make_run("mixed")))["summary"].note


def test_missing_curves_are_said(make_run):
    run = read_run(make_run("a"))
    plain = dataclasses.replace(run, name="plain", record={**run.record, "pixel_roc": None})
    nan = {"auc": math.nan, "error_bound": math.nan}
    one_kind = dataclasses.replace(run, name="one kind", record={**run.record, "pixel_roc": nan})
    note = tables(run, plain, one_kind)["other"].note
    assert "plain: no ROC curve recorded" in note
    assert "one kind: AUC undefined: all predictions alike or only one class" in note
    assert " a:" not in note


def test_older_columns_only(make_run, edit):
    keep = ("case_id", "class", "group", "dice", "jaccard", "sensitivity", "specificity", "precision", "accuracy")
    folder = edit(make_run("old"), lambda rows: [{k: row[k] for k in (*keep, "tp", "fp", "fn", "tn")} for row in rows])
    table = tables(read_run(folder))["other"]
    assert cells(table)["hd95 (pixel)"] == cells(table)["lesions found (%)"] == cells(table)["pixel AUC"] == "n/a"


def test_settings_that_differ_are_named(make_run):
    comparison = match_runs([read_run(make_run("a")), read_run(make_run("b", epochs=9)), read_run(make_run("c"))])
    assert differences(comparison) == ["epochs (a, c: 3; b: 9)"]
    table = settings_table(comparison)
    row = next(index for index, row in enumerate(table.rows) if row[0] == "epochs")
    assert table.rows[row] == ("epochs", "3", "9", "3", "differs")
    assert table.marked == {row}


def test_none_is_not_the_same_as_not_recorded(make_run):
    runs = [read_run(make_run(name)) for name in ("a", "b")]
    training = runs[1].record["training"]
    recipe = {**training["recipe"], "encoder_weights": None}
    runs[1] = dataclasses.replace(runs[1], record={**runs[1].record, "training": {**training, "recipe": recipe}})
    assert differences(match_runs(runs)) == ["encoder weights (a: not recorded; b: none)"]


def test_image_sizes_and_truths_that_differ_are_named(make_run, edit):
    small = read_run(make_run("small", size=32))
    found = differences(match_runs([read_run(make_run("a")), small]))
    assert found == ["image size (a: 64; small: 32)"]  # the same images hold a lesion

    def moved(rows):  # a pixel of the truth more, which is missed; all scores follow
        first = rows[0]
        tp, tn = int(first["tp"]), int(first["tn"]) - 1
        scores = {"dice": 2 * tp / (2 * tp + 1), "jaccard": tp / (tp + 1), "sensitivity": tp / (tp + 1)}
        scores |= {"f1": scores["dice"], "specificity": 1, "precision": 1, "accuracy": 1 - 1 / 64**2}
        return [{**first, **scores, "fn": 1, "tn": tn}, *rows[1:]]

    other = read_run(edit(make_run("other"), moved))
    truths = [text for text in differences(match_runs([read_run(make_run("b")), other])) if text.startswith("truth")]
    assert truths == ["truth: of 1 case between b and other (the first: benign/benign (0).png)"]
