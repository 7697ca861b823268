import nibabel
import numpy as np
import pytest
import torch
from hybrid_attention.transforms import MergeMasks, MergeMasksd
from monai.data import MetaTensor

from tests.dicom_files import region, write_dicom

FIRST = np.array([[0, 255, 0], [0, 0, 0]], np.uint8)
SECOND = np.array([[0, 0, 0], [0, 0, 1]], np.uint8)


def test_channels_merge_whatever_their_range():
    merged = MergeMasks()(torch.from_numpy(np.stack([FIRST, SECOND])))
    assert merged.dtype == torch.float32
    np.testing.assert_array_equal(merged[0], [[0, 1, 0], [0, 0, 1]])


def test_grey_edges_count_above_half():
    merged = MergeMasks()(np.array([[[0, 5, 120, 130, 250, 255]]], np.uint8))
    np.testing.assert_array_equal(merged[0], [[0, 0, 0, 1, 1, 1]])


def test_what_is_no_mask_is_refused():
    with pytest.raises(ValueError, match="3 values from 0 to 2"):
        MergeMasks()(np.random.default_rng(0).integers(0, 3, (1, 16, 20)))


def test_empty_mask_stays_empty():
    assert MergeMasks()(np.zeros((1, 4, 4), np.uint8)).sum() == 0


def test_dictionary_form_keeps_metadata_and_other_keys():
    mask = MetaTensor(torch.ones(2, 3, 3), meta={"filename_or_obj": "a.png"})
    result = MergeMasksd(keys="label")({"label": mask, "image": 5})
    assert result["label"].meta["filename_or_obj"] == "a.png"
    assert result["label"].shape == (1, 3, 3)
    assert result["image"] == 5
    assert MergeMasksd(keys="label", allow_missing_keys=True)({"image": 5}) == {"image": 5}


def case(image, mask, path):
    return {"image": MetaTensor(torch.zeros(1, *image), meta={"filename_or_obj": str(path)}), "label": mask}


def test_a_mask_of_the_whole_frame_is_cut_to_the_tissue_of_dicom(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((6, 5), np.uint8), regions=[region(1, 2, 2, 4)])
    frame = torch.zeros(1, 5, 6)
    frame[0, 1, 3] = frame[0, 2, 4] = frame[0, 0, 0] = 255
    result = MergeMasksd(keys="label")(case((2, 3), MetaTensor(frame, meta={"filename_or_obj": "m.png"}), path))
    np.testing.assert_array_equal(result["label"], [[[0, 1, 0], [0, 0, 1]]])
    assert result["label"].meta["filename_or_obj"] == "m.png"
    tissue = torch.tensor([[[0, 1.0, 0], [0, 0, 1]]])
    np.testing.assert_array_equal(MergeMasksd(keys="label")(case((2, 3), tissue, path))["label"], tissue)


def test_a_mask_that_lies_elsewhere_is_refused(tmp_path):
    for name, shift in (("a.nii", 0.0), ("b.nii", 1.0)):
        affine = np.diag([-0.1, -0.1, 1, 1])
        affine[0, 3] = shift
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 3), np.uint8), affine), tmp_path / name)
    own, other = (
        MetaTensor(torch.ones(1, 4, 3), meta={"filename_or_obj": tmp_path / name}) for name in ("a.nii", "b.nii")
    )
    assert MergeMasksd(keys="label")(case((4, 3), own, tmp_path / "a.nii"))["label"].sum() == 12
    with pytest.raises(ValueError, match=r"b\.nii: its affine .*, 1\.0\].* of the image .*a\.nii"):
        MergeMasksd(keys="label")(case((4, 3), other, tmp_path / "a.nii"))


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"a\.png is of size \(4, 3\), but its mask of \(3, 4\)"):
        MergeMasksd(keys="label")(case((4, 3), torch.ones(1, 3, 4), "a.png"))
