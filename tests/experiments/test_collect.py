import shutil

import hybrid_attention.report
import pytest
from hybrid_attention.cli import main
from hybrid_attention.experiments import collect, finished_groups, report

from tests.drawn_runs import read_rows, write_run


@pytest.fixture
def collected(runs_of, tmp_path):
    def run(**keys):
        folders = collect(finished_groups(runs_of(**keys))[0], tmp_path / "results")
        return [path.relative_to(tmp_path / "results").as_posix() for path in folders]

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


TABLES = ["history.csv", "manifest.json", "per_case.csv", "roc.csv", "summary.json"]


def test_one_fold_lies_in_the_runs_folder(run_list, collected, tmp_path):
    keys = {"runs": [{"name": "a"}, {"name": "b"}], "parts": ["test", "validation"]}
    assert collected(**keys) == []
    assert run_list(only=["a"], **keys) == 0
    assert collected(**keys) == ["trial/a"]
    assert names(tmp_path / "results/trial/a") == [*TABLES, "summary_validation.json"]
    assert '"part": "validation"' in (tmp_path / "results/trial/a/summary_validation.json").read_text()
    assert names(tmp_path / "results/trial") == ["a"]


def test_without_a_test_part_the_first_is_the_runs(run_list, collected, tmp_path, merged):
    keys = {"runs": [{"name": "a"}, {"name": "b", "folds": [0]}], "folds": [0, 1], "parts": ["validation", "train"]}
    assert run_list(**keys) == 0
    collected(**keys)
    assert names(tmp_path / "results/trial/b") == sorted({*TABLES, "summary_train.json"} - {"roc.csv"})
    assert '"part": "validation"' in (tmp_path / "results/trial/b/summary.json").read_text()
    assert [[folder.name for folder in folders] for folders, _ in merged] == [["evaluation_validation"] * 2]


def test_folds_and_seeds_have_folders(run_list, collected, tmp_path, merged):
    runs = [{"name": "a"}, {"name": "b", "seeds": [0, 1], "folds": [0]}]
    assert run_list(folds=[0, 1], runs=runs) == 0
    expected = ["trial/a/fold_0", "trial/a/fold_1", "trial/a", "trial/b/seed_0", "trial/b/seed_1"]
    assert collected(folds=[0, 1], runs=runs) == expected
    assert names(tmp_path / "results/trial/a") == ["fold_0", "fold_1", "per_case.csv", "summary.json"]
    assert "all" in (tmp_path / "results/trial/a/per_case.csv").read_text()
    assert names(tmp_path / "results/trial/b/seed_1") == TABLES


def test_folds_so_far(run_list, collected, tmp_path, merged):
    """The table of a run is that of the folds that are done: the only one's, or the union, made again for a third."""
    assert run_list(folds=[0]) == 0
    assert collected(folds=[0, 1, 2]) == ["trial/han"]
    assert names(tmp_path / "results/trial/han") == TABLES and not merged
    assert run_list(folds=[0, 2]) == 0
    assert collected(folds=[0, 1, 2]) == ["trial/han/fold_0", "trial/han/fold_2", "trial/han"]
    assert names(tmp_path / "results/trial/han") == ["fold_0", "fold_2", "per_case.csv", "summary.json"]
    assert run_list(folds=[0, 1, 2]) == 0
    collected(folds=[0, 1, 2])
    assert [[folder.parent.name for folder in folders] for folders, _ in merged] == [
        ["fold_0", "fold_2"],
        ["fold_0", "fold_1", "fold_2"],
    ]


def test_a_fold_that_went_away(run_list, collected, tmp_path, merged):
    assert run_list(folds=[0, 1, 2]) == 0
    collected(folds=[0, 1, 2])
    folder = tmp_path / "runs/trial/han/seed_0"
    shutil.rmtree(folder / "fold_1")
    assert collected(folds=[0, 1, 2]) == ["trial/han/fold_0", "trial/han/fold_2", "trial/han"]
    assert [path.parent.name for path in merged[-1][0]] == ["fold_0", "fold_2"]
    shutil.rmtree(folder / "fold_2")
    assert collected(folds=[0, 1, 2]) == ["trial/han"]
    assert not (folder / "all_folds").exists()


