import math

import numpy as np
import pytest
import torch
from hybrid_attention.prediction.measurements import measure_lesion
from scipy.special import ellipe

from tests.prediction.masks import box

SHAPES = (
    "long_axis short_axis long_axis_angle lesion_width lesion_height width_to_height perimeter circularity "
    "equivalent_diameter ellipse_overlap margin_roughness computed_orientation computed_shape"
).split()
ECHOES = ["echo_ratio", "posterior_echo_ratio"]


def ellipse(long, short, degrees, spacing=(1.0, 1.0), size=300):
    """A disc of half axes `long` and `short`, the long one at an angle to the skin; lengths as the spacing's."""
    rows, columns = (
        (places - size / 2 + 0.3) * step for places, step in zip(np.mgrid[:size, :size], spacing, strict=True)
    )
    turn = math.radians(degrees)
    along, beside = columns * math.cos(turn) + rows * math.sin(turn), rows * math.cos(turn) - columns * math.sin(turn)
    return (along / long) ** 2 + (beside / short) ** 2 <= 1


@pytest.mark.parametrize(
    ("long", "short", "degrees", "spacing"),
    [
        *[(radius, radius, 0, (1, 1)) for radius in (10, 20.5, 50)],
        *[(6, 3, 30, (0.1, 0.1)), (6, 3, 150, (0.1, 0.1)), (6, 3, 30, (0.1, 0.05))],
        *[(6, 3, 60, (0.05, 0.15)), (6, 3, 0, (0.05, 0.2)), (6, 3, 90, (0.05, 0.2))],
    ],
)
def test_ellipses(long, short, degrees, spacing):
    found = measure_lesion(ellipse(long, short, degrees, spacing), spacing)
    area, outline = math.pi * long * short, 4 * long * ellipe(1 - (short / long) ** 2)
    assert found["largest_area"] == found["total_area"] == pytest.approx(area, rel=0.01)
    assert found["equivalent_diameter"] == pytest.approx(2 * math.sqrt(long * short), rel=0.01)
    assert (found["long_axis"], found["short_axis"]) == pytest.approx((2 * long, 2 * short), abs=max(spacing))
    assert found["perimeter"] == pytest.approx(outline, rel=0.01)
    assert (
        found["circularity"] == pytest.approx(4 * math.pi * area / outline**2, rel=0.02) and found["circularity"] <= 1
    )
    assert found["ellipse_overlap"] == pytest.approx(1, abs=0.02)
    assert found["margin_roughness"] == pytest.approx(1, abs=0.01)
    assert found["computed_shape"] == ("round" if long == short else "oval")
    turn = math.radians(degrees)
    width = 2 * math.hypot(long * math.cos(turn), short * math.sin(turn))
    height = 2 * math.hypot(long * math.sin(turn), short * math.cos(turn))
    assert found["lesion_width"] == pytest.approx(width, abs=2 * spacing[1])
    assert found["lesion_height"] == pytest.approx(height, abs=2 * spacing[0])
    assert found["width_to_height"] == pytest.approx(width / height, rel=0.04)
    if long > short:
        assert found["long_axis_angle"] == pytest.approx(min(degrees, 180 - degrees), abs=1)
        assert found["computed_orientation"] == ("parallel" if width > height else "not parallel")


def test_rectangles():
    found = measure_lesion(box(40, 10))
    names = ("unit", "lesion_width", "lesion_height", "width_to_height", "short_axis", "computed_orientation")
    assert [found[name] for name in names] == ["pixel", 40, 10, 4, 10, "parallel"]
    assert found["long_axis"] == pytest.approx(math.hypot(40, 10), abs=0.5)  # the diagonal
    assert found["long_axis_angle"] == 0
    assert found["perimeter"] == pytest.approx(100, rel=0.04)
    assert found["equivalent_diameter"] == pytest.approx(math.sqrt(4 * 400 / math.pi), abs=1e-4)
    assert measure_lesion(np.ones((10, 40))) == measure_lesion(box(40, 10))  # also at the border of the image
    # 20 pixels of 0.1 mm across and 15 of 0.2 mm into depth: 2 by 3 mm
    tall = measure_lesion(box(20, 15), (0.2, 0.1))
    assert [tall[name] for name in (*names, "largest_area")] == ["mm", 2, 3, 0.6667, 2, "not parallel", 6]
    assert tall["long_axis_angle"] == 90
    assert measure_lesion(box(20, 20))["computed_orientation"] == "parallel"


def test_shapes_from_outlines_in_polar_form():
    """r = R (1 + a cos(n t)): the area between it and the circle is 4 a R^2, half of it outside the circle."""
    rows, columns = np.mgrid[:400, :400] - 200.3
    turn, radius = np.arctan2(rows, columns), np.hypot(rows, columns)

    def measured(depth, waves, stretch=1.0):
        return measure_lesion(radius <= 90 * (1 + depth * np.cos(waves * turn)), (1, stretch))

    def perimeter(depth, waves):
        angles = np.linspace(0, 2 * math.pi, 20001)
        edge = 90 * (1 + depth * np.cos(waves * angles))
        return np.hypot(np.diff(edge * np.cos(angles)), np.diff(edge * np.sin(angles))).sum()

    gentle, spiky = measured(0.1, 3), measured(0.3, 12)
    assert gentle["ellipse_overlap"] == pytest.approx((math.pi - 0.2) / (math.pi + 0.2), abs=0.01)
    assert gentle["computed_shape"] == "round"
    assert measured(0.1, 3, 1.5)["computed_shape"] == "oval"
    assert measured(0.2, 3)["computed_shape"] == spiky["computed_shape"] == "irregular"
    serrated = measured(0.1, 12)  # as close to a circle as the gentle one, but rough
    assert serrated["ellipse_overlap"] == pytest.approx(gentle["ellipse_overlap"], abs=0.01)
    assert serrated["margin_roughness"] > 1.1 and serrated["computed_shape"] == "irregular"
    tips = 2 * 12 * 117 * math.sin(math.pi / 12)  # the hull is close to the polygon of the twelve tips
    assert spiky["margin_roughness"] == pytest.approx(perimeter(0.3, 12) / tips, rel=0.02)
    assert gentle["margin_roughness"] == pytest.approx(1, abs=0.01)  # convex: a (n^2 - 1) is below 1


