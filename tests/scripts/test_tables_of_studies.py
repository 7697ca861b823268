import json
import shutil

import pandas as pd
import pytest

from tests.scripts.load import RESULTS, load_script


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
    assert "| FlexibleUNet-B0, `from_scratch.yaml` |" in text
    (folder / "seed_0").mkdir()  # beside the files of the run
    with pytest.raises(ValueError, match="next to its seed folders"):
        script.study_table(folder.parent)


def test_which_test_images_have_a_near_duplicate_in_training(script):
    """Group a lies in folds 0 and 2, b in 0 and 1 (for fold 0 the validation fold), c in one fold."""
    cases = pd.DataFrame({"group": list("aabbccd"), "fold": [0, 2, 0, 1, 3, 3, 4]})
    assert script.has_training_duplicate(cases).tolist() == [True, True, False, True, False, False, False]


def test_images_that_look_normal_get_an_empty_mask(script):
    cases = pd.DataFrame(
        {"group": "a", "probability_normal": [0.49, 0.5, 0.9], "tp": [5, 5, 0], "fp": [1, 1, 4], "fn": [2, 2, 0]}
    ).assign(tn=[8, 8, 12])
    emptied = script.emptied(cases, 0.5)
    assert emptied[["tp", "fp", "fn", "tn"]].to_numpy().tolist() == [[5, 1, 2, 8], [0, 0, 7, 9], [0, 0, 0, 16]]
