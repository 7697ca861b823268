import pytest
import torch
from hybrid_attention.evaluation import lesion_detection

from tests.evaluation.drawing import drawn

TRUTH = drawn("""
    ###....##
    ###....##
    ###......
    .........
    ....##...
    ....##...
""")


def counts(lesions, detected, false):
    return {"lesions": lesions, "detected_lesions": detected, "false_lesions": false}


def test_all_found():
    assert lesion_detection(TRUTH, TRUTH) == counts(3, 3, 0)


def test_one_touched_one_missed_one_invented():
    prediction = drawn("""
        ##.......
        ##.......
        .........
        ........#
        ....#....
        .........
    """)
    assert lesion_detection(prediction, TRUTH) == counts(3, 2, 1)  # IoU 4/9 and 1/4
    assert lesion_detection(prediction, TRUTH, min_iou=0.3) == counts(3, 1, 2)
    assert lesion_detection(prediction, TRUTH, min_iou=4 / 9) == counts(3, 1, 2)
    assert lesion_detection(prediction, TRUTH, min_iou=0.45) == counts(3, 0, 3)


def test_one_mark_finds_one_lesion():
    assert lesion_detection(torch.ones_like(TRUTH), TRUTH) == counts(3, 1, 0)  # IoU 9/54 with the largest
    bridge = drawn("""
        #########
        #########
        .........
        .........
        .........
        .........
    """)
    assert lesion_detection(bridge, TRUTH) == counts(3, 1, 0)


def test_corners_connect():
    diagonal = drawn("""
        #..
        .#.
        ..#
    """)
    assert lesion_detection(diagonal, diagonal) == counts(1, 1, 0)


def test_empty():
    nothing = torch.zeros_like(TRUTH)
    assert lesion_detection(nothing, TRUTH) == counts(3, 0, 0)
    assert lesion_detection(TRUTH, nothing) == counts(0, 0, 3)
    assert lesion_detection(nothing, nothing) == counts(0, 0, 0)


@pytest.mark.parametrize("min_iou", [0, -0.1, 1.1])
def test_threshold_out_of_range(min_iou):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        lesion_detection(TRUTH, TRUTH, min_iou)
