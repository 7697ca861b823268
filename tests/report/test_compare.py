import re

import pytest
from hybrid_attention.evaluation import merge_folds, read_evaluation
from hybrid_attention.evaluation.results import picture_path
from hybrid_attention.report import compare
from hybrid_attention.report.matched_runs import match_runs, settings_table
from hybrid_attention.report.tables import score_tables

from tests.evaluation.drawn_runs import change_record

FIGURES = "distribution roc calibration critical_difference pixel_confusion class_confusion cases samples".split()


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def text_of(page):
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


def test_three_runs_then_one(make_run, tmp_path):
    runs = [make_run(f"net{error}", error=error, classes=error if error < 5 else None) for error in (1, 3, 5)]
    out = tmp_path / "report"
    page = compare([*runs[:2], f"<b>Third & last</b>={runs[2]}"], out)
    figures = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "png")}
    assert files(out) == {*figures, "report.html", "tables.md", "tables.tex"}

    html = page.read_text(encoding="utf-8")
    assert "<b>" not in html and "&lt;b&gt;Third &amp; last&lt;/b&gt;" in html
    # nothing is fetched: no address but the data in the file itself
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[\w+/=]+", "", html.split("<script")[0]))
    own = {"data:", *(f"#{x}" for x in ("sect", "case", "brow"))}
    assert set(re.findall(r'(?:src|href)="([^"]{1,5})', html)) <= own
    section = html[html.index('id="section-classes"') :].partition("</section>")[0]
    for key in ("classes", "each-class", "class-confusion", "figure-class_confusion"):
        assert f'id="{key}"' in section
    assert 'id="paired-accuracy"' in html

    markdown, latex = (out / "tables.md").read_text(), (out / "tables.tex").read_text()
    assert "* Split: drawn discs; part: test, 64 x 64 pixels; epochs: 3." in markdown
    assert "Friedman chi-square" in markdown and r"net1: benign & 3 (75.0 \%) & 1 (25.0 \%) & 0" in latex
    assert latex.count(r"\toprule") == latex.count(r"\begin{table}") == markdown.count("\n## ")

    (out / "notes.txt").write_text("mine")
    compare([runs[1]], out)
    assert "figures/critical_difference.png" not in files(out) and "notes.txt" in files(out)
    assert "only one run" in text_of(page) and "Evaluation of net3" in text_of(page)


def test_warnings_of_small_and_synthetic_data(make_run, tmp_path):
    runs = [make_run(name, cases=1, error=error, pictures=False) for name, error in (("a", 1), ("b", 2))]
    page = compare([change_record(run, part="train", synthetic_data=True) for run in runs], tmp_path)
    assert page.read_text().count('<div class="banner" role="alert">') == 2
    for path in (page, tmp_path / "tables.md", tmp_path / "tables.tex"):
        assert "SYNTHETIC DATA" in path.read_text() and "TRAIN IMAGES" in path.read_text()
    text = text_of(page)
    assert "1 case in 1 duplicate group: 1 with lesion, 0 without." in text
    assert "All cases are of one group" in text and "Classes of images" not in text
    assert "No run has pictures" in text and "two groups of images with a lesion, got 1" in text
    # no lesion and constant predictions: every pixel has one probability
    text = text_of(compare([make_run(name, normal_every=1) for name in ("c", "d", "e")], tmp_path))
    assert "lesion_only is undefined" in text and "c: AUC undefined" in text and "got 0" in text


def test_shared_cases_of_runs_that_differ(make_run, tmp_path):
    runs = [make_run("long", cases=10), make_run("short", cases=8, pictures=False)]
    settings = {"split": "other discs", "part": "validation", "settings": {"image_size": 32}}
    change_record(runs[1], **settings, training={"epochs": 9, "epoch": 2})
    with pytest.raises(ValueError, match="--intersection compares the 8 cases"):
        compare(runs, tmp_path / "report")
    assert not (tmp_path / "report").exists()
    page = compare(runs, tmp_path / "report", intersection=True)
    text = (tmp_path / "report" / "tables.md").read_text()
    assert "Only the 8 cases that all runs share are compared; left out: 2 of long." in text
    assert "long: curves left out" in text and "No pictures in short." in text_of(page)
    assert "* Split: differs, see below; part: differs, see below; epochs differ, see below." in text
    assert "* The runs differ in split (long: drawn discs; short: other discs)." in text
    assert "* The runs differ in epochs (long: 3; short: 9)." in text
    assert '<tr class="differs"><th scope="row">part of the split</th>' in page.read_text(encoding="utf-8")


def test_an_error_leaves_the_old_report(make_run, tmp_path):
    run, out = make_run("a", cases=4), tmp_path / "report"
    compare([run], out)
    before = {name: (out / name).read_bytes() for name in files(out)}
    picture_path(run, "masks", "normal/normal (3).png").write_bytes(b"")  # the last case
    for folder in (out, tmp_path / "new"):
        with pytest.raises(ValueError, match=r"masks/normal/normal \(3\)\.png can't be read"):
            compare([run], folder)
    assert {name: (out / name).read_bytes() for name in files(out)} == before
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    run = make_run("b", cases=4, pictures=False)
    with pytest.raises(OSError, match=r"file.* --out"):
        compare([run], tmp_path / "file")
    (run / "roc.csv").unlink()
    with pytest.raises(ValueError, match=r"roc\.csv is missing"):
        compare([run], out)


def test_merged_runs_are_compared_like_any_other(written, tmp_path):
    def net(error):
        folds = [written(cases=6, size=32, pictures=False, error=error, fold=fold) for fold in (0, 1)]
        return merge_folds(folds, tmp_path / f"net{error}")

    merged = [net(error) for error in (1, 3)]
    text = text_of(compare(merged, tmp_path / "report"))
    for name in ("net1", "net3"):
        assert f"{name}: 2 of 3 folds of a cross-validation (incomplete: 0, 1)" in text
    assert "Split: drawn discs, 2 of 3 test folds (incomplete: 0, 1); part: test, 32 x 32 pixels; epochs: 3." in text
    assert "12 cases in 6 duplicate groups: 10 with lesion, 2 without." in text
    assert "net1 - net3" in text and "net1: no ROC curve" in (tmp_path / "report" / "tables.md").read_text()

    run = read_evaluation(merged[1])
    table = next(table for table in score_tables(match_runs([run])) if table.key == "folds")
    assert table.header[:3] == ("run", "folds", "Dice, lesion_only")
    own = [run.recorded("folds", "runs")[fold]["scores"]["dice_lesion_only"] for fold in (0, 1)]
    mean, half = 50 * sum(own), 50 * abs(own[0] - own[1])
    assert table.rows[0][:3] == ("net3", "2 of 3", f"{mean:.1f} ± {half * 2**0.5:.1f}")
    run.record["folds"]["runs"][1]["training"] = {"epoch": 9}
    del run.record["training"]["epoch"]
    rows = dict(settings_table(match_runs([run])).rows)
    assert (rows["epochs"], rows["best epoch"]) == ("3", "not recorded; 9")
    assert rows["commit of the training"] == "not recorded"
