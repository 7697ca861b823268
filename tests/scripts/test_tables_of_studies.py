import json
import shutil

import pandas as pd
import pytest

from tests.scripts.load import RESULTS, cells_of, load_script, rows_of


@pytest.fixture
def script():
    return load_script("tables_of_studies")


def test_noise_is_what_chance_does_to_a_difference_to_the_mean(script):
    # deviation 0.02; one more run varies as much as one of them, their mean by a third of its square; t of 2 degrees
    assert script.noise([0.6, 0.62, 0.64]) == pytest.approx(4.302653 * 0.02 * (4 / 3) ** 0.5)
    assert script.noise([0.6, 0.62, 0.64], 3) == pytest.approx(4.302653 * 0.02 * (2 / 3) ** 0.5)
    assert script.noise([0.6]) is None
    for difference, verdict in ((0.03, "better"), (-0.03, "worse"), (0.01, "no"), (-0.02, "no")):
        assert script.verdict(difference, 0.02) == verdict
    assert script.verdict(0.5, None) == "unknown"


def test_studies_use_the_validation_fold(script, tmp_path):
    folder = tmp_path / "recipe_study_128" / "base"
    with pytest.raises(ValueError, match="has no run 'base'"):
        script.study_table(folder.parent)
    shutil.copytree(RESULTS / "busi_fold0_128" / "han", folder)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "part": "test"}))
    with pytest.raises(ValueError, match="is of the test part"):
        script.study_table(folder.parent)
    (folder / "summary.json").write_text(json.dumps({**summary, "part": "validation"}))
    text = script.study_table(folder.parent)
    assert "Dice of 125 lesion images" in text and "One seed per run" in text
    assert cells_of(text)[1][0] == "FlexibleUNet-B0, `from_scratch.yaml`"
    (folder / "seed_0").mkdir()  # beside the files of the run
    with pytest.raises(ValueError, match="next to its seed folders"):
        script.study_table(folder.parent)


def write(folder, dice):
    """Two lesion images of BUSI, one of BUS-BRA with Dice 0.5, and two normal ones, one with a false positive."""
    rows = [
        ("busi", "benign", dice, 10, 1, 1, 0.0),
        ("busi", "malignant", dice, 10, 1, 1, 0.0),
        ("bus_bra", "benign", 0.5, 10, 1, 1, 0.0),
        ("busi", "normal", 0.0, 0, 40, 0, 0.2),
        ("busi", "normal", 0.0, 0, 0, 0, 0.9),
    ]
    cases = pd.DataFrame(rows, columns=["dataset", "class", "dice", "tp", "fp", "fn", "probability_normal"])
    cases["group"] = cases.index
    cases["probability_malignant"] = (cases["class"] == "malignant") * 1.0
    cases["probability_benign"] = 1 - cases["probability_malignant"] - cases["probability_normal"]
    folder.mkdir(parents=True)
    cases.to_csv(folder / "per_case.csv", index=False)
    summary = {"synthetic_data": False, "split": "folds", "part": "validation", "settings": {"image_size": 128}}
    (folder / "summary.json").write_text(json.dumps(summary))


def test_a_dice_per_set_judged_by_the_spread_of_seeds(script, tmp_path):
    write(tmp_path / "hybrid_lite" / "hybrid_lite", 0.8)
    # the image with a false positive does not look normal
    expected = ["80.0 [80.0, 80.0]", "50.0 [50.0, 50.0]", "50.0", "50.0"]
    assert cells_of(script.data_sets_table(tmp_path / "hybrid_lite"))[1][1:5] == expected
    study = tmp_path / "hybrid_lite_study_128"
    write(study / "lite1", 0.83)
    write(study / "random_start", 0.50)
    with pytest.raises(ValueError, match="has no run 'base'"):
        script.data_sets_table(study)
    for seed, dice in enumerate((0.80, 0.81, 0.82)):
        write(study / "base" / f"seed_{seed}", dice)
    rows = rows_of(script.data_sets_table(study))
    judged = ("mean difference to first row", "beyond noise")
    lite, random = rows["EfficientNet-Lite1"], rows["random initialization instead of ImageNet weights"]
    assert [lite[title] for title in judged] == ["+1.0", "no"]  # (0.83 - 0.81) / 2 over both sets
    assert [random[title] for title in judged] == ["-15.5", "worse"]


def test_which_test_images_have_a_near_duplicate_in_training(script):
    """Group a lies in folds 0 and 2, b in 0 and 1 (for fold 0 the validation fold), c in one fold."""
    cases = pd.DataFrame({"group": list("aabbccd"), "fold": [0, 2, 0, 1, 3, 3, 4]})
    assert script.has_training_duplicate(cases).tolist() == [True, True, False, True, False, False, False]


def test_leaks_are_compared_on_the_same_images(script, tmp_path, monkeypatch):
    """Five images: two of one group, in test and training of the random split, gain 0.2; the others lose 0.1."""
    monkeypatch.setitem(script.ROWS, "leaks", [("free", "random", "plain")])
    free = pd.DataFrame({"case_id": list("abcde"), "group": list("11234"), "fold": [0, 0, 1, 2, 3], "dice": 0.5})
    random = free.assign(fold=[0, 3, 2, 1, 4], dice=[0.7, 0.7, 0.4, 0.4, 0.4])[::-1]
    record = {"settings": {"image_size": 64}, "provenance": {"overrides": {"epochs": 3}}}
    for name, table in {"free": free, "random": random}.items():
        (tmp_path / name).mkdir()
        table.to_csv(tmp_path / name / "per_case.csv", index=False)
        (tmp_path / name / "summary.json").write_text(json.dumps(record))
    row = rows_of(script.leaks_table(tmp_path))["plain"]
    assert (row["Dice, leak-free"], row["Dice, random"]) == ("50.0", "52.0")
    assert row["difference, all images"].startswith("+2.0 ")
    assert row["images with a near-duplicate in training"] == "+20.0 [+20.0, +20.0] (2)"
    assert row["other images"] == "-10.0 [-10.0, -10.0] (3)"
    random[1:].to_csv(tmp_path / "random" / "per_case.csv", index=False)
    with pytest.raises(ValueError, match="other images"):
        script.leaks_table(tmp_path)


def test_images_that_look_normal_get_an_empty_mask(script):
    cases = pd.DataFrame(
        {"group": "a", "probability_normal": [0.49, 0.5, 0.9], "tp": [5, 5, 0], "fp": [1, 1, 4], "fn": [2, 2, 0]}
    ).assign(tn=[8, 8, 12])
    emptied = script.emptied(cases, 0.5)
    assert emptied[["tp", "fp", "fn", "tn"]].to_numpy().tolist() == [[5, 1, 2, 8], [0, 0, 7, 9], [0, 0, 0, 16]]