def test_squares_and_crosses_are_irregular():
    """A square of side 1 and its circle of radius 1 / sqrt(3): each side cuts off a segment of 0.0302."""
    square = measure_lesion(box(100, 100, (120, 120)))
    outside = 4 * (math.pi / 6 - math.sqrt(3) / 4) / 3
    circle = math.pi / 3
    assert square["ellipse_overlap"] == pytest.approx((circle - outside) / (1 + outside), abs=0.01)
    assert square["computed_shape"] == "irregular" and square["margin_roughness"] == pytest.approx(1, abs=0.01)
    cross = box(90, 30, (120, 120), 10, 40) | box(30, 90, (120, 120), 40, 10)
    found = measure_lesion(cross)
    assert found["margin_roughness"] == pytest.approx(12 / (4 + 4 * math.sqrt(2)), rel=0.04)
    assert found["computed_shape"] == "irregular"


def test_echo():
    """Tissue of 100, a lesion of 25, 150 below its middle half and 60 below its quarters, which do not count."""
    image = np.full((80, 120), 100, dtype=np.uint8)
    image[0, 0], image[0, 1] = 0, 255  # the range of the grey values
    image[60:70, 50:70], image[60:70, 40:50], image[60:70, 70:80] = 150, 60, 60
    mask = np.zeros(image.shape)
    mask[50:60, 40:80] = 1
    image[mask > 0] = 25
    assert measure_lesion(mask, image=image)["posterior_echo_ratio"] == 1.5
    image[60:70, 40:80] = 100
    for grey in (image, image.astype(np.float32) * 300 + 7):  # also on another grey scale
        assert measure_lesion(mask, image=grey)["echo_ratio"] == pytest.approx(0.25, abs=1e-4)
    assert measure_lesion(mask)["echo_ratio"] is None
    mask[50:60, 82:84], image[50:60, 82:84] = 1, 200  # another lesion, which is excluded from the ring
    assert measure_lesion(mask, image=image)["echo_ratio"] == 0.25


def test_the_ring_is_in_millimetres():
    """Radius 10 mm, ring 5 mm: grey within it, white beyond; pixels of 0.5 by 0.25 mm."""
    spacing = (0.5, 0.25)
    lesion = ellipse(10, 10, 0, spacing)
    image = np.where(lesion, 30.0, np.where(ellipse(15.2, 15.2, 0, spacing), 60.0, 255.0))
    image[0, 0] = 0
    assert measure_lesion(lesion, spacing, image=image)["echo_ratio"] == 0.5


def test_echo_at_borders():
    def echoes(mask, image):
        measures = measure_lesion(mask, image=image)
        return measures["echo_ratio"], measures["posterior_echo_ratio"]

    image = np.full((40, 60), 100, dtype=np.uint8)
    image[0, 0], image[0, 1] = 0, 200
    assert echoes(box(20, 10, top=30), image) == (1, None)  # reaches the lower border
    assert echoes(np.ones((40, 60)), image) == (None, None)
    image[15:25, 5:15] = 50
    assert echoes(box(20, 10, left=0), image)[1] == 0.5
    assert echoes(box(20, 10), box(20, 10) * 90)[0] is None  # in the dark


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
    assert all(found[name] == whole[name] for name in ("perimeter", "circularity", "long_axis"))
    assert found["largest_area"] == hollow.sum() < whole["largest_area"]


def test_one_pixel():
    found = measure_lesion(box(1, 1), (0.25, 0.5))
    assert (found["lesions"], found["largest_area"]) == (1, 0.125)
    assert (found["lesion_width"], found["lesion_height"], found["long_axis"]) == (0.5, 0.25, 0.5)
    assert 0 < found["short_axis"] <= 0.25 and found["circularity"] <= 1 and found["perimeter"] > 0


def test_an_empty_mask():
    found = measure_lesion(torch.zeros(8, 6), (1, 1))
    assert (found["lesions"], found["total_area"], found["largest_area"], found["unit"]) == (0, 0, 0, "mm")
    assert all(found[name] is None for name in (*SHAPES, *ECHOES))
    assert list(found) == list(measure_lesion(box(3, 3)))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 8, 8), {}, r"must be of shape \(H, W\), got \(1, 8, 8\)"),
        ((8, 8), {"spacing": (1, 0)}, r"both positive, got \(1, 0\)"),
        ((8, 8), {"spacing": (1, math.nan)}, "both positive"),
        ((8, 8), {"spacing": (1,)}, r"got \(1,\)"),
        ((8, 6), {"image": np.ones((6, 8))}, r"shape of the mask, \(8, 6\), got \(6, 8\)"),
    ],
)
def test_bad_arguments(shape, options, message):
    with pytest.raises(ValueError, match=message):
        measure_lesion(np.ones(shape), **options)
