import re

import pytest
from hybrid_attention.evaluation import merge_folds, read_evaluation
from hybrid_attention.report import compare
from hybrid_attention.report.comparison_tables import score_tables
from hybrid_attention.report.matching import match_runs
from hybrid_attention.report.settings import settings_table

from tests.drawn_runs import write_run


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """Folds 0 and 1 of 3 merged, masks shifted by one pixel and by three."""
    folder = tmp_path_factory.mktemp("folds")

    def of(error):
        folds = [
            write_run(folder / f"{error}{fold}", 6, error, size=32, pictures=False, fold=fold, epochs=3)
            for fold in (0, 1)
        ]
        return merge_folds(folds, folder / f"net{error}")

    return [of(error) for error in (1, 3)]


def test_merged_runs_are_compared_like_any_other(merged, tmp_path):
    page = compare(merged, tmp_path)
    text = re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))
    for name in ("net1", "net3"):
        assert f"{name}: 2 of 3 folds of a cross-validation (incomplete: 0, 1)" in text
    assert "Split: drawn discs, 2 of 3 test folds (incomplete: 0, 1); part: test, 32 x 32 pixels." in text
    assert "12 cases in 6 duplicate groups: 10 with lesion, 2 without." in text
    assert "net1 - net3" in text
    tables = (tmp_path / "tables.md").read_text()
    assert "Mean and spread over folds" in tables
    assert "net1: no ROC curve" in tables


def test_mean_and_spread_are_of_the_cases(merged):
    run = read_evaluation(merged[1])
    table = next(table for table in score_tables(match_runs([run])) if table.key == "folds")
    assert table.header[:3] == ("run", "folds", "Dice, lesion_only")
    own = [run.recorded("folds", "runs")[fold]["scores"]["dice_lesion_only"] for fold in (0, 1)]
    mean, half = 50 * sum(own), 50 * abs(own[0] - own[1])
    assert table.rows[0][:3] == ("net3", "2 of 3", f"{mean:.1f} ± {half * 2**0.5:.1f}")


def test_settings_fold_by_fold(merged):
    run = read_evaluation(merged[0])
    run.record["folds"]["runs"][1]["training"] = {"epoch": 9}
    del run.record["training"]["epoch"]
    rows = dict(settings_table(match_runs([run])).rows)
    assert rows["epochs"] == "3"
    assert rows["best epoch"] == "not recorded; 9"
    assert rows["commit of the training"] == "not recorded"
