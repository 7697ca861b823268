from types import ModuleType

import hybrid_attention.evaluation
import numpy as np
import pytest
from hybrid_attention.evaluation import (
    bootstrap_ratio,
    classification_scores,
    scores_by_convention,
    summarize,
    summary_table,
)


def case(tp, fp, fn, tn=100, group="a"):
    return {"tp": tp, "fp": fp, "fn": fn, "tn": tn, "group": group}


def test_ratio_by_hand():
    value, low, high = bootstrap_ratio([1, 3], [2, 4], ["a", "b"])
    assert value == pytest.approx(4 / 6)
    assert low == pytest.approx(1 / 2)  # only group a drawn
    assert high == pytest.approx(3 / 4)


def test_one_group_has_no_spread():
    assert bootstrap_ratio([0.2, 0.8], [1, 1], ["a", "a"]) == pytest.approx((0.5, 0.5, 0.5))


def test_copies_widen_the_interval():
    values = np.random.default_rng(0).random(40)
    alone = bootstrap_ratio(values, np.ones(40), range(40))
    copied = bootstrap_ratio(np.repeat(values, 4), np.ones(160), np.repeat(range(40), 4).tolist())
    naive = bootstrap_ratio(np.repeat(values, 4), np.ones(160), range(160))
    assert copied == pytest.approx(alone)
    assert naive[2] - naive[1] < 0.6 * (alone[2] - alone[1])


def test_interval_covers_as_promised():
    generator = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        _, low, high = bootstrap_ratio(generator.normal(0.7, 0.2, 60), np.ones(60), range(60), resamples=400, seed=seed)
        hits += low <= 0.7 <= high
    assert 180 <= hits <= 199  # 95 % nominal


def test_bad_arguments():
    with pytest.raises(ValueError, match="got 1, 2 and 1"):
        bootstrap_ratio([1], [1, 1], ["a"])
    with pytest.raises(ValueError, match="all denominators are zero"):
        bootstrap_ratio([1], [0], ["a"])


def test_two_conventions_by_hand():
    rows = [case(10, 0, 0, group="a"), case(30, 30, 30, group="b")]
    summary = summarize(rows)
    assert summary["lesion_only"]["dice"]["mean"] == pytest.approx((1 + 0.5) / 2)
    assert summary["pooled"]["dice"]["value"] == pytest.approx(80 / 140)
    assert summary["lesion_only"]["jaccard"]["mean"] == pytest.approx((1 + 1 / 3) / 2)
    assert summary["pooled"]["jaccard"]["value"] == pytest.approx(40 / 100)
    assert summary["pooled"]["specificity"]["value"] == pytest.approx(200 / 230)
    assert summary["false_positive_rate_without_lesion"] is None


def test_scores_of_one_case_by_hand():
    half, empty = case(10, 10, 10), case(0, 0, 0)
    assert all(scores_by_convention(half, name)["dice"] == 0.5 for name in ("lesion_only", "empty_is_one"))
    assert np.isnan(scores_by_convention(empty, "lesion_only")["dice"])
    assert [scores_by_convention(empty, f"empty_is_{name}")["dice"] for name in ("one", "zero")] == [1, 0]


def test_the_module_of_case_scores_keeps_its_name():
    assert isinstance(hybrid_attention.evaluation.case_scores, ModuleType)


def test_images_without_lesion_count_apart():
    summary = summarize([case(10, 0, 0), case(0, 0, 0, group="n1"), case(0, 5, 0, group="n2")])
    assert summary["cases"] == 3
    assert summary["lesion_cases"] == 1
    assert summary["lesion_only"]["dice"]["mean"] == 1
    assert summary["pooled"]["dice"]["value"] == pytest.approx(20 / 25)
    assert summary["false_positive_rate_without_lesion"] == 0.5


def test_undefined_precision_is_left_out_and_counted():
    precision = summarize([case(5, 5, 0), case(0, 0, 7, group="b")])["lesion_only"]["precision"]
    assert (precision["mean"], precision["images"]) == (0.5, 1)


def test_only_images_without_lesion():
    summary = summarize([case(0, 0, 0), case(0, 3, 0, group="b")])
    assert np.isnan(summary["lesion_only"]["dice"]["mean"]) and summary["lesion_only"]["dice"]["images"] == 0
    assert summary["empty_is_one"]["dice"]["mean"] == 0.5
    assert summary["empty_is_zero"]["dice"]["mean"] == 0
    assert summary["false_positive_rate_without_lesion"] == 0.5
    assert "| dice | n/a |" in summary_table(summary)


def test_nothing_to_summarize():
    with pytest.raises(ValueError, match="no case"):
        summarize([])


