import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hybrid_attention.engines import Prediction
from hybrid_attention.evaluation.metrics.segmentation import overlap_scores
from hybrid_attention.evaluation.stress import checked_kinds, stress_summary, stress_table, stress_test
from hybrid_attention.transforms.corruptions import CORRUPTIONS
from PIL import Image


class DarkIsLesion:
    """Stands for a trained network: lesion is where a pixel is darker than 60 of 255."""

    def __init__(self, folder: Path, lesions: int = 3, normal: int = 1):
        self.weights = folder / "model.pt"
        self.weights.write_bytes(b"weights")
        self.training = {"recipe": {"image_size": 128}, "images": {"training": 7}}
        self.seen = []
        self._cases = []
        for index in range(lesions + normal):
            pixels, mask = np.full((24, 32), 120, np.uint8), np.zeros((24, 32), np.uint8)  # (H, W)
            if index < lesions:
                pixels[8:16, 8:16] = 48  # gain 3 and more, a factor of 1.6, lifts it above 60
                mask[8:16, 8:16] = 255
            for name, array in ((f"{index}.png", pixels), (f"{index}_mask.png", mask)):
                Image.fromarray(array).save(folder / name)
            self._cases.append(
                {
                    "case_id": f"benign/{index}.png",
                    "image": str(folder / f"{index}.png"),
                    "label": [str(folder / f"{index}_mask.png")],
                    "class": "benign",
                    "group": str(index // 2),
                    "synthetic": True,
                }
            )

    def cases(self, part):
        assert part == "test"
        return self._cases

    def predict(self, cases, disturbance=None):
        self.seen.append(disturbance)
        predictions = []
        for case in cases:
            read = [torch.from_numpy(np.array(Image.open(path)))[None] for path in self._files(case)]
            data = {**case, "image": read[0].float(), "label": read[1]}
            image = (disturbance(data) if disturbance else data)["image"]
            # exactly one half is lesion, as in the networks' own postprocessing
            predictions.append(Prediction(case, image, 0.5 * (image < 60), (read[1] > 0).float()))
        return predictions

    def _files(self, case):
        return case["image"], case["label"][0]


def row(kind, strength, case, tp, fp, fn, group=None):
    counts = {"tp": tp, "fp": fp, "fn": fn, "tn": 10}
    return {
        "kind": kind,
        "strength": strength,
        "case_id": case,
        "group": group or case,
        **overlap_scores(counts),
        **counts,
    }


ROWS = pd.DataFrame(
    [
        row("clean", 0, "a", 1, 0, 0),  # Dice 1
        row("clean", 0, "b", 3, 2, 2),  # 0.6
        row("clean", 0, "n", 0, 0, 0),
        row("clean", 0, "m", 0, 4, 0),
        row("blur", 4, "a", 4, 1, 1),  # 0.8
        row("blur", 4, "b", 2, 3, 3),  # 0.4
        row("blur", 4, "n", 0, 1, 0),
        row("blur", 4, "m", 0, 9, 0),
    ]
)


def test_summary_by_hand():
    summary = stress_summary(ROWS)
    assert (summary["cases"], summary["lesion_cases"]) == (4, 2)
    assert summary["clean"]["dice"] == pytest.approx({"mean": 0.8, "low": 0.6, "high": 1.0})
    assert summary["clean"]["false_positive_rate_without_lesion"] == {"mean": 0.5, "low": 0, "high": 1}
    (entry,) = summary["kinds"]["blur"]["strengths"]
    assert summary["kinds"]["blur"]["unit"] == CORRUPTIONS["blur"].unit
    assert (entry["strength"], entry["level"]) == (4, [1.1])
    assert entry["dice"] == pytest.approx({"mean": 0.6, "low": 0.4, "high": 0.8})
    # both cases lose 0.2: the difference has no spread, though the scores have
    assert entry["dice_difference"] == pytest.approx({"mean": -0.2, "low": -0.2, "high": -0.2})
    assert entry["false_positive_rate_without_lesion"] == {"mean": 1, "low": 1, "high": 1}


def test_groups_are_drawn_together():
    rows = [row("clean", 0, case, 1, 0, 0, "g") for case in "ab"]
    rows += [row("gain", 1, "a", 1, 0, 0, "g"), row("gain", 1, "b", 0, 0, 1, "g")]
    (entry,) = stress_summary(pd.DataFrame(rows))["kinds"]["gain"]["strengths"]
    assert entry["dice_difference"] == {"mean": -0.5, "low": -0.5, "high": -0.5}
    assert entry["false_positive_rate_without_lesion"] is None


def test_without_any_lesion():
    summary = {**stress_summary(ROWS[ROWS["case_id"].isin(["n", "m"])]), "part": "test"}
    assert summary["clean"]["dice"] is None
    assert summary["kinds"]["blur"]["strengths"][0]["dice_difference"] is None
    assert "| blur | 4 | 1.1 | n/a | n/a | 100.0 [100.0, 100.0] |" in stress_table({**summary, "synthetic_data": False})


def test_table():
    summary = {**stress_summary(ROWS), "part": "test", "synthetic_data": False}
    table = stress_table(summary)
    assert "4 images of the test part, 2 with lesion" in table
    assert "| clean | 0 |  | 80.0 [60.0, 100.0] |  | 50.0 [0.0, 100.0] |" in table
    assert "| blur | 4 | 1.1 | 60.0 [40.0, 80.0] | -20.0 [-20.0, -20.0] | 100.0 [100.0, 100.0] |" in table
    assert f"Level of blur: {CORRUPTIONS['blur'].unit}." in table
    assert "SYNTHETIC" not in table and "IMAGES:" not in table
    loud = stress_table({**summary, "synthetic_data": True, "part": "train"})
    assert "SYNTHETIC DATA" in loud and "TRAIN IMAGES" in loud
    lesions = stress_summary(ROWS[ROWS["case_id"].isin(["a", "b"])])
    assert "without lesion" not in stress_table({**lesions, "part": "test", "synthetic_data": False})


def test_rows_must_match():
    with pytest.raises(ValueError, match="no row of kind 'clean' and strength 0"):
        stress_summary(ROWS[4:])
    with pytest.raises(ValueError, match="blur 4"):
        stress_summary(ROWS[:-1])


def test_every_case_under_every_strength(tmp_path, caplog):
    caplog.set_level("INFO", "hybrid_attention")
    run = DarkIsLesion(tmp_path)
    cases, summary = stress_test(run, tmp_path / "out", kinds=["gain", "callipers"], seed=3)
    assert run.seen[0] is None
    assert [(one.corrupt.kind, one.corrupt.strength, one.corrupt.seed) for one in run.seen[1:]] == [
        (kind, strength, 3) for kind in ("gain", "callipers") for strength in range(1, 6)
    ]
    assert "1 of 11: clean 0, Dice 100.0" in caplog.text and "11 of 11: callipers 5" in caplog.text
    gain = [entry["dice"]["mean"] for entry in summary["kinds"]["gain"]["strengths"]]
    assert gain == [1, 0, 0, 0, 0]  # 48 becomes 57.6, then 67.2 and more
    crosses = [entry["dice"]["mean"] for entry in summary["kinds"]["callipers"]["strengths"]]
    assert crosses[0] < 1 and crosses[4] < crosses[0]  # white pixels on the lesion

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["stress.csv", "summary.json", "summary.md"]
    rows = pd.read_csv(tmp_path / "out" / "stress.csv", dtype=str, keep_default_na=False).to_dict("records")
    assert len(rows) == len(cases) == 11 * 4
    assert list(rows[0])[:5] == ["kind", "strength", "case_id", "class", "group"]
    third = next(row for row in rows if row["strength"] == "3" and row["case_id"] == "benign/0.png")
    assert [third[name] for name in ("tp", "fp", "fn", "tn", "dice")] == ["0", "0", "64", str(24 * 32 - 64), "0.0"]
    assert math.isnan(float(rows[3]["dice"]))  # no lesion, empty prediction
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert (summary["part"], summary["seed"], summary["synthetic_data"]) == ("test", 3, True)
    assert len(summary["weights_sha256"]) == len(summary["data_sha256"]) == 64
    assert summary["training"] == run.training and "version" in summary["provenance"]
    assert "SYNTHETIC DATA" in (tmp_path / "out" / "summary.md").read_text()


def test_bad_kinds_and_no_cases(tmp_path):
    assert checked_kinds(None) == list(CORRUPTIONS)
    for kinds, got in (([], "none"), (["haze"], "haze"), (["blur", "blur"], "blur, blur")):
        with pytest.raises(ValueError, match=f"got {got}"):
            checked_kinds(kinds)
    with pytest.raises(ValueError, match=r"test part .* has no case"):
        stress_test(DarkIsLesion(tmp_path, 0, 0), tmp_path)
