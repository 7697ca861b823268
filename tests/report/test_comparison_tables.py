import dataclasses
import json
import math

import pytest
from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.report.comparison_tables import (
    class_tables,
    friedman,
    score_tables,
    significance_tables,
    why_no_tests,
)
from hybrid_attention.report.matching import class_scores, match_runs, paired_scores


def significance(comparison):
    return {table.key: table for table in significance_tables(comparison, friedman(comparison))}


def tables(*runs, **settings):
    comparison = match_runs(runs, **settings)
    return {table.key: table for table in score_tables(comparison)}


def cells(table, row=0):
    return dict(zip(table.header, table.rows[row], strict=True))


def test_perfect_masks_under_each_convention(make_run):
    # 6 of 8 images hold a lesion; in the others nothing is marked
    row = cells(tables(read_evaluation(make_run("perfect")))["summary"])
    assert row["lesion_only"] == row["empty_is_one"] == row["pooled"] == "100.0 [100.0, 100.0]"
    assert row["median of lesion_only"] == "100.0"
    assert row["empty_is_zero"].startswith("75.0 [")


def test_everything_else(make_run):
    row = cells(tables(read_evaluation(make_run("perfect")))["other"])
    assert row["hd95 (pixel)"] == "0.0 [0.0, 0.0]"
    assert row["without distance"] == "0"
    assert row["lesion sensitivity (%)"] == "100.0 [100.0, 100.0]"
    assert row["false positives per image"] == "0.00 [0.00, 0.00]"
    assert row["false-positive rate on normal images (%)"] == "0.0"
    assert row["pixel AUC"] == "1.0000 ± 0"
    assert row["ECE of pixels"] == "0.1000"  # 0.9 where all is lesion, 0.1 where none is


def test_units_that_differ_stand_in_the_cells(make_run):
    runs = [read_evaluation(make_run(name)) for name in ("a", "b")]
    runs[1] = dataclasses.replace(runs[1], record={**runs[1].record, "distance_unit": "mm"})
    table = tables(*runs)["other"]
    assert [cells(table, row)["hd95"] for row in (0, 1)] == ["0.0 [0.0, 0.0] pixel", "0.0 [0.0, 0.0] mm"]


def test_a_pixel_of_a_distance_is_explained(make_run):
    run = read_evaluation(make_run("a"))
    assert "image file" in tables(run)["other"].note
    run = dataclasses.replace(run, record={**run.record, "distance_unit": "mm"})
    assert "image file" not in tables(run)["other"].note


def test_f1_is_not_told_twice(make_run):
    found = tables(read_evaluation(make_run("a")))
    assert "F1 equals Dice." in found["scores-lesion_only"].note
    for convention in ("lesion_only", "empty_is_one", "empty_is_zero", "pooled"):
        assert found[f"scores-{convention}"].header[1] == "dice"
        assert "f1" not in found[f"scores-{convention}"].header


def test_conventions_that_agree_are_not_told_twice(make_run):
    found = tables(read_evaluation(make_run("lesions", normal_every=0)))
    assert [key for key in found if key.startswith("scores")] == ["scores-lesion_only", "scores-pooled"]
    for key in ("summary", "scores-lesion_only"):
        assert "means over images agree" in found[key].note
    assert "agree" not in tables(read_evaluation(make_run("mixed")))["summary"].note


def test_missing_curves_are_said(make_run):
    run = read_evaluation(make_run("a"))
    plain = dataclasses.replace(run, name="plain", record={**run.record, "pixel_roc": None})
    nan = {"auc": math.nan, "error_bound": math.nan}
    one_kind = dataclasses.replace(run, name="one kind", record={**run.record, "pixel_roc": nan})
    note = tables(run, plain, one_kind)["other"].note
    assert "plain: no ROC curve recorded" in note
    assert "one kind: AUC undefined" in note
    assert " a:" not in note


def test_older_columns_only(make_run, edit):
    keep = ("case_id", "class", "group", "dice", "jaccard", "sensitivity", "specificity", "precision", "accuracy")
    folder = edit(make_run("old"), lambda rows: [{k: row[k] for k in (*keep, "tp", "fp", "fn", "tn")} for row in rows])
    table = tables(read_evaluation(folder))["other"]
    assert cells(table)["hd95 (pixel)"] == cells(table)["lesion sensitivity (%)"] == cells(table)["pixel AUC"] == "n/a"


def class_tables_of(*runs):
    comparison = match_runs(runs)
    classes = [(run, scores) for run in comparison.runs if (scores := class_scores(run))]
    return {table.key: table for table in class_tables(classes)}


def test_classes(make_run):
    # one of 8 images, a benign one, is taken for malignant
    scores = class_tables_of(read_evaluation(make_run("net", classes=True)), read_evaluation(make_run("plain")))
    assert [row[0] for row in scores["classes"].rows] == ["net"]
    together = cells(scores["classes"])
    assert together["accuracy"].startswith("87.5 [")
    assert together["balanced accuracy"].startswith("91.7 [")  # (3/4 + 1 + 1) / 3
    assert [row[:2] for row in scores["each-class"].rows] == [
        ("net: benign", "4"),
        ("net: malignant", "2"),
        ("net: normal", "2"),
    ]
    malignant = cells(scores["each-class"], 1)
    assert (malignant["precision"], malignant["sensitivity"], malignant["specificity"]) == ("66.7", "100.0", "83.3")
    assert malignant["F1"] == "80.0"
    assert cells(scores["each-class"])["sensitivity"] == "75.0"


