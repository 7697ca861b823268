import numpy as np
import torch
from monai.data import MetaTensor

from hybrid_attention.transforms import MergeMasks, MergeMasksd

FIRST = np.array([[0, 255, 0], [0, 0, 0]], np.uint8)
SECOND = np.array([[0, 0, 0], [0, 0, 1]], np.uint8)


def test_channels_merge_whatever_their_range():
    merged = MergeMasks()(torch.from_numpy(np.stack([FIRST, SECOND])))
    assert merged.dtype == torch.float32
    np.testing.assert_array_equal(merged[0], [[0, 1, 0], [0, 0, 1]])


def test_grey_edges_count_above_half():
    merged = MergeMasks()(np.array([[[10, 120, 130, 255]]], np.uint8))
    np.testing.assert_array_equal(merged[0], [[0, 0, 1, 1]])


def test_empty_mask_stays_empty():
    assert MergeMasks()(np.zeros((1, 4, 4), np.uint8)).sum() == 0


def test_dictionary_form_keeps_metadata_and_other_keys():
    mask = MetaTensor(torch.ones(2, 3, 3), meta={"filename_or_obj": "a.png"})
    result = MergeMasksd(keys="label")({"label": mask, "image": 5})
    assert result["label"].meta["filename_or_obj"] == "a.png"
    assert result["label"].shape == (1, 3, 3)
    assert result["image"] == 5
    assert MergeMasksd(keys="label", allow_missing_keys=True)({"image": 5}) == {"image": 5}
