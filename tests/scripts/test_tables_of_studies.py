import csv
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.scripts.load import load_script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script():
    return load_script("tables_of_studies")


def test_noise_is_what_chance_does_to_a_difference_to_the_mean(script):
    # deviation 0.02; one more run varies as much as one of them, their mean by a third of its square; t of 2 degrees
    assert script.noise([0.6, 0.62, 0.64]) == pytest.approx(4.302653 * 0.02 * (4 / 3) ** 0.5)
    assert script.noise([0.6, 0.62, 0.64], 3) == pytest.approx(4.302653 * 0.02 * (2 / 3) ** 0.5)
    assert script.noise([0.6]) is None


@pytest.mark.parametrize(
    ("difference", "noise", "verdict"),
    [(0.03, 0.02, "better"), (-0.03, 0.02, "worse"), (0.01, 0.02, "no"), (-0.02, 0.02, "no"), (0.5, None, "unknown")],
)
def test_verdict(script, difference, noise, verdict):
    assert script.verdict(difference, noise) == verdict


def test_a_study_on_the_test_fold_is_refused(script, tmp_path):
    folder = tmp_path / "recipe_study_128" / "base"
    shutil.copytree(ROOT / "docs" / "results" / "busi_fold0_128" / "han", folder)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "part": "test"}))
    with pytest.raises(ValueError, match="is of the test part"):
        script.study_table(folder.parent)
    (folder / "summary.json").write_text(json.dumps({**summary, "part": "validation"}))
    text = script.study_table(folder.parent)
    with open(folder / "per_case.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 125
    assert "One seed per run" in text
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
    with pytest.raises(ValueError, match="next to its seed folders"):
        script.study_table(folder.parent)


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
    summary = {"synthetic_data": False, "split": "folds", "part": "validation", "settings": {"image_size": 128}}
    (folder / "summary.json").write_text(json.dumps(summary))


def test_one_run_has_a_dice_per_set(script, tmp_path):
    write(tmp_path / "hybrid_lite" / "hybrid_lite", 0.8)
    row = script.data_sets_table(tmp_path / "hybrid_lite").splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")][1:5] == [
        "80.0 [80.0, 80.0]",
        "50.0 [50.0, 50.0]",
        "50.0",
        "50.0",  # the image with a false positive does not look normal
    ]


def test_a_study_is_judged_by_the_spread_of_seeds(script, tmp_path):
    study = tmp_path / "hybrid_lite_study_128"
    for seed, dice in enumerate((0.80, 0.81, 0.82)):
        write(study / "base" / f"seed_{seed}", dice)
    write(study / "lite1", 0.83)
    write(study / "random_start", 0.50)
    lines = [line for line in script.data_sets_table(study).splitlines() if line.startswith("|")]
    rows = {line.split("|")[1].strip(): line for line in lines}
    assert "+1.0 | no" in rows["EfficientNet-Lite1"]  # (0.83 - 0.81) / 2 over both sets
    assert "-15.5 | worse" in rows["random initialization instead of ImageNet weights"]


def test_no_base(script, tmp_path):
    write(tmp_path / "hybrid_lite_study_128" / "tam", 0.8)
    with pytest.raises(ValueError, match="base"):
        script.data_sets_table(tmp_path / "hybrid_lite_study_128")


def test_which_test_images_have_a_near_duplicate_in_training(script):
    """Group a lies in folds 0 and 2, b in 0 and 1 (for fold 0 the validation fold), c in one fold."""
    cases = pd.DataFrame({"group": list("aabbcc"), "fold": [0, 2, 0, 1, 3, 3]}, index=list("uvwxyz"))
    with_two_more = pd.concat([cases, pd.DataFrame({"group": ["d"], "fold": [4]}, index=["q"])])
    found = script.has_training_duplicate(with_two_more)
    assert found.to_dict() == {"u": True, "v": True, "w": False, "x": True, "y": False, "z": False, "q": False}


def test_leaks_are_compared_on_the_same_images(script, tmp_path, monkeypatch):
    """Four images: two of one group, in test and training of the random split, gain 0.2; the others lose 0.1."""
    module = script
    monkeypatch.setattr(module, "LEAKS", [("free", "random", "plain")])
    names, groups = ["a", "b", "c", "d", "e"], ["1", "1", "2", "3", "4"]
    tables = {
        "free": pd.DataFrame({"case_id": names, "group": groups, "fold": [0, 0, 1, 2, 3], "dice": [0.5] * 5}),
        "random": pd.DataFrame(
            {"case_id": names[::-1], "group": groups[::-1], "fold": [4, 1, 2, 3, 0], "dice": [0.4, 0.4, 0.4, 0.7, 0.7]}
        ),
    }
    for name, table in tables.items():
        (tmp_path / name).mkdir()
        table.to_csv(tmp_path / name / "per_case.csv", index=False)
        record = {"settings": {"image_size": 64}, "provenance": {"overrides": {"epochs": 3}}}
        (tmp_path / name / "summary.json").write_text(json.dumps(record))
    row = module.leaks_table(tmp_path).splitlines()[-1]
    assert "| plain | 50.0 | 52.0 | +2.0 " in row and "| +20.0 [+20.0, +20.0] (2) | -10.0 [-10.0, -10.0] (3) |" in row
    tables["random"].iloc[1:].to_csv(tmp_path / "random" / "per_case.csv", index=False)
    with pytest.raises(ValueError, match="other images"):
        module.leaks_table(tmp_path)
