import nibabel
import numpy as np
import pytest
import torch
from hybrid_attention.transforms import MonaiLabelOutputd
from monai.data import MetaTensor

from tests.dicom_files import region, write_dicom

MASK = MetaTensor(torch.tensor([[0, 1, 0], [0, 0, 1]], dtype=torch.uint8))  # (W, H): 2 across, 3 deep


def answer(path, **request):
    return MonaiLabelOutputd("pred")({"pred": MASK, "image": MASK, "image_path": str(path), **request})


def test_without_a_server_nothing_changes():
    data = {"pred": MASK, "image": MASK, "class_probability": torch.tensor([0.25, 0.75])}
    assert MonaiLabelOutputd("pred", class_names=["a", "b"])(data) == data


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.bmp"])
def test_masks_of_pictures_are_png(name):
    result = answer(name)
    assert result["result_extension"] == ".png"
    assert result["pred"] is MASK and result["image"] is MASK


def test_the_client_chooses_the_format():
    assert answer("a.jpg", result_extension=".nrrd")["result_extension"] == ".nrrd"
    assert answer("a.jpg", result_extension=".nrrd")["pred"].shape == (2, 3)


def test_probabilities_of_classes_go_into_the_answer():
    data = {"pred": MASK, "image_path": "a.png", "class_probability": torch.tensor([0.25, 0.75])}
    result = MonaiLabelOutputd("pred", class_names=["benign", "malignant"])(data)
    assert result["result"] == {"classification": {"benign": 0.25, "malignant": 0.75}}
    with pytest.raises(ValueError, match="shorter"):
        MonaiLabelOutputd("pred", class_names=["benign", "malignant", "normal"])(data)


def test_the_mask_of_dicom_has_the_size_of_the_frame(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((6, 5), np.uint8), regions=[region(1, 2, 2, 4)])
    result = answer(path)
    assert result["result_extension"] == ".png"
    expected = np.zeros((5, 6))
    expected[1, 3] = expected[2, 4] = 1
    np.testing.assert_array_equal(result["pred"], expected)
    assert "image" not in result and result["image_meta_dict"] == {"original_affine": None}


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "RGB"])
def test_as_a_volume_the_mask_of_dicom_has_its_geometry(tmp_path, photometric):
    pixels = np.zeros((3, 2) if photometric == "MONOCHROME2" else (3, 2, 3), np.uint8)
    path = write_dicom(tmp_path / "a.dcm", pixels, photometric, PixelSpacing=[0.3, 0.2])
    result = answer(path, result_extension=".nrrd")
    np.testing.assert_array_equal(result["pred"][..., 0], MASK)
    # width and height of a pixel; x and y point the other way in MONAI's convention, which is NIfTI's
    np.testing.assert_allclose(result["image_meta_dict"]["original_affine"], np.diag([-0.2, -0.3, 1, 1]))


@pytest.mark.parametrize("shape", [(2, 3, 1), (2, 3, 1, 1, 3)])
def test_masks_of_nifti_are_nifti_in_the_same_place(tmp_path, shape):
    affine = np.array([[-0.5, 0, 0, 7], [0, 0.25, 0, -3], [0, 0, 2, 5], [0, 0, 0, 1.0]])  # its rows run upwards
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), affine), path)
    result = answer(path)
    assert result["result_extension"] == ".nii.gz"
    np.testing.assert_array_equal(result["pred"], np.asarray(MASK)[:, ::-1, None])
    np.testing.assert_allclose(result["image_meta_dict"]["original_affine"], affine, atol=1e-5)
