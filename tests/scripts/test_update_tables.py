import json
import re
import shutil

import pandas as pd
import pytest

from tests.scripts.load import RESULTS, cells_of, load_script, rows_of

FOLD = RESULTS / "improved_fold0_128" / "calibrate"
QUICK = (
    "released speed benchmark inference throughput predict network_costs recipes run by_class normal_images "
    "normal_thresholds stress"
).split()


@pytest.fixture(scope="module")
def script():
    return load_script("update_tables")


@pytest.mark.parametrize("kind", QUICK)
def test_quick_tables_are_true(script, kind):
    """Those that are computed quickly; all of them: `scripts/update_tables.py --check`."""
    block = re.compile(rf"(<!-- {kind}(?: [\w/]+)? -->)(.*?)(<!-- end of {kind} -->)", re.S)
    tables = [found for page in script.PAGES for found in block.finditer(page.read_text())]
    assert tables
    for table in tables:
        assert script.filled(f"{table[1]}somebody's own numbers{table[3]} rest") == f"{table[0]} rest"


def test_means_and_paired_differences_over_the_folds(script, tmp_path):
    """Two folds: real ones, and the same with other names of cases and all scores halved."""
    with pytest.raises(ValueError, match="no calibrate/fold_F"):
        script.averages_table(tmp_path)
    shutil.copytree(FOLD, tmp_path / "calibrate" / "fold_0")
    other = shutil.copytree(FOLD, tmp_path / "calibrate" / "fold_1")
    with pytest.raises(ValueError, match="has a case in two folds"):
        script.averages_table(tmp_path)
    cases = pd.read_csv(other / "cases.csv")
    cases["dice"] /= 2
    cases[["case_id", "group"]] = "other " + cases[["case_id", "group"]].astype(str)
    cases.to_csv(other / "cases.csv", index=False)
    text = script.averages_table(tmp_path)
    assert "2 test folds, 250 images" in text
    means = 75 * pd.read_csv(FOLD / "cases.csv").groupby("variant")["dice"].mean()
    rows = rows_of(text)
    for name in ("strong: as is", "ensemble: mirror"):
        shown = rows[name.replace("as is", "no augmentation")]["Dice, test"]
        assert float(shown.split()[0]) == pytest.approx(means[name], abs=0.051)
    gain = means["ensemble: mirror"] - means["strong: as is"]
    assert float(rows["ensemble: mirror"]["difference to first row"].split()[0]) == pytest.approx(gain, abs=0.051)
    assert rows["strong: no augmentation"]["difference to first row"] == ""
    summary = json.loads((other / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps({**summary, "variants": summary["variants"][::-1]}))
    with pytest.raises(ValueError, match="differ in their variants"):
        script.averages_table(tmp_path)


def test_a_variant_that_is_not_the_mean_of_its_cases_is_noticed(script, tmp_path):
    folder = shutil.copytree(FOLD, tmp_path / "calibrate")
    script.calibrate_table(folder)
    summary = json.loads((folder / "summary.json").read_text())
    summary["variants"][0]["test_dice_at_threshold"] += 0.001
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ValueError, match=r"is not the mean of its rows in cases\.csv"):
        script.calibrate_table(folder)


def test_measurements_against_pathology(script, tmp_path):
    """Two malignant and two benign lesions: of the four pairs two are in order and one is tied."""
    known = {"class": ["malignant", "malignant", "benign", "benign"], "group": range(4), "case_id": range(4)}
    words = {"computed_orientation": "parallel", "computed_shape": ["oval", "round", "oval", "oval"]}
    true = pd.DataFrame({**known, **words})
    true[list(script._SUSPICIOUS)] = pd.DataFrame([[value] * len(script._SUSPICIOUS) for value in (1.0, 3.0, 1.0, 2.0)])
    predicted = true.copy()
    predicted.loc[3, "echo_ratio"] = float("nan")
    table = pd.concat([true.assign(masks="true"), predicted.assign(masks="predicted")])
    table.to_csv(tmp_path / "measurements.csv", index=False, na_rep="nan")
    rows = {tuple(row[:2]): row[2:] for row in cells_of(script.measurements_table(tmp_path / "measurements.csv"))}
    assert [cell.split()[0] for cell in rows["`margin_roughness`", "higher"]] == ["62.5", "62.5"]
    of_all, of_three = rows["`echo_ratio`", "lower"]
    assert of_all.startswith("37.5") and of_three.startswith("25.0") and "without 1" in of_three
    oval = rows["`computed_shape`", "oval"][0]
    assert oval.startswith("33.3") and oval.endswith("of 3")


def test_attention_of_lesion_images_alone(script, tmp_path):
    cases = pd.DataFrame({"case_id": ["a", "b", "normal"], "tp": [10, 20, 0], "fn": [10, 40, 0], "fp": 0})
    cases = cases.assign(group=cases["case_id"], tn=100 - cases["tp"] - cases["fn"])
    cases.to_csv(tmp_path / "per_case.csv", index=False)
    (tmp_path / "attention.csv").write_text(
        "case_id,map,entropy,coverage,lift,coverage_of_others,lift_of_others\n"
        "a,gsa,0.5,0.3,1.5,0.2,1.0\na,tsa,0.5,nan,nan,nan,nan\nb,gsa,0.7,0.3,0.5,0.6,1.0\nb,tsa,0.7,nan,nan,nan,nan\n"
        "normal,gsa,1.0,nan,nan,nan,nan\nnormal,tsa,1.0,nan,nan,nan,nan\n"
    )
    text = script.attention_table(tmp_path, {".": "HAN"})
    assert text.startswith("2 lesion images, 40.0 % lesion on average")
    assert cells_of(text)[1:] == [
        ["HAN", "`gsa`", "0.600", "30.0", "1.00 [0.50, 1.50]", "50.0", "40.0", "1.00 [1.00, 1.00]"],
        ["HAN", "`tsa`", "0.600", *[""] * 5],
    ]