def test_folds_that_cannot_be_merged_hold_up_no_others(run_folds, write_list, tmp_path, capsys):
    keys = {"runs": [{"name": "a"}, {"name": "b"}], "folds": [0, 1]}
    path = write_list(**keys)
    words = ["experiments", str(path), "--out", str(tmp_path / "runs")]
    words += ["--collect", str(tmp_path / "results"), "--report", str(tmp_path / "pages")]
    assert run_folds({"a/seed_0/fold_1": 9}, **keys) == 0
    assert main(words) == 1
    a = tmp_path / "runs/trial/a/seed_0"
    reason = f"{a}/fold_1/evaluation was trained with another recipe than {a}/fold_0/evaluation: epochs differ"
    assert f"\n  a: {reason}\n" in capsys.readouterr().err
    assert names(tmp_path / "results/trial") == ["b"]
    assert len(read_rows(tmp_path / "results/trial/b/per_case.csv")) == 12
    assert not (a / "all_folds").exists()
    assert "<h1>" in (tmp_path / "pages/trial/report.html").read_text()
    shutil.rmtree(a / "fold_1")
    assert run_folds({}, **keys) == 0
    assert main(words) == 0
    assert len(read_rows(tmp_path / "results/trial/a/per_case.csv")) == 12


def test_runs_of_other_classes_are_compared_on_what_they_share(run_folds, runs_of, tmp_path):
    keys = {"runs": [{"name": "all_classes"}, {"name": "lesions_only"}]}
    assert run_folds({}, **keys) == 0
    write_run(tmp_path / "runs/trial/lesions_only/seed_0/fold_0/evaluation", 5, size=32, pictures=False, fold=0)
    page = report(finished_groups(runs_of(**keys))[0], tmp_path / "pages")
    assert page == tmp_path / "pages/trial/report.html"
    assert "Only the 5 cases that all runs share are compared; left out: 1 of all_classes" in page.read_text()


def test_files_of_an_earlier_collection_go(run_list, collected, tmp_path):
    assert run_list(parts=["test", "train"]) == 0
    collected(parts=["test", "train"])
    collected()
    assert names(tmp_path / "results/trial/han") == TABLES


def test_a_lost_file_is_told(run_list, collected, tmp_path):
    assert run_list() == 0
    (tmp_path / "runs/trial/han/seed_0/fold_0/evaluation/per_case.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"per_case\.csv of a finished run is gone; remove manifest\.json"):
        collected()


def test_report(run_list, runs_of, tmp_path, monkeypatch, merged):
    calls = []
    monkeypatch.setattr(hybrid_attention.report, "compare", lambda *given, **options: calls.append((given, options)))

    def made(**keys):
        return report(finished_groups(runs_of(**keys))[0], tmp_path / "pages")

    runs = [{"name": "a"}, {"name": "b", "seeds": [4, 5]}, {"name": "trained_only", "parts": ["validation"]}]
    assert made(runs=runs) is None
    assert not calls
    assert run_list(runs=runs) == 0
    made(runs=runs)
    folder = tmp_path / "runs/trial"
    evaluations = [f"{folder}/{place}/fold_0/evaluation" for place in ("a/seed_0", "b/seed_4", "b/seed_5")]
    given = [f"{name}={path}" for name, path in zip(("a", "b seed_4", "b seed_5"), evaluations, strict=True)]
    assert calls == [((given, tmp_path / "pages/trial"), {"intersection": True})]
    runs[0]["folds"] = [0, 1]
    made(runs=runs)
    assert calls[1] == calls[0]  # fold 1 of a is not there yet
    assert run_list(runs=runs) == 0
    made(runs=runs)
    united = [f"a={folder}/a/seed_0/all_folds", *given[1:]]
    assert calls[2] == ((united, tmp_path / "pages/trial"), {"intersection": True})
