import numpy as np
import pytest
import torch
from hybrid_attention.explain import draw_uncertainty, heat_overlay, write_uncertainty_pictures
from hybrid_attention.explain.uncertainty_pictures import MASK, TRUTH
from PIL import Image

from tests.evaluation.predicted import found


@pytest.fixture
def square():
    """A true square of 8 x 8 in a plane of 40 x 30, marked two pixels further to the right."""
    truth = torch.zeros(40, 30)
    truth[10:18, 5:13] = 1
    return truth, truth.roll(2, 0)


def where(picture, colour):
    """Columns and rows that hold a colour, in pixels of the plane."""
    rows, columns = np.nonzero((picture == np.array(colour)).all(-1))
    return (columns.min() // 9, columns.max() // 9), (rows.min() // 9, rows.max() // 9)


def test_outlines_lie_where_mask_and_truth_are(square):
    truth, mask = square
    picture = draw_uncertainty(torch.rand(40, 30), mask, truth, torch.zeros(40, 30))
    below = picture[-30 * 9 :, : 40 * 9]  # enlarged nine times, to 256 pixels and more
    assert where(below, MASK) == ((12, 19), (5, 12))
    assert where(below, TRUTH)[0] == (10, 17)
    inside = below[9 * 9 : 9 * 10, 9 * 14 : 9 * 15]
    assert (inside[..., 0] == inside[..., 1]).all()  # only the outline is drawn


def test_heat_is_the_entropy_and_the_disagreement(square):
    truth, mask = square
    image, entropy = torch.zeros(40, 30), torch.zeros(40, 30)
    entropy[0, 0] = 1
    alone = draw_uncertainty(image, mask, truth, entropy)
    both = draw_uncertainty(image, mask, truth, entropy, 1 - entropy)
    assert both.shape[1] > alone.shape[1] and both.shape[0] == alone.shape[0]
    heat = heat_overlay(np.kron(image, np.ones((9, 9))), np.kron(entropy, np.ones((9, 9))))
    np.testing.assert_array_equal(alone[-270:, 364 : 364 + heat.shape[1]], heat)


def test_large_images_are_not_enlarged(square):
    plane = torch.zeros(300, 260)
    assert draw_uncertainty(plane, plane, plane, plane).shape[0] in range(261, 320)


def test_shapes_must_agree(square):
    truth, mask = square
    with pytest.raises(ValueError, match="2D arrays of one shape"):
        draw_uncertainty(torch.rand(40, 31), mask, truth, truth)
    with pytest.raises(ValueError, match="2D arrays of one shape"):
        draw_uncertainty(mask, mask, truth, truth, torch.zeros(2, 2))


def test_a_picture_for_each_case(tmp_path):
    result = found(cases=3)
    assert write_uncertainty_pictures(result, tmp_path) == 3
    paths = sorted((tmp_path / "uncertainty" / "benign").iterdir())
    assert [path.name for path in paths] == [f"benign ({case}).png" for case in range(3)]
    sizes = set()
    for path in paths:
        with Image.open(path) as picture:
            sizes.add(picture.size)
    assert len(sizes) == 1 and sizes.pop()[0] > 3 * 256
    with Image.open(paths[0]) as drawn, Image.open(paths[2]) as nothing:  # the last case is not marked
        assert (np.asarray(drawn) == np.array(MASK)).all(-1).any()
        assert not (np.asarray(nothing) == np.array(MASK)).all(-1).any()
