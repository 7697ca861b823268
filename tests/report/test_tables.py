import dataclasses
import math

from hybrid_attention.evaluation import read_evaluation
from hybrid_attention.evaluation.formatting import Table
from hybrid_attention.evaluation.metrics.classification import class_summary
from hybrid_attention.report.matched_runs import match_runs
from hybrid_attention.report.tables import class_tables, friedman, latex, score_tables, significance_tables

from tests.evaluation.drawn_runs import change_rows

TABLE = Table(
    key="odd",
    title="Odd & <even>",
    header=("run", "a_b (%)", "p"),
    rows=[("U|Net_#1", "-2.5 [-3.0, +1.0]", "< 0.001"), ("$x^2$ {~}\\", "n/a", "1.000")],
    note="100 % of <b>.",
)


def test_markdown_and_latex():
    title, rows = "## Odd & <even>\n\n100 % of <b>.\n\n", r"| U\|Net_#1 | -2.5 [-3.0, +1.0] | \< 0.001 |" + "\n"
    rows += "| $x^2$ {~}\\ | n/a | 1.000 |"
    assert TABLE.markdown().rstrip() == f"{title}| run | a_b (%) | p |\n|---|---|---|\n{rows}"
    text = latex(TABLE)
    assert r"\caption{Odd \& \textless{}even\textgreater{}. 100 \% of \textless{}b\textgreater{}.}" in text
    assert r"run & a\_b (\%) & p \\" in text
    assert r"U|Net\_\#1 & $-$2.5 [$-$3.0, +1.0] & \textless{} 0.001 \\" in text
    assert r"\$x\textasciicircum{}2\$ \{\textasciitilde{}\}\textbackslash{} & n/a & 1.000 \\" in text
    assert r"\begin{tabular}{lrr}" in text
    assert "resizebox" not in text
    wide = latex(Table("wide", "Wide", ("run", *"abcdefg"), [("name", *["77.8 [71.9, 83.1]"] * 7)]))
    assert r"\resizebox{\linewidth}{!}{%" in wide
    assert wide.count("{") == wide.count("}")


def tables(*runs, **settings):
    return {table.key: table for table in score_tables(match_runs(runs, **settings))}


def significance(*runs, **settings):
    comparison = match_runs(runs, **settings)
    return {table.key: table for table in significance_tables(comparison, friedman(comparison))}


def changed(run, name, **record):
    return dataclasses.replace(run, name=name, record={**run.record, **record})


def cells(table, row=0):
    return dict(zip(table.header, table.rows[row], strict=True))


def test_scores_of_perfect_masks(make_run):
    run = read_evaluation(make_run("perfect"))  # 6 of 8 images have a lesion; in the others none is predicted
    found = tables(run)
    row = cells(found["summary"])
    assert row["lesion_only"] == row["empty_is_one"] == row["pooled"] == "100.0 [100.0, 100.0]"
    assert row["median of lesion_only"] == "100.0" and row["empty_is_zero"].startswith("75.0 [")
    none, all_found = "0.0 [0.0, 0.0]", "100.0 [100.0, 100.0]"
    names = ("run", "hd95 (pixel)", "asd (pixel)", "without distance", "lesion sensitivity (%)", "lesion precision (%)")
    names += ("false positives per image", "false-positive rate on normal images (%)", "pixel AUC", "ECE of pixels")
    values = ("perfect", none, none, "0", all_found, all_found, "0.00 [0.00, 0.00]", "0.0", "1.0000 ± 0", "0.1000")
    assert (found["other"].header, found["other"].rows) == (names, [values])  # 0.9 in lesions, 0.1 elsewhere
    for convention in ("lesion_only", "empty_is_one", "empty_is_zero", "pooled"):
        assert found[f"scores-{convention}"].header[1] == "dice"
        assert "f1" not in found[f"scores-{convention}"].header  # it equals Dice
    mm = changed(run, "b", distance_unit="mm")
    table = tables(run, mm)["other"]
    assert [cells(table, row)["hd95"] for row in (0, 1)] == ["0.0 [0.0, 0.0] pixel", "0.0 [0.0, 0.0] mm"]
    assert "image file" in found["other"].note and "image file" not in tables(mm)["other"].note
    # conventions that agree are shown once
    lesions = tables(read_evaluation(make_run("lesions", normal_every=0)))
    assert [key for key in lesions if key.startswith("scores")] == ["scores-lesion_only", "scores-pooled"]
    for key in ("summary", "scores-lesion_only"):
        assert "means over images agree" in lesions[key].note and "agree" not in found[key].note


