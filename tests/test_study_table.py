import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def script():
    return load_script("study_table")


def test_noise_is_what_chance_does_to_a_difference_to_the_mean(script):
    # deviation 0.02; one more run varies as much as one of them, their mean by a third of its square; t of 2 degrees
    assert script.noise([0.6, 0.62, 0.64]) == pytest.approx(4.302653 * 0.02 * (4 / 3) ** 0.5)
    assert script.noise([0.6, 0.62, 0.64], 3) == pytest.approx(4.302653 * 0.02 * (2 / 3) ** 0.5)
    assert script.noise([0.6]) is None


@pytest.mark.parametrize(
    ("difference", "noise", "verdict"),
    [(0.03, 0.02, "better"), (-0.03, 0.02, "worse"), (0.01, 0.02, "no"), (-0.02, 0.02, "no"), (0.5, None, "not known")],
)
def test_verdict(script, difference, noise, verdict):
    assert script.verdict(difference, noise) == verdict


def test_a_study_on_the_test_fold_is_refused(script, tmp_path):
    folder = tmp_path / "recipe_study_128" / "base"
    shutil.copytree(ROOT / "docs" / "results" / "busi_fold0_128" / "han", folder)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "part": "test"}))
    with pytest.raises(ValueError, match="is of the test part; a study looks at the validation fold"):
        script.study_table(folder.parent)
    (folder / "summary.json").write_text(json.dumps({**summary, "part": "validation"}))
    text = script.study_table(folder.parent)
    with open(folder / "per_case.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 125
    assert "One seed each" in text
    assert "FlexibleUNet-B0" in text


def test_nothing_to_compare_with(script, tmp_path):
    folder = tmp_path / "recipe_study_128"
    folder.mkdir()
    with pytest.raises(ValueError, match="has no run 'base'"):
        script.study_table(folder)


def test_one_run_beside_its_seeds_is_refused(script, tmp_path):
    folder = tmp_path / "recipe_study_128" / "base"
    shutil.copytree(ROOT / "docs" / "results" / "recipe_study_128" / "base", folder)
    shutil.copy(folder / "seed_0" / "per_case.csv", folder)
    with pytest.raises(ValueError, match="files of its own beside those of its seeds"):
        script.study_table(folder.parent)
