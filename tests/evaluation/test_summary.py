import math

import numpy as np
import pandas as pd
import pytest
from hybrid_attention.evaluation import classification_scores
from hybrid_attention.evaluation.formatting import p_value, score_spread
from hybrid_attention.evaluation.summary import summarize, summary_table


def case(tp, fp, fn, group="a", **more):
    return {"tp": tp, "fp": fp, "fn": fn, "tn": 100, "group": group, **more}


def summary_of(*rows):
    return summarize(pd.DataFrame(rows))


PERFECT, MISSED = case(10, 0, 0, "perfect"), case(0, 0, 20, "missed")
TRUE_NORMAL, FALSE_POSITIVE = case(0, 0, 0, "normal"), case(0, 4, 0, "false positive")
CASES = [PERFECT, MISSED, TRUE_NORMAL, FALSE_POSITIVE]
TWO = [case(10, 0, 0), case(30, 30, 30, "b")]


def test_conventions_by_hand():
    summary = summary_of(*CASES)
    pooled = summary["pooled"]
    assert (summary["cases"], summary["lesion_cases"]) == (4, 2)
    assert summary["false_positive_rate_without_lesion"] == 0.5
    assert pooled["dice"]["value"] == pytest.approx(20 / 44) and pooled["jaccard"]["value"] == pytest.approx(10 / 34)
    for convention, images, dice, precision, specificity in (
        ("lesion_only", 1, (1 + 0) / 2, 1, (1 + 1) / 2),  # precision: of the one image in which something is predicted
        ("empty_is_one", 4, (1 + 0 + 1 + 0) / 4, (1 + 0 + 1 + 0) / 4, (3 + 100 / 104) / 4),
        ("empty_is_zero", 4, (1 + 0 + 0 + 0) / 4, (1 + 0 + 0 + 0) / 4, (3 + 100 / 104) / 4),
    ):
        scores = summary[convention]
        means = [scores[name]["mean"] for name in ("dice", "f1", "precision", "specificity")]
        assert means == pytest.approx([dice, dice, precision, specificity])
        assert scores["precision"]["images"] == images
    # only images without lesion, and none
    summary = summary_of(TRUE_NORMAL, FALSE_POSITIVE)
    assert np.isnan(summary["lesion_only"]["dice"]["mean"]) and summary["lesion_only"]["dice"]["images"] == 0
    assert (summary["empty_is_one"]["dice"]["mean"], summary["empty_is_zero"]["dice"]["mean"]) == (0.5, 0)
    assert "| dice | n/a |" in summary_table(summary)
    with pytest.raises(ValueError, match="no case"):
        summary_of()


def test_distances_and_lesions_where_counted():
    more = [(4.0, 1.0, 2, 1, 0), (math.nan, math.nan, 1, 0, 0), (math.nan, math.nan, 0, 0, 3)]
    names = ("hd95", "asd", "lesions", "detected_lesions", "false_lesions")
    rows = zip((PERFECT, MISSED, FALSE_POSITIVE), more, strict=True)
    summary = summary_of(*({**row, **dict(zip(names, extra, strict=True))} for row, extra in rows))
    assert (summary["lesion_only"]["hd95"]["mean"], summary["lesion_only"]["hd95"]["images"]) == (4.0, 1)
    found = summary["lesion_detection"]
    values = [found[name]["value"] for name in ("sensitivity", "precision", "false_lesions_per_image")]
    assert values == pytest.approx([1 / 3, 1 / 4, 1])
    table = summary_table({**summary, "distance_unit": "mm"})
    assert "hd95 in mm: 4.0" in table and "over the 1 lesion images with a prediction" in table
    assert "hd95" not in summary_of(*CASES)["lesion_only"] and "lesion_detection" not in summary_of(*CASES)


def test_table():
    table, whole = summary_table(summary_of(*TWO)), summary_table(summary_of(*CASES))
    assert "lesion_only: mean of 2 images" in table
    assert "empty_is_one" not in table  # no image without lesion: the same number
    assert "| dice | 75.0 [50.0, 100.0] | 75.0 | 57.1 [50.0, 100.0] |" in table
    assert "| precision | 100.0 [100.0, 100.0] (of 1) |" in whole
    assert "empty_is_zero: mean of 4 images" in whole
    truth, shares = ["a", "a", "a", "b"], [(0.9, 0.1), (0.8, 0.2), (0.3, 0.7), (0.1, 0.9)]
    table = summary_table({**summary_of(*TWO), "classification": classification_scores(truth, shares, ["a", "b"])})
    assert "| pixel accuracy | 84.2 [68.4, 100.0] | 84.2 | 80.0 [68.4, 100.0] |" in table  # 130/190 and 110/110
    assert "Classes of 4 images: accuracy 75.0 [" in table and "balanced accuracy 83.3 [" in table
    assert "macro AUC (one-vs-rest) 100.0 [" in table
    assert "sensitivity (%) | specificity (%) | F1 (%) | AUC (%) | predicted a | predicted b |" in table
    assert "| a | 100.0 | 66.7 | 100.0 | 80.0 | 100.0 | 2 (66.7 %) | 1 (33.3 %) |" in table
    assert "| b | 50.0 | 100.0 | 66.7 | 66.7 | 100.0 | 0 | 1 (100.0 %) |" in table


def test_numbers_as_text():
    assert (p_value(0.0004), p_value(0.0014), p_value(1.0)) == ("< 0.001", "0.001", "1.000")
    assert score_spread({"mean": 0.5, "sd": math.nan}) == "50.0 ± n/a"  # of one fold
    assert score_spread({"mean": math.nan, "sd": math.nan}) == score_spread(None) == "n/a"
