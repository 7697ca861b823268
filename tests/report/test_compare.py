import json
import math
import re

import pytest
from hybrid_attention.evaluation.results import picture_path
from hybrid_attention.report import compare

FIGURES = ("distribution", "roc", "calibration", "critical_difference", "pixel_confusion", "class_confusion")


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def text_of(page):
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


def test_three_runs_then_one(make_run, tmp_path):
    runs = [make_run(f"net{error}", error=error, classes=error == 1) for error in (1, 3, 5)]
    out = tmp_path / "report"
    page = compare([*runs[:2], f"<b>Third & last</b>={runs[2]}"], out)
    assert page == out / "report.html"
    figures = [f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "png")]
    assert files(out) == sorted([*figures, "report.html", "tables.md", "tables.tex"])

    html = page.read_text(encoding="utf-8")
    assert "<b>" not in html and "&lt;b&gt;Third &amp; last&lt;/b&gt;" in html
    # nothing is fetched: no address but the data in the file itself
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[\w+/=]+", "", html.split("<script")[0]))
    assert set(re.findall(r'(?:src|href)="([^"]{1,5})', html)) <= {
        "data:",
        *(f"#{x}" for x in ("sect", "case", "brow")),
    }

    markdown, latex = (out / "tables.md").read_text(), (out / "tables.tex").read_text()
    assert "## Dice under each convention" in markdown
    for convention in ("lesion_only", "empty_is_one", "empty_is_zero", "pooled"):
        assert f"## All scores, {convention}" in markdown
        assert convention.replace("_", r"\_") in latex
    assert "Friedman chi-square" in markdown and r"$-$" not in markdown
    assert latex.count(r"\toprule") == latex.count(r"\begin{table}") == markdown.count("\n## ")

    (out / "notes.txt").write_text("mine")
    compare([runs[1]], out)
    assert "figures/critical_difference.png" not in files(out)  # no leftovers of the other report
    assert "notes.txt" in files(out)
    assert "No tests: there is only one run." in text_of(page)
    assert "Evaluation of net3" in text_of(page)


def test_synthetic_data_and_parts_are_loud(make_run, tmp_path):
    run = make_run("phantoms", synthetic=True, pictures=False)
    record = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**record, "part": "train"}))
    page = compare([run], tmp_path / "report")
    assert page.read_text().count('<div class="banner" role="alert">') == 2
    for path in (page, tmp_path / "report" / "tables.md", tmp_path / "report" / "tables.tex"):
        assert "SYNTHETIC DATA" in path.read_text()
        assert "TRAIN IMAGES" in path.read_text()
    assert "No run has pictures" in text_of(page)


def test_one_case(make_run, tmp_path):
    text = text_of(
        compare([make_run(name, cases=1, error=error) for name, error in (("a", 1), ("b", 2))], tmp_path / "o")
    )
    assert "1 case in 1 duplicate group: 1 with lesion, 0 without." in text
    assert "All cases are of one group: the intervals have no width" in text
    assert "Classes of images" not in text
    assert "two groups of images with a lesion, got 1" in text


def test_no_lesion_at_all(make_run, tmp_path):
    # constant predictions too: every pixel has one probability, none is lesion
    text = text_of(compare([make_run(name, normal_every=1) for name in ("a", "b", "c")], tmp_path / "report"))
    assert "lesion_only is undefined" in text
    assert "AUC undefined" in text
    assert "got 0" in text


def test_shared_cases_only(make_run, tmp_path):
    runs = [make_run("long", cases=10), make_run("short", cases=8, pictures=False)]
    with pytest.raises(ValueError, match="--intersection compares the 8 cases"):
        compare(runs, tmp_path / "report")
    assert not (tmp_path / "report").exists()
    text = text_of(compare(runs, tmp_path / "report", intersection=True))
    assert "Only the 8 cases that all runs share are compared; left out: 2 of long." in text
    assert "long: curves left out" in text
    assert "No pictures in short." in text


def test_an_error_leaves_the_old_report(make_run, tmp_path):
    run, out = make_run("a", cases=4), tmp_path / "report"
    page = compare([run], out)
    before = {name: (out / name).read_bytes() for name in files(out)}
    path = picture_path(run, "masks", "normal/normal (3).png")  # the last case
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="can't be read"):
        compare([run], out)
    assert {name: (out / name).read_bytes() for name in files(out)} == before
    assert page.exists()
    with pytest.raises(ValueError, match="can't be read"):
        compare([run], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_empty_folder_of_the_user_stays_after_an_error(make_run, tmp_path):
    run, out = make_run("a", cases=1), tmp_path / "mine"
    next((run / "masks").rglob("*.png")).write_bytes(b"")
    out.mkdir()
    with pytest.raises(ValueError, match="can't be read"):
        compare([run], out)
    assert list(out.iterdir()) == []


def test_a_lost_curve_and_none_at_all(make_run, record_edit, tmp_path):
    run = make_run("a", cases=4, pictures=False)
    (run / "roc.csv").unlink()
    with pytest.raises(ValueError, match=r"roc\.csv is missing"):
        compare([run], tmp_path / "report")
    # all predictions alike: no area, no curve
    page = compare([record_edit(run, pixel_roc={"auc": math.nan, "error_bound": math.nan})], tmp_path / "report")
    assert "a: AUC undefined" in text_of(page)
    assert "figures/roc.png" not in files(tmp_path / "report")


def test_facts_are_of_all_runs(make_run, record_edit, tmp_path):
    runs = [make_run(name, cases=4, pictures=False) for name in "ab"]
    compare(runs, tmp_path / "report")
    assert "* Split: drawn discs; part: test, 64 x 64 pixels." in (tmp_path / "report" / "tables.md").read_text()
    record_edit(runs[1], split="other discs", part="validation", settings={"image_size": 32})
    compare(runs, tmp_path / "report", intersection=True)
    text = (tmp_path / "report" / "tables.md").read_text()
    assert "* Split: differs, see below; part: differs, see below." in text
    assert "* The runs differ in split (a: drawn discs; b: other discs)." in text


def test_output_that_cannot_be_written(make_run, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "report"):
        with pytest.raises(OSError, match=r"can't write the report into .*file.* --out"):
            compare([make_run(f"a{len(str(out))}", cases=1)], out)


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


def test_texts_are_escaped_intervals_unbroken_and_differences_marked(make_run, record_edit, tmp_path):
    run = make_run("a", pictures=False)
    other = record_edit(make_run("b", pictures=False), part="validation")
    html = compare([f"U&<i>={run}", f"b={other}"], tmp_path).read_text(encoding="utf-8")
    assert "U&amp;&lt;i&gt; - b" in html and "U&<i>" not in html.split("<script")[0]
    assert '+0.0 <span class="nowrap">[+0.0, +0.0]</span>' in html
    assert '<tr class="differs"><th scope="row">part of the split</th>' in html
