import math

import pytest
import torch
from hybrid_attention.evaluation import confusion_counts, lesion_detection, overlap_scores, surface_distances

from tests.evaluation.drawing import drawn

TRUTH = drawn(".##.. .##.. .##.. .....")
PREDICTION = drawn("..##. ..##. ..... .....")


def scores(prediction, target):
    return overlap_scores(confusion_counts(prediction, target))


def test_overlap_from_geometry():
    assert confusion_counts(PREDICTION, TRUTH) == {"tp": 2, "fp": 2, "fn": 4, "tn": 12}
    ratios = {"dice": 4 / 10, "f1": 4 / 10, "jaccard": 2 / 8, "sensitivity": 2 / 6}
    ratios |= {"specificity": 12 / 14, "precision": 2 / 4, "accuracy": 14 / 20}
    assert scores(PREDICTION, TRUTH) == pytest.approx(ratios)
    empty = torch.zeros_like(TRUTH)
    missed, both = scores(empty, TRUTH), scores(empty, empty)
    assert (missed["dice"], missed["jaccard"], missed["sensitivity"], missed["specificity"]) == (0, 0, 0, 1)
    assert all(math.isnan(value) for value in (missed["precision"], both["dice"], both["sensitivity"]))
    assert both["accuracy"] == 1
    large = torch.ones(1, 5000, 5000)  # more pixels than float32 counts one by one
    large[0, 0, 0] = 0
    assert confusion_counts(large, torch.ones(1, 5000, 5000)) == {"tp": 24_999_999, "fp": 0, "fn": 1, "tn": 0}
    for prediction, target in ((torch.zeros(1, 3, 5), TRUTH), (torch.zeros(2, 4, 5), torch.zeros(2, 4, 5))):
        with pytest.raises(ValueError, match=r"one-channel masks of the same shape, got \("):
            confusion_counts(prediction, target)


def box(rows, columns):
    mask = torch.zeros(1, 40, 40)
    mask[0, rows, columns] = 1
    return mask


def test_distances_of_pixels_and_squares():
    pixel, square = box(3, 3), box(slice(5, 15), slice(5, 15))
    assert surface_distances(pixel, box(3, 8)) == {"hd95": 5.0, "asd": 5.0}
    assert surface_distances(pixel, box(6, 7)) == {"hd95": 5.0, "asd": 5.0}  # 3, 4, 5
    assert surface_distances(pixel, box(3, 8), spacing=(7.0, 0.5))["hd95"] == 2.5
    assert surface_distances(pixel, box(8, 3), spacing=(7.0, 0.5))["hd95"] == 35.0
    for pair in ((pixel, 0 * pixel), (0 * pixel, pixel)):
        assert all(math.isnan(value) for value in surface_distances(*pair).values())
    shifted = box(slice(5, 15), slice(7, 17))
    there, back = surface_distances(square, shifted), surface_distances(shifted, square)
    assert there == pytest.approx(back) and there["hd95"] == 2.0 and 0 < there["asd"] < 2
    one_more = surface_distances(square + box(39, 39), square)  # which hardly moves the 95th percentile
    assert one_more["hd95"] == 0.0 < one_more["asd"]
    for spacing in ((1.0,), (1.0, 0.0), (1.0, -1.0)):
        with pytest.raises(ValueError, match="2 positive sizes"):
            surface_distances(square, square, spacing=spacing)


LESIONS = drawn("""
    ###....##
    ###....##
    ###......
    .........
    ....##...
    ....##...
""")
SOME = drawn("##....... ##....... ......... ........# ....#.... .........")  # overlaps of 4/9 and 1/4
BRIDGE, DIAGONAL, NOTHING = torch.zeros_like(LESIONS), torch.eye(3)[None], torch.zeros_like(LESIONS)
BRIDGE[:, :2] = 1


@pytest.mark.parametrize(
    ("prediction", "target", "min_iou", "counts"),
    [
        (LESIONS, LESIONS, 0.1, (3, 3, 0)),
        (SOME, LESIONS, 0.1, (3, 2, 1)),
        (SOME, LESIONS, 4 / 9, (3, 1, 2)),
        (SOME, LESIONS, 0.45, (3, 0, 3)),
        (BRIDGE, LESIONS, 0.1, (3, 1, 0)),  # one component detects one lesion
        (DIAGONAL, DIAGONAL, 0.1, (1, 1, 0)),  # connected across corners
        (NOTHING, LESIONS, 0.1, (3, 0, 0)),
        (LESIONS, NOTHING, 0.1, (0, 0, 3)),
    ],
)
def test_lesions(prediction, target, min_iou, counts):
    names = ("lesions", "detected_lesions", "false_lesions")
    assert lesion_detection(prediction, target, min_iou) == dict(zip(names, counts, strict=True))