def test_what_is_not_recorded(make_run):
    run = read_evaluation(make_run("a"))
    plain, equal = changed(run, "plain", pixel_roc=None), changed(run, "equal", pixel_roc={"auc": math.nan})
    note = tables(run, plain, equal)["other"].note
    assert "plain: no ROC curve recorded" in note and "equal: AUC undefined" in note and " a:" not in note
    lacking, old = {"f1", "hd95", "asd", "lesions", "detected_lesions", "false_lesions"}, make_run("old")
    change_rows(old, lambda rows: [{name: row[name] for name in row.keys() - lacking} for row in rows])
    run = read_evaluation(old)
    assert run.cases["f1"].equals(run.cases["dice"])
    row = cells(tables(run)["other"])
    assert row["hd95 (pixel)"] == row["lesion sensitivity (%)"] == row["pixel AUC"] == "n/a"


def test_classes(make_run):
    # one of 8 images, a benign one, is predicted as malignant
    run = read_evaluation(make_run("net", classes=1))
    scores = {table.key: table for table in class_tables({"net": class_summary(run.cases)})}
    together = cells(scores["classes"])
    assert together["accuracy"].startswith("87.5 [")
    assert together["balanced accuracy"].startswith("91.7 [")  # (3/4 + 1 + 1) / 3
    assert scores["each-class"].header[2:] == ("precision", "sensitivity", "specificity", "F1", "AUC")
    assert scores["each-class"].rows[1][:6] == ("net: malignant", "2", "66.7", "100.0", "83.3", "80.0")
    confusion = scores["class-confusion"]
    assert confusion.header == ("run: true class", "predicted benign", "predicted malignant", "predicted normal")
    assert confusion.rows == [
        ("net: benign", "3 (75.0 %)", "1 (25.0 %)", "0"),
        ("net: malignant", "0", "2 (100.0 %)", "0"),
        ("net: normal", "0", "0", "2 (100.0 %)"),
    ]
    assert class_tables({}) == []


def test_accuracies_are_compared_by_group(make_run):
    # wrong are case 0, or cases 0 to 4; the groups are cases 0 and 1, 2 and 3, 4 and 5, 6 and 7
    runs = [read_evaluation(make_run(f"net{wrong}", classes=wrong)) for wrong in (1, 5)]
    table = significance(*runs, read_evaluation(make_run("plain")), reference="plain")["paired-accuracy"]
    (row,) = table.rows  # all pairs, since the reference has no classes
    assert row[0] == "net1 - net5" and row[1].startswith("+50.0 [")
    # groups differ by 1, 2, 1 and 0 cases: only 2 of 8 signs reach a total of 4
    assert row[2:] == ("0.250", "0.250")
    assert "8 images in 4 duplicate groups" in table.note
    assert significance(*runs, reference="net5")["paired-accuracy"].rows == [row]
    single = [read_evaluation(make_run(f"one{wrong}", cases=2, classes=wrong)) for wrong in (1, 2)]
    assert "paired-accuracy" not in significance(*single)  # one group


def test_pairs_and_ranks(make_run):
    runs = [read_evaluation(make_run(name, error=error)) for name, error in (("good", 1), ("fair", 3), ("poor", 6))]
    table = significance(*runs)["paired"]
    assert [row[0] for row in table.rows] == ["good - fair", "good - poor", "fair - poor"]
    assert all(row[1].startswith("+") for row in table.rows)
    assert "6 images with lesion (left out: 2 without lesion)" in table.note and "4 groups" in table.note
    table = significance(*runs, reference="fair")["paired"]
    assert [(row[0], row[1][0]) for row in table.rows] == [("good - fair", "+"), ("poor - fair", "-")]
    table = significance(runs[0], dataclasses.replace(runs[0], name="again"))["paired"]
    assert table.rows == [("good - again", "+0.0 [+0.0, +0.0]", "1.000", "1.000")]
    table = significance(*runs[::-1])["friedman"]
    assert [row[:2] for row in table.rows] == [("poor", "3.00"), ("fair", "2.00"), ("good", "1.00")]
    assert table.rows[0][2] == "" and table.rows[0][4] == table.rows[2][2] != ""  # not against itself
    assert "chi-square 8.00" in table.note  # 4 groups, 3 runs, always in one order: 12·4/(3·4)·2
    assert friedman(match_runs(runs[:2])) is None
    cases = runs[1].cases.copy()
    cases.loc[0, "precision"] = math.nan
    note = significance(runs[0], dataclasses.replace(runs[1], cases=cases), score="precision")["paired"].note
    assert "5 images with lesion (left out: 2 without lesion, 1 undefined in a run)" in note
