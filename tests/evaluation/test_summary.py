import math

import numpy as np
import pandas as pd
import pytest
from hybrid_attention.evaluation import classification_scores
from hybrid_attention.evaluation.formatting import p_value, percent, plural, score_interval, score_spread
from hybrid_attention.evaluation.summary import summarize, summary_table


def case(tp, fp, fn, tn=100, group="a"):
    return {"tp": tp, "fp": fp, "fn": fn, "tn": tn, "group": group}


def summary_of(rows):
    return summarize(pd.DataFrame(rows))


def test_images_without_lesion_and_empty_predictions():
    summary = summary_of([case(10, 0, 0), case(0, 0, 0, group="n1"), case(0, 5, 0, group="n2")])
    assert (summary["cases"], summary["lesion_cases"]) == (3, 1)
    assert summary["lesion_only"]["dice"]["mean"] == 1
    assert summary["pooled"]["dice"]["value"] == pytest.approx(20 / 25)
    assert summary["false_positive_rate_without_lesion"] == 0.5
    precision = summary_of([case(5, 5, 0), case(0, 0, 7, group="b")])["lesion_only"]["precision"]
    assert (precision["mean"], precision["images"]) == (0.5, 1)
    with pytest.raises(ValueError, match="no case"):
        summary_of([])


def test_only_images_without_lesion():
    summary = summary_of([case(0, 0, 0), case(0, 3, 0, group="b")])
    assert np.isnan(summary["lesion_only"]["dice"]["mean"]) and summary["lesion_only"]["dice"]["images"] == 0
    assert summary["empty_is_one"]["dice"]["mean"] == 0.5
    assert summary["empty_is_zero"]["dice"]["mean"] == 0
    assert summary["false_positive_rate_without_lesion"] == 0.5
    assert "| dice | n/a |" in summary_table(summary)


CASES = [
    case(10, 0, 0, group="perfect"),
    case(0, 0, 20, group="missed"),
    case(0, 0, 0, group="nothing to find"),
    case(0, 4, 0, group="false positive"),
]


@pytest.mark.parametrize(
    ("convention", "dice", "precision", "specificity"),
    [
        ("lesion_only", (1 + 0) / 2, 1.0, (1 + 1) / 2),  # precision: of the one image in which something is predicted
        ("empty_is_one", (1 + 0 + 1 + 0) / 4, (1 + 0 + 1 + 0) / 4, (3 + 100 / 104) / 4),
        ("empty_is_zero", (1 + 0 + 0 + 0) / 4, (1 + 0 + 0 + 0) / 4, (3 + 100 / 104) / 4),
    ],
)
def test_conventions_by_hand(convention, dice, precision, specificity):
    summary = summary_of(CASES)
    scores, pooled = summary[convention], summary["pooled"]
    assert pooled["dice"]["value"] == pytest.approx(20 / 44) and pooled["jaccard"]["value"] == pytest.approx(10 / 34)
    assert scores["dice"]["mean"] == scores["f1"]["mean"] == pytest.approx(dice)
    assert scores["precision"]["mean"] == pytest.approx(precision)
    assert scores["specificity"]["mean"] == pytest.approx(specificity)


def test_distances_and_lesions_where_counted():
    more = [
        {"hd95": 4.0, "asd": 1.0, "lesions": 2, "detected_lesions": 1, "false_lesions": 0},
        {"hd95": float("nan"), "asd": float("nan"), "lesions": 1, "detected_lesions": 0, "false_lesions": 0},
        {"hd95": float("nan"), "asd": float("nan"), "lesions": 0, "detected_lesions": 0, "false_lesions": 3},
    ]
    rows = [{**row, **extra} for row, extra in zip([CASES[0], CASES[1], CASES[3]], more, strict=True)]
    summary = summary_of(rows)
    assert (summary["lesion_only"]["hd95"]["mean"], summary["lesion_only"]["hd95"]["images"]) == (4.0, 1)
    found = summary["lesion_detection"]
    assert found["sensitivity"]["value"] == pytest.approx(1 / 3)
    assert found["precision"]["value"] == pytest.approx(1 / 4)
    assert found["false_lesions_per_image"]["value"] == 1
    table = summary_table({**summary, "distance_unit": "mm"})
    assert "hd95 in mm: 4.0" in table and "over the 1 lesion images with a prediction" in table
    assert "hd95" not in summary_of(CASES)["lesion_only"] and "lesion_detection" not in summary_of(CASES)


def test_table_names_its_conventions():
    table = summary_table(summary_of([case(10, 0, 0), case(30, 30, 30, group="b")]))
    assert "lesion_only: mean of 2 images" in table
    assert "empty_is_one" not in table  # no image without lesion: the same number
    assert "| dice | 75.0 [50.0, 100.0] | 75.0 | 57.1 [50.0, 100.0] |" in table
    assert "| precision | 100.0 [100.0, 100.0] (of 1) |" in summary_table(summary_of(CASES))
    assert "empty_is_zero: mean of 4 images" in summary_table(summary_of(CASES))


def test_table_tells_pixel_accuracy_from_that_of_classes():
    truth, shares = ["a", "a", "a", "b"], [(0.9, 0.1), (0.8, 0.2), (0.3, 0.7), (0.1, 0.9)]
    classes = classification_scores(truth, shares, ["a", "b"])
    table = summary_table({**summary_of([case(10, 0, 0), case(30, 30, 30, group="b")]), "classification": classes})
    assert "| pixel accuracy | 84.2 [68.4, 100.0] | 84.2 | 80.0 [68.4, 100.0] |" in table  # 130/190 and 110/110
    assert "Classes of 4 images: accuracy 75.0 [" in table and "balanced accuracy 83.3 [" in table
    assert "macro AUC (one-vs-rest) 100.0 [" in table
    lines = [line for line in table.splitlines() if line.startswith(("| a ", "| b ", "| true class"))]
    assert lines == [
        "| true class | precision (%) | sensitivity (%) | specificity (%) | F1 (%) | AUC (%) | predicted a | "
        "predicted b |",
        "| a | 100.0 | 66.7 | 100.0 | 80.0 | 100.0 | 2 (66.7 %) | 1 (33.3 %) |",
        "| b | 50.0 | 100.0 | 66.7 | 66.7 | 100.0 | 0 | 1 (100.0 %) |",
    ]


@pytest.mark.parametrize(
    ("score", "text"),
    [
        ({"mean": 0.7782, "low": 0.719, "high": 0.8314}, "77.8 [71.9, 83.1]"),
        ({"value": 1.0, "low": 1.0, "high": 1.0}, "100.0 [100.0, 100.0]"),
        ({"mean": math.nan, "low": math.nan, "high": math.nan}, "n/a"),
        (None, "n/a"),
    ],
)
def test_intervals_as_text(score, text):
    assert score_interval(score) == text


def test_numbers_as_text():
    assert [plural(count, "case") for count in (0, 1, 2)] == ["0 cases", "1 case", "2 cases"]
    assert (percent(0.0314, signed=True), percent(-0.0314, signed=True)) == ("+3.1", "-3.1")
    assert (p_value(0.0004), p_value(0.0014), p_value(1.0)) == ("< 0.001", "0.001", "1.000")
    assert score_spread({"mean": 0.7782, "sd": 0.0314}) == "77.8 ± 3.1"
    assert score_spread({"mean": 0.5, "sd": math.nan}) == "50.0 ± n/a"  # of one fold
    assert score_spread({"mean": math.nan, "sd": math.nan}) == score_spread(None) == "n/a"