def test_confusion_of_classes(make_run):
    table = class_tables_of(read_evaluation(make_run("net", classes=True)))["class-confusion"]
    assert table.header == ("run: true class", "predicted benign", "predicted malignant", "predicted normal")
    assert table.rows == [
        ("net: benign", "3 (75.0 %)", "1 (25.0 %)", "0"),
        ("net: malignant", "0", "2 (100.0 %)", "0"),
        ("net: normal", "0", "0", "2 (100.0 %)"),
    ]


def test_no_classes_no_tables(make_run):
    run = read_evaluation(make_run("plain"))
    assert class_tables_of(run) == {}
    assert significance(match_runs([run])) == {}


def test_accuracies_are_compared_by_group(make_run):
    # wrong are case 0, or cases 0 to 4; the groups are cases 0 and 1, 2 and 3, 4 and 5, 6 and 7
    runs = [read_evaluation(make_run(f"net{wrong}", classes=True, wrong=wrong)) for wrong in (1, 5)]
    plain = read_evaluation(make_run("plain"))
    table = significance(match_runs([*runs, plain], reference="plain"))["paired-accuracy"]
    (row,) = table.rows  # all pairs, since the reference has no classes
    assert row[0] == "net1 - net5"
    assert row[1].startswith("+50.0 [")
    # groups differ by 1, 2, 1 and 0 cases: only 2 of 8 signs reach a total of 4
    assert row[2:] == ("0.250", "0.250")
    assert "8 images in 4 duplicate groups" in table.note
    assert significance(match_runs(runs, reference="net5"))["paired-accuracy"].rows == [row]


def test_one_group_has_no_test(make_run):
    runs = [read_evaluation(make_run(f"net{wrong}", cases=2, classes=True, wrong=wrong)) for wrong in (1, 2)]
    assert "paired-accuracy" not in significance(match_runs(runs))


def test_recorded_classes_are_believed_for_their_intervals_only(make_run):
    run = read_evaluation(make_run("net", classes=True))
    recorded = run.record["classification"]

    def with_record(change):
        copy = json.loads(json.dumps(recorded))
        change(copy)
        return class_scores(dataclasses.replace(run, record={**run.record, "classification": copy}))

    assert with_record(lambda copy: copy["accuracy"].update(low=0.01))["accuracy"]["low"] == 0.01
    assert with_record(lambda copy: copy["accuracy"].update(value=0.1))["accuracy"] == recorded["accuracy"]
    assert with_record(lambda copy: copy["confusion"][0].reverse())["confusion"] == recorded["confusion"]
    assert with_record(lambda copy: copy["classes"].update(benign="good"))["classes"] == recorded["classes"]
    assert with_record(lambda copy: copy["macro_auc"].update(value=None))["macro_auc"] == recorded["macro_auc"]
    older = with_record(lambda copy: copy.pop("balanced_accuracy"))
    assert older["balanced_accuracy"] == recorded["balanced_accuracy"]


def test_probabilities_must_add_up(make_run, edit):
    folder = edit(make_run("net", classes=True), lambda rows: [{**rows[0], "probability_malignant": "0.9"}, *rows[1:]])
    with pytest.raises(ValueError, match="net: probabilities must"):
        class_scores(read_evaluation(folder))


@pytest.fixture
def runs(make_run):
    return [read_evaluation(make_run(name, error=error)) for name, error in (("good", 1), ("fair", 3), ("poor", 6))]


def test_pairs(runs):
    table = significance(match_runs(runs))["paired"]
    assert [row[0] for row in table.rows] == ["good - fair", "good - poor", "fair - poor"]
    assert all(row[1].startswith("+") for row in table.rows)
    assert "Means over 6 images with lesion (left out: 2 without lesion)" in table.note
    assert "4 groups" in table.note


def test_against_a_reference(runs):
    table = significance(match_runs(runs, reference="fair"))["paired"]
    assert [row[0] for row in table.rows] == ["good - fair", "poor - fair"]
    assert [row[1][0] for row in table.rows] == ["+", "-"]


def test_alike_runs_do_not_differ(runs):
    table = significance(match_runs([runs[0], dataclasses.replace(runs[0], name="again")]))["paired"]
    assert table.rows == [("good - again", "+0.0 [+0.0, +0.0]", "1.000", "1.000")]


def test_friedman_ranks(runs):
    comparison = match_runs(runs[::-1])
    table = significance(comparison)["friedman"]
    assert [row[:2] for row in table.rows] == [("poor", "3.00"), ("fair", "2.00"), ("good", "1.00")]
    assert table.rows[0][2] == ""  # against itself
    assert table.rows[0][4] == table.rows[2][2] != ""
    assert "chi-square 8.00" in table.note  # 4 groups, 3 runs, always in one order: 12·4/(3·4)·2


def test_two_runs_have_no_friedman_test(runs):
    assert friedman(match_runs(runs[:2])) is None


def test_why_there_are_no_tests(runs, make_run):
    assert why_no_tests(match_runs(runs[:1])) == "No tests: there is only one run."
    one_case = [read_evaluation(make_run(name, cases=1)) for name in ("a", "b")]
    assert "two groups of images with a lesion, got 1" in why_no_tests(match_runs(one_case))
    assert significance(match_runs(one_case)) == {}
    assert why_no_tests(match_runs(runs)) == ""


def test_undefined_scores_are_left_out_and_counted(runs):
    cases = runs[1].cases.copy()
    cases.loc[0, "precision"] = math.nan
    comparison = match_runs([runs[0], dataclasses.replace(runs[1], cases=cases)], score="precision")
    paired = paired_scores(comparison)
    assert (len(paired.groups), paired.undefined, paired.without_lesion) == (5, 1, 2)
    assert "1 undefined in a run" in significance(comparison)["paired"].note
