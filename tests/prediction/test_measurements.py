import math

import numpy as np
import pytest
import torch
from hybrid_attention.prediction.measurements import measure_lesion
from scipy.special import ellipe

SHAPES = (
    "long_axis short_axis long_axis_angle lesion_width lesion_height width_to_height orientation perimeter circularity "
    "equivalent_diameter"
).split()


def ellipse(long, short, degrees, spacing=(1.0, 1.0), size=300):
    """A disc of half axes `long` and `short`, the long one at an angle to the skin; lengths as the spacing's."""
    rows, columns = (
        (places - size / 2 + 0.3) * step for places, step in zip(np.mgrid[:size, :size], spacing, strict=True)
    )
    turn = math.radians(degrees)
    along, beside = columns * math.cos(turn) + rows * math.sin(turn), rows * math.cos(turn) - columns * math.sin(turn)
    return (along / long) ** 2 + (beside / short) ** 2 <= 1


def box(width, height, shape=(40, 60), left=10, top=5):
    mask = np.zeros(shape, dtype=np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


@pytest.mark.parametrize("radius", [10, 20.5, 50])
def test_discs(radius):
    found = measure_lesion(ellipse(radius, radius, 0))
    assert found["perimeter"] == pytest.approx(2 * math.pi * radius, rel=0.01)
    assert found["largest_area"] == found["total_area"] == pytest.approx(math.pi * radius**2, rel=0.02)
    assert found["circularity"] == pytest.approx(1, abs=0.02) and found["circularity"] <= 1
    assert found["long_axis"] == pytest.approx(2 * radius, abs=1)
    assert found["short_axis"] == pytest.approx(2 * radius, abs=1)
    assert found["equivalent_diameter"] == pytest.approx(2 * radius, rel=0.01)
    assert found["unit"] == "pixel"


@pytest.mark.parametrize(
    ("degrees", "spacing"),
    [(30, (0.1, 0.1)), (150, (0.1, 0.1)), (30, (0.1, 0.05)), (60, (0.05, 0.15)), (0, (0.05, 0.2)), (90, (0.05, 0.2))],
)
def test_turned_ellipses_in_millimetres(degrees, spacing):
    found = measure_lesion(ellipse(6, 3, degrees, spacing), spacing)
    outline = 4 * 6 * ellipe(1 - (3 / 6) ** 2)
    assert found["unit"] == "mm"
    assert found["largest_area"] == pytest.approx(math.pi * 6 * 3, rel=0.01)
    assert (found["long_axis"], found["short_axis"]) == pytest.approx((12, 6), abs=max(spacing))
    assert found["long_axis_angle"] == pytest.approx(min(degrees, 180 - degrees), abs=1)
    assert found["perimeter"] == pytest.approx(outline, rel=0.01)
    assert found["circularity"] == pytest.approx(4 * math.pi * math.pi * 18 / outline**2, rel=0.02)
    turn = math.radians(degrees)
    width = 2 * math.hypot(6 * math.cos(turn), 3 * math.sin(turn))
    height = 2 * math.hypot(6 * math.sin(turn), 3 * math.cos(turn))
    assert found["lesion_width"] == pytest.approx(width, abs=2 * spacing[1])
    assert found["lesion_height"] == pytest.approx(height, abs=2 * spacing[0])
    assert found["width_to_height"] == pytest.approx(width / height, rel=0.04)
    assert found["orientation"] == ("parallel" if width > height else "not parallel")


def test_rectangles():
    found = measure_lesion(box(40, 10))
    assert (found["lesion_width"], found["lesion_height"], found["width_to_height"]) == (40, 10, 4)
    assert (found["short_axis"], found["orientation"]) == (10, "parallel")
    assert found["long_axis"] == pytest.approx(math.hypot(40, 10), abs=0.5)  # the diagonal
    assert found["long_axis_angle"] == 0
    assert found["perimeter"] == pytest.approx(100, rel=0.04)
    assert found["equivalent_diameter"] == pytest.approx(math.sqrt(4 * 400 / math.pi), abs=1e-4)
    tall = measure_lesion(box(10, 30))
    assert (tall["width_to_height"], tall["orientation"], tall["long_axis_angle"]) == (0.3333, "not parallel", 90)
    assert measure_lesion(box(20, 20))["orientation"] == "parallel"


def test_pixels_that_are_not_square_turn_a_lesion():
    # 20 pixels of 0.1 mm across and 15 of 0.2 mm into depth: 2 by 3 mm
    found = measure_lesion(box(20, 15), (0.2, 0.1))
    assert (found["lesion_width"], found["lesion_height"], found["largest_area"]) == (2, 3, 6)
    assert found["orientation"] == "not parallel"
    assert measure_lesion(box(20, 15))["orientation"] == "parallel"


def test_the_largest_of_several():
    mask = box(20, 10)
    mask[30:34, 40:42] = 1
    mask[34, 42] = 1  # touches over a corner
    found, alone = measure_lesion(mask), measure_lesion(box(20, 10))
    assert (found["lesions"], found["total_area"], found["largest_area"]) == (2, 209, 200)
    assert {name: found[name] for name in SHAPES} == {name: alone[name] for name in SHAPES}


def test_holes_are_no_outline():
    mask = ellipse(40, 40, 0)
    hollow = mask & ~ellipse(20, 20, 0)
    found, whole = measure_lesion(hollow), measure_lesion(mask)
    for name in ("perimeter", "circularity", "long_axis"):
        assert found[name] == whole[name]
    assert found["largest_area"] == hollow.sum() < whole["largest_area"]


def test_a_mask_at_the_border_is_measured_as_inside():
    inside, whole = measure_lesion(box(20, 10)), measure_lesion(np.ones((10, 20)))
    assert inside == whole


def test_one_pixel():
    found = measure_lesion(box(1, 1), (0.25, 0.5))
    assert (found["lesions"], found["largest_area"]) == (1, 0.125)
    assert (found["lesion_width"], found["lesion_height"], found["long_axis"]) == (0.5, 0.25, 0.5)
    assert 0 < found["short_axis"] <= 0.25 and found["circularity"] <= 1 and found["perimeter"] > 0


def test_nothing_marked():
    found = measure_lesion(torch.zeros(8, 6), (1, 1))
    assert (found["lesions"], found["total_area"], found["largest_area"], found["unit"]) == (0, 0, 0, "mm")
    assert all(found[name] is None for name in SHAPES)
    assert list(found) == list(measure_lesion(box(3, 3)))


@pytest.mark.parametrize(
    ("mask", "spacing", "message"),
    [
        (np.ones((1, 8, 8)), None, r"must be of shape \(H, W\), got \(1, 8, 8\)"),
        (np.ones((8, 8)), (1, 0), r"both positive, got \(1, 0\)"),
        (np.ones((8, 8)), (1, math.nan), "both positive"),
        (np.ones((8, 8)), (1,), r"got \(1,\)"),
    ],
)
def test_bad_arguments(mask, spacing, message):
    with pytest.raises(ValueError, match=message):
        measure_lesion(mask, spacing)
