import dataclasses
import json
import re

import pytest
from hybrid_attention.report import compare, read_run
from hybrid_attention.report.class_results import accuracy_table, class_tables
from hybrid_attention.report.matching import match_runs
from hybrid_attention.report.paired_scores import class_scores


def tables(*runs):
    comparison = match_runs(runs)
    classes = [(run, scores) for run in comparison.runs if (scores := class_scores(run))]
    return {table.key: table for table in class_tables(classes)}


def cells(table, row=0):
    return dict(zip(table.header, table.rows[row], strict=True))


def test_classes(make_run):
    # one of 8 images, a benign one, is taken for malignant
    scores = tables(read_run(make_run("net", classes=True)), read_run(make_run("plain")))
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
    table = tables(read_run(make_run("net", classes=True)))["class-confusion"]
    assert table.header == ("run: true class", "taken for benign", "taken for malignant", "taken for normal")
    assert table.rows == [
        ("net: benign", "3 (75.0 %)", "1 (25.0 %)", "0"),
        ("net: malignant", "0", "2 (100.0 %)", "0"),
        ("net: normal", "0", "0", "2 (100.0 %)"),
    ]


def test_no_classes_no_tables(make_run):
    run = read_run(make_run("plain"))
    assert tables(run) == {}
    assert accuracy_table(match_runs([run])) is None


def test_accuracies_are_compared_by_group(make_run):
    # wrong are case 0, or cases 0 to 4; the groups are cases 0 and 1, 2 and 3, 4 and 5, 6 and 7
    runs = [read_run(make_run(f"net{wrong}", classes=True, wrong=wrong)) for wrong in (1, 5)]
    plain = read_run(make_run("plain"))
    table = accuracy_table(match_runs([*runs, plain], reference="plain"))
    (row,) = table.rows  # all pairs, since the reference has no classes
    assert row[0] == "net1 - net5"
    assert row[1].startswith("+50.0 [")
    # groups differ by 1, 2, 1 and 0 cases: only 2 of 8 signs reach a total of 4
    assert row[2:] == ("0.250", "0.250")
    assert "8 images in 4 duplicate groups" in table.note
    assert accuracy_table(match_runs(runs, reference="net5")).rows == [row]


def test_one_group_has_no_test(make_run):
    runs = [read_run(make_run(f"net{wrong}", cases=2, classes=True, wrong=wrong)) for wrong in (1, 2)]
    assert accuracy_table(match_runs(runs)) is None


def test_recorded_classes_are_believed_for_their_intervals_only(make_run):
    run = read_run(make_run("net", classes=True))
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


def test_an_older_record_without_balanced_accuracy_is_read(make_run, record_edit):
    folder = make_run("old", classes=True)
    classification = json.loads((folder / "summary.json").read_text())["classification"]
    del classification["balanced_accuracy"]
    assert read_run(record_edit(folder, classification=classification)).classes


def test_probabilities_must_add_up(make_run, edit):
    folder = edit(make_run("net", classes=True), lambda rows: [{**rows[0], "probability_malignant": "0.9"}, *rows[1:]])
    with pytest.raises(ValueError, match="net: probabilities must"):
        class_scores(read_run(folder))


def test_a_class_named_against_its_probabilities_is_refused(make_run, edit):
    folder = edit(make_run("net", classes=True), lambda rows: [{**rows[0], "predicted_class": "normal"}, *rows[1:]])
    with pytest.raises(ValueError, match="predicted_class is 'normal', but its probabilities give 'malignant'"):
        read_run(folder)


def test_page_and_tables_of_class_runs(make_run, tmp_path):
    runs = [make_run(f"net{wrong}", classes=True, wrong=wrong, pictures=False) for wrong in (1, 5)]
    page = compare(runs, tmp_path / "report").read_text(encoding="utf-8")
    section = page[page.index('id="section-classes"') :].partition("</section>")[0]
    for key in ("classes", "each-class", "class-confusion", "figure-class_confusion"):
        assert f'id="{key}"' in section
    assert 'id="paired-accuracy"' in page
    text = (tmp_path / "report" / "tables.md").read_text()
    assert re.search(r"\| net5 \| 8 \| 37\.5 \[", text)
    latex = (tmp_path / "report" / "tables.tex").read_text()
    assert r"net1: benign & 3 (75.0 \%) & 1 (25.0 \%) & 0" in latex
