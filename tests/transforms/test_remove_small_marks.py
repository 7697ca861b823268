import numpy as np
import pytest
import torch
from hybrid_attention.transforms import RemoveSmallMarks, RemoveSmallMarksd
from monai.data import MetaTensor

from tests.evaluation.drawing import drawn

MASK = """
##....#
##...#.
......#
.#.....
"""
WITHOUT_ONE = """
##....#
##...#.
......#
.......
"""
SQUARE_ALONE = """
##.....
##.....
.......
.......
"""


@pytest.mark.parametrize(
    ("min_size", "left"), [(0, MASK), (1, MASK), (2, WITHOUT_ONE), (3, WITHOUT_ONE), (4, SQUARE_ALONE)]
)
def test_marks_of_fewer_pixels_go(min_size, left):
    """A square of 4, a chain of 3 over corners, a single pixel."""
    assert torch.equal(RemoveSmallMarks(min_size)(drawn(MASK)), drawn(left))


def test_everything_may_go():
    assert RemoveSmallMarks(5)(drawn(MASK)).sum() == 0
    assert RemoveSmallMarks(5)(torch.zeros(1, 3, 3)).sum() == 0


def test_channels_do_not_hold_each_other_up():
    mask = torch.zeros(2, 2, 3)
    mask[:, 0, 0] = 1
    mask[1, 0, 1] = 1
    expected = mask.clone()
    expected[0] = 0
    assert torch.equal(RemoveSmallMarks(2)(mask), expected)


def test_volumes_touch_through_slices():
    volume = np.zeros((1, 3, 3, 3), np.uint8)
    volume[0, [0, 1, 2], [0, 1, 2], [0, 1, 2]] = 1
    kept = RemoveSmallMarks(3)(volume)
    assert kept.dtype == np.uint8 and kept.sum() == 3
    assert RemoveSmallMarks(4)(volume).sum() == 0


def test_dictionary_form_keeps_metadata_and_input():
    mask = MetaTensor(drawn(MASK), meta={"filename_or_obj": "a.png"})
    result = RemoveSmallMarksd("pred", min_size=4)({"pred": mask, "image": 5})
    assert result["pred"].meta["filename_or_obj"] == "a.png"
    assert (result["pred"].sum(), mask.sum(), result["image"]) == (4, 8, 5)
    assert RemoveSmallMarksd("pred", 4, allow_missing_keys=True)({"image": 5}) == {"image": 5}


@pytest.mark.parametrize("min_size", [-1, 2.5, True, "3", None])
def test_sizes_that_are_none(min_size):
    with pytest.raises(ValueError, match=f"a whole number from 0 on, got {min_size!r}"):
        RemoveSmallMarks(min_size)