CASES = [
    case(10, 0, 0, group="perfect"),
    case(0, 0, 20, group="missed"),
    case(0, 0, 0, group="rightly nothing"),
    case(0, 4, 0, group="invented"),
]


@pytest.mark.parametrize(
    ("convention", "dice", "precision", "specificity"),
    [
        ("lesion_only", (1 + 0) / 2, 1.0, (1 + 1) / 2),  # precision: of the one image in which something is marked
        ("empty_is_one", (1 + 0 + 1 + 0) / 4, (1 + 0 + 1 + 0) / 4, (3 + 100 / 104) / 4),
        ("empty_is_zero", (1 + 0 + 0 + 0) / 4, (1 + 0 + 0 + 0) / 4, (3 + 100 / 104) / 4),
    ],
)
def test_conventions_by_hand(convention, dice, precision, specificity):
    scores = summarize(CASES)[convention]
    assert scores["dice"]["mean"] == scores["f1"]["mean"] == pytest.approx(dice)
    assert scores["precision"]["mean"] == pytest.approx(precision)
    assert scores["specificity"]["mean"] == pytest.approx(specificity)


def test_ceiling_of_empty_is_zero():
    rows = [case(50, 0, 0, group=str(index)) for index in range(62)]
    rows += [case(0, 0, 0, group=f"n{index}") for index in range(16)]
    summary = summarize(rows)  # nothing wrong anywhere
    assert summary["empty_is_zero"]["dice"]["mean"] == pytest.approx(62 / 78)
    assert summary["empty_is_one"]["dice"]["mean"] == summary["lesion_only"]["dice"]["mean"] == 1


def test_distances_and_lesions_where_counted():
    more = [
        {"hd95": 4.0, "asd": 1.0, "lesions": 2, "detected_lesions": 1, "false_lesions": 0},
        {"hd95": float("nan"), "asd": float("nan"), "lesions": 1, "detected_lesions": 0, "false_lesions": 0},
        {"hd95": float("nan"), "asd": float("nan"), "lesions": 0, "detected_lesions": 0, "false_lesions": 3},
    ]
    rows = [{**row, **extra} for row, extra in zip([CASES[0], CASES[1], CASES[3]], more, strict=True)]
    summary = summarize(rows)
    assert (summary["lesion_only"]["hd95"]["mean"], summary["lesion_only"]["hd95"]["images"]) == (4.0, 1)
    found = summary["lesion_detection"]
    assert found["sensitivity"]["value"] == pytest.approx(1 / 3)
    assert found["precision"]["value"] == pytest.approx(1 / 4)
    assert found["false_lesions_per_image"]["value"] == 1
    table = summary_table({**summary, "distance_unit": "mm"})
    assert "hd95 in mm: 4.0" in table and "over the 1 lesion images with a mark" in table
    assert "hd95" not in summarize(CASES)["lesion_only"] and "lesion_detection" not in summarize(CASES)


def test_table_names_its_conventions():
    table = summary_table(summarize([case(10, 0, 0), case(30, 30, 30, group="b")]))
    assert "lesion_only: mean of 2 images" in table
    assert "empty_is_one" not in table  # no image without lesion: the same number
    assert "| dice | 75.0 [50.0, 100.0] | 75.0 | 57.1 [50.0, 100.0] |" in table
    assert "| precision | 100.0 [100.0, 100.0] (of 1) |" in summary_table(summarize(CASES))
    assert "empty_is_zero: mean of 4 images" in summary_table(summarize(CASES))


def test_table_tells_pixel_accuracy_from_that_of_classes():
    truth, shares = ["a", "a", "a", "b"], [(0.9, 0.1), (0.8, 0.2), (0.3, 0.7), (0.1, 0.9)]
    classes = classification_scores(truth, shares, ["a", "b"])
    table = summary_table({**summarize([case(10, 0, 0), case(30, 30, 30, group="b")]), "classification": classes})
    assert "| pixel accuracy | 84.2 [68.4, 100.0] | 84.2 | 80.0 [68.4, 100.0] |" in table  # 130/190 and 110/110
    assert "Classes of 4 images: accuracy 75.0 [" in table and "balanced accuracy 83.3 [" in table
    assert "macro AUC (one class against the rest) 100.0 [" in table
    lines = [line for line in table.splitlines() if line.startswith(("| a ", "| b ", "| true class"))]
    assert lines == [
        "| true class | precision (%) | sensitivity (%) | specificity (%) | F1 (%) | AUC (%) | taken for a | "
        "taken for b |",
        "| a | 100.0 | 66.7 | 100.0 | 80.0 | 100.0 | 2 (66.7 %) | 1 (33.3 %) |",
        "| b | 50.0 | 100.0 | 66.7 | 66.7 | 100.0 | 0 | 1 (100.0 %) |",
    ]
