import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "improved_fold0_128"


@pytest.fixture
def script():
    return load_script("robustness_tables")


def test_a_changed_row_changes_the_table(script, tmp_path):
    folder = shutil.copytree(RESULTS / "han_strong_augmentation" / "stress", tmp_path / "stress")
    before = script.stress_table(folder)
    with open(folder / "stress.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if (row["kind"], row["strength"]) == ("blur", "5"):
            row["dice"] = "0.0"
    with open(folder / "stress.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    changed = [line for line in script.stress_table(folder).splitlines() if line not in before.splitlines()]
    assert len(changed) == 1
    assert changed[0].startswith("| blur |")
    assert "| 0.0 | -78.6" in changed[0]


def test_a_variant_that_is_not_the_mean_of_its_cases_is_noticed(script, tmp_path):
    folder = shutil.copytree(RESULTS / "reliability", tmp_path / "reliability")
    script.reliability_table(folder)
    summary = json.loads((folder / "summary.json").read_text())
    summary["variants"][0]["test_dice_at_threshold"] += 0.001
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ValueError, match=r"is not the mean of its rows in cases\.csv"):
        script.reliability_table(folder)
