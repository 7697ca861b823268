import json

import pandas as pd
import pytest

from tests.scripts import ROOT, load_script


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")  # its neighbours
    return load_script("data_sets_table")


def write(folder, dice, marked=(40, 0), normal=(0.2, 0.9)):
    """Two lesion images of BUSI, one of BUS-BRA with Dice 0.5, two normal ones."""
    rows = [
        {"dataset": "busi", "class": "benign", "dice": dice, "tp": 10, "fp": 1, "fn": 1},
        {"dataset": "busi", "class": "malignant", "dice": dice, "tp": 10, "fp": 1, "fn": 1},
        {"dataset": "bus_bra", "class": "benign", "dice": 0.5, "tp": 10, "fp": 1, "fn": 1},
        *({"dataset": "busi", "class": "normal", "dice": 0.0, "tp": 0, "fp": n, "fn": 0} for n in marked),
    ]
    for number, row in enumerate(rows):
        row["group"] = number
        sure = normal[number - 3] if row["class"] == "normal" else 0.0
        row |= {"probability_normal": sure, "probability_benign": 0.0, "probability_malignant": 0.0}
        row[f"probability_{'benign' if row['class'] == 'normal' else row['class']}"] = 1 - sure
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "per_case.csv", index=False)
    summary = {"split": "folds", "part": "validation", "settings": {"image_size": 128}}
    (folder / "summary.json").write_text(json.dumps(summary))


def test_one_run_has_a_dice_per_set(table, tmp_path):
    write(tmp_path / "hybrid_lite" / "hybrid_lite", 0.8)
    row = table.data_sets_table(tmp_path / "hybrid_lite").splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")][1:5] == [
        "80.0 [80.0, 80.0]",
        "50.0 [50.0, 50.0]",
        "50.0",
        "50.0",  # the image with a false positive does not look normal
    ]


def test_a_study_is_judged_by_the_spread_of_seeds(table, tmp_path):
    study = tmp_path / "hybrid_lite_study_128"
    for seed, dice in enumerate((0.80, 0.81, 0.82)):
        write(study / "base" / f"seed_{seed}", dice)
    write(study / "lite1", 0.83)
    write(study / "random_start", 0.50)
    lines = [line for line in table.data_sets_table(study).splitlines() if line.startswith("|")]
    rows = {line.split("|")[1].strip(): line for line in lines}
    assert "+1.0 | no" in rows["EfficientNet-Lite1"]  # (0.83 - 0.81) / 2 over both sets
    assert "-15.5 | worse" in rows["random start instead of ImageNet weights"]


def test_no_base(table, tmp_path):
    write(tmp_path / "hybrid_lite_study_128" / "tam", 0.8)
    with pytest.raises(ValueError, match="base"):
        table.data_sets_table(tmp_path / "hybrid_lite_study_128")
