import json
import math

import pandas as pd
import pytest
from hybrid_attention.evaluation.metrics.segmentation import overlap_scores
from hybrid_attention.evaluation.stress import checked_kinds, stress_summary, stress_table, stress_test
from hybrid_attention.transforms.corruptions import CORRUPTIONS

from tests.evaluation.predicted import DarkIsLesion, write_case


def table(kind, strength, *counts, group=None):
    """Rows of the cases a, b, … with counts of true positive, false positive and missed pixels."""
    rows = []
    for case, (tp, fp, fn) in zip("abnm", counts, strict=False):
        pixels = {"tp": tp, "fp": fp, "fn": fn, "tn": 10}
        place = {"kind": kind, "strength": strength, "case_id": case, "group": group or case}
        rows.append({**place, **overlap_scores(pixels), **pixels})
    return pd.DataFrame(rows)


CLEAN = table("clean", 0, (1, 0, 0), (3, 2, 2), (0, 0, 0), (0, 4, 0))  # Dice 1 and 0.6
BLURRED = table("blur", 4, (4, 1, 1), (2, 3, 3), (0, 1, 0), (0, 9, 0))  # Dice 0.8 and 0.4
ROWS = pd.concat([CLEAN, BLURRED])


def test_summary_and_table_by_hand():
    summary = stress_summary(ROWS)
    assert (summary["cases"], summary["lesion_cases"]) == (4, 2)
    assert summary["clean"]["dice"] == pytest.approx({"mean": 0.8, "low": 0.6, "high": 1})
    assert summary["clean"]["false_positive_rate_without_lesion"] == {"mean": 0.5, "low": 0, "high": 1}
    (entry,) = summary["kinds"]["blur"]["strengths"]
    assert (entry["strength"], entry["level"]) == (4, [1.1])
    assert entry["dice"] == pytest.approx({"mean": 0.6, "low": 0.4, "high": 0.8})
    # both cases lose 0.2: the difference has no spread, though the scores have
    assert entry["dice_difference"] == pytest.approx({"mean": -0.2, "low": -0.2, "high": -0.2})
    assert entry["false_positive_rate_without_lesion"] == {"mean": 1, "low": 1, "high": 1}
    text = stress_table({**summary, "part": "test", "synthetic_data": False})
    assert "4 images of the test part, 2 with lesion" in text
    assert "| clean | 0 |  | 80.0 [60.0, 100.0] |  | 50.0 [0.0, 100.0] |" in text
    assert "| blur | 4 | 1.1 | 60.0 [40.0, 80.0] | -20.0 [-20.0, -20.0] | 100.0 [100.0, 100.0] |" in text
    assert f"Level of blur: {CORRUPTIONS['blur'].unit}." in text
    assert "SYNTHETIC" not in text and "IMAGES:" not in text
    loud = stress_table({**summary, "synthetic_data": True, "part": "train"})
    assert "SYNTHETIC DATA" in loud and "TRAIN IMAGES" in loud


def test_groups_are_drawn_together_and_cases_of_one_kind():
    clean = table("clean", 0, (1, 0, 0), (1, 0, 0), group="g")
    brighter = table("gain", 1, (1, 0, 0), (0, 0, 1), group="g")
    summary = {**stress_summary(pd.concat([clean, brighter])), "part": "test", "synthetic_data": False}
    (entry,) = summary["kinds"]["gain"]["strengths"]
    assert entry["dice_difference"] == {"mean": -0.5, "low": -0.5, "high": -0.5}
    assert entry["false_positive_rate_without_lesion"] is None
    assert "without lesion" not in stress_table(summary)
    normal = {**stress_summary(ROWS[ROWS["case_id"].isin(["n", "m"])]), "part": "test", "synthetic_data": False}
    assert normal["clean"]["dice"] is normal["kinds"]["blur"]["strengths"][0]["dice_difference"] is None
    assert "| blur | 4 | 1.1 | n/a | n/a | 100.0 [100.0, 100.0] |" in stress_table(normal)


def test_every_case_under_every_strength(tmp_path):
    # gain 3 and more, a factor of 1.6, lifts 48 above 60
    run = DarkIsLesion(tmp_path, [write_case(tmp_path, str(number), 48, number < 3) for number in range(4)])
    cases, summary = stress_test(run, tmp_path / "out", kinds=["gain", "callipers"], seed=3)
    assert run.seen[0] is None and {one.corrupt.seed for one in run.seen[1:]} == {3}
    gain = [entry["dice"]["mean"] for entry in summary["kinds"]["gain"]["strengths"]]
    assert gain == [1, 0, 0, 0, 0]  # 48 becomes 57.6, then 67.2 and more
    crosses = [entry["dice"]["mean"] for entry in summary["kinds"]["callipers"]["strengths"]]
    assert crosses[0] < 1 and crosses[4] < crosses[0]  # white pixels on the lesion
    rows = pd.read_csv(tmp_path / "out" / "stress.csv", dtype=str, keep_default_na=False).to_dict("records")
    assert len(rows) == len(cases) == 11 * 4
    third = next(row for row in rows if row["strength"] == "3" and row["case_id"] == "benign/0.png")
    assert [third[name] for name in ("tp", "fp", "fn", "tn", "dice")] == ["0", "0", "64", str(24 * 32 - 64), "0.0"]
    assert math.isnan(float(rows[3]["dice"]))  # no lesion, empty prediction
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert (summary["part"], summary["seed"], summary["training"]) == ("test", 3, run.training)
    with pytest.raises(ValueError, match=r"train part .* has no case"):
        stress_test(run, tmp_path, part="train")
    for kinds, got in (([], "none"), (["haze"], "haze"), (["blur", "blur"], "blur, blur")):
        with pytest.raises(ValueError, match=f"got {got}"):
            checked_kinds(kinds)
