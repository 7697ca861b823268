import math

import pytest

from tests.scripts import load_script

emptied_rows = load_script("normal_table").emptied_rows


def row(normal, tp, fp, fn, tn):
    return {
        "case_id": "a",
        "probability_normal": normal,
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "dice": 2 * tp / (2 * tp + fp + fn),
        "hd95": 3.0,
        "lesions": 1,
        "detected_lesions": 1,
        "false_lesions": 2,
    }


def test_a_normal_image_gets_an_empty_mask():
    kept, emptied = emptied_rows([row(0.49, 5, 1, 2, 8), row(0.5, 5, 1, 2, 8)], 0.5)
    assert kept == row(0.49, 5, 1, 2, 8)
    assert [emptied[name] for name in ("tp", "fp", "fn", "tn")] == [0, 0, 7, 9]
    assert emptied["dice"] == 0
    assert math.isnan(emptied["hd95"])
    assert (emptied["lesions"], emptied["detected_lesions"], emptied["false_lesions"]) == (1, 0, 0)


def test_without_lesion_nothing_marked_has_no_dice():
    (emptied,) = emptied_rows([row(0.9, 0, 4, 0, 12)], 0.5)
    assert (emptied["fp"], emptied["tn"]) == (0, 16)
    assert math.isnan(emptied["dice"])


def test_without_class_head():
    with pytest.raises(ValueError, match="no column probability_normal"):
        emptied_rows([{"tp": 1}], 0.5)
