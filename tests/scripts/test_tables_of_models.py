import csv
import json
import shutil
import statistics
from pathlib import Path

import pytest

from tests.scripts.load import load_script

FOLD = Path(__file__).resolve().parents[2] / "docs" / "results" / "improved_fold0_128" / "calibrate"


@pytest.fixture
def script():
    return load_script("tables_of_models")


@pytest.fixture
def experiment(tmp_path):
    """Two folds: real ones, and the same with other names of cases and all scores halved."""
    shutil.copytree(FOLD, tmp_path / "calibrate" / "fold_0")
    other = Path(shutil.copytree(FOLD, tmp_path / "calibrate" / "fold_1")) / "cases.csv"
    rows = read(other)
    for row in rows:
        row.update(case_id=f"other {row['case_id']}", group=f"other {row['group']}", dice=float(row["dice"]) / 2)
    write(other, rows)
    return tmp_path


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_means_and_paired_differences_over_the_folds(script, experiment):
    text = script.averages_table(experiment)
    assert "2 test folds, 250 images" in text
    rows = read(FOLD / "cases.csv")
    scores = {
        name: statistics.mean(float(row["dice"]) for row in rows if row["variant"] == name)
        for name in ("strong: as is", "ensemble: mirror")
    }
    lines = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| ")}
    for name, score in scores.items():
        assert float(lines[name.replace("as is", "no augmentation")][2].split()[0]) == pytest.approx(
            75 * score, abs=0.051
        )
    gain = 75 * (scores["ensemble: mirror"] - scores["strong: as is"])
    assert float(lines["ensemble: mirror"][3].split()[0]) == pytest.approx(gain, abs=0.051)
    assert lines["strong: no augmentation"][3].strip() == ""


def test_what_is_no_cross_validation(script, experiment):
    with pytest.raises(ValueError, match="no calibrate/fold_F"):
        script.averages_table(experiment / "calibrate")
    other = experiment / "calibrate" / "fold_1"
    shutil.copy(FOLD / "cases.csv", other)
    with pytest.raises(ValueError, match="has a case in two folds"):
        script.averages_table(experiment)
    summary = json.loads((other / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps({**summary, "variants": summary["variants"][::-1]}))
    with pytest.raises(ValueError, match="differ in their variants"):
        script.averages_table(experiment)


def test_a_changed_row_changes_the_table(script, tmp_path):
    folder = shutil.copytree(FOLD.parent / "han_strong_augmentation" / "stress", tmp_path / "stress")
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
    folder = shutil.copytree(FOLD, tmp_path / "calibrate")
    script.calibrate_table(folder)
    summary = json.loads((folder / "summary.json").read_text())
    summary["variants"][0]["test_dice_at_threshold"] += 0.001
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ValueError, match=r"is not the mean of its rows in cases\.csv"):
        script.calibrate_table(folder)


def test_measurements_against_pathology(script, tmp_path):
    """Two malignant and two benign lesions: of the four pairs two are in order and one is tied."""
    known = [("malignant", 1.0, "oval"), ("malignant", 3.0, "round"), ("benign", 1.0, "oval"), ("benign", 2.0, "oval")]
    rows = []
    for masks in ("true", "predicted"):
        for number, (kind, value, word) in enumerate(known):
            measures = {**dict.fromkeys(script._SUSPICIOUS, value), "computed_orientation": "parallel"}
            if number == 3 and masks == "predicted":
                measures["echo_ratio"] = "nan"
            rows.append(
                {"masks": masks, "case_id": number, "group": number, "class": kind, **measures, "computed_shape": word}
            )
    write(tmp_path / "measurements.csv", rows)
    text = script.measurements_table(tmp_path / "measurements.csv")
    lines = {
        tuple(line.split(" | ")[:2]): line.split(" | ")[2:] for line in text.splitlines() if line.startswith("| `")
    }
    assert [cell.split()[0] for cell in lines["| `margin_roughness`", "higher"]] == ["62.5", "62.5"]
    assert [cell.split()[0] for cell in lines["| `circularity`", "lower"]] == ["37.5", "37.5"]
    true, predicted = lines["| `echo_ratio`", "lower"]
    assert true.startswith("37.5") and predicted.startswith("25.0") and "without 1" in predicted
    assert (
        lines["| `computed_shape`", "oval"][0].startswith("33.3") and " of 3" in lines["| `computed_shape`", "oval"][0]
    )


def test_attention_of_lesion_images_alone(script, tmp_path):
    counts = {"a": (10, 10), "b": (20, 40), "normal": (0, 0)}  # true positives and negatives of 100 pixels
    cases = [
        {"case_id": name, "group": name, "tp": tp, "fn": fn, "fp": 0, "tn": 100 - tp - fn}
        for name, (tp, fn) in counts.items()
    ]
    maps = [
        {"case_id": name, "map": place, "entropy": entropy, "coverage": coverage, "lift": lift}
        for name, entropy, coverage, lift in [("a", 0.5, 0.3, 1.5), ("b", 0.7, 0.3, 0.5), ("normal", 1.0, "nan", "nan")]
        for place in ("gsa", "tsa")
    ]
    for row in maps[1::2]:
        row.update(coverage="nan", lift="nan")  # of channels
    write(tmp_path / "per_case.csv", cases)
    write(tmp_path / "attention.csv", maps)
    lines = script.attention_table(tmp_path).splitlines()
    assert lines[0].startswith("2 lesion images, 40.0 % lesion on average")
    assert lines[-2:] == ["| `gsa` | 0.600 | 30.0 | 1.00 [0.50, 1.50] | 50.0 |", "| `tsa` | 0.600 |  |  |  |"]
