import nibabel
import numpy as np
import pytest
import torch
from hybrid_attention.transforms import (
    ClearMaskIfNormald,
    MergeMasksd,
    MonaiLabelOutputd,
    RemoveSmallMarksd,
    SplitMaskAndClassesd,
)
from monai.data import MetaTensor
from scipy import ndimage

from tests.data.dicom_files import region, write_dicom
from tests.evaluation.drawing import drawn


def merged(masks):
    return MergeMasksd("label")({"label": masks})["label"]


def test_channels_merge_whatever_their_range():
    masks = np.array([[[0, 255, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]]], np.uint8)
    result = merged(MetaTensor(torch.from_numpy(masks), meta={"filename_or_obj": "a.png"}))
    assert result.dtype == torch.float32 and result.meta["filename_or_obj"] == "a.png"
    np.testing.assert_array_equal(result[0], [[0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(merged(np.array([[[0, 5, 120, 130, 250, 255]]], np.uint8))[0], [[0, 0, 0, 1, 1, 1]])
    with pytest.raises(ValueError, match="3 values from 0 to 2"):
        merged(np.array([[[0, 1, 2]]]))


def fitted(image, mask, path):
    image = MetaTensor(torch.zeros(1, *image), meta={"filename_or_obj": str(path)})
    return MergeMasksd("label")({"image": image, "label": mask})["label"]


def test_a_mask_of_the_whole_frame_is_cut_to_the_tissue_of_dicom(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((6, 5), np.uint8), regions=[region(1, 2, 2, 4)])
    frame = torch.zeros(1, 6, 5)
    frame[0, 3, 1] = frame[0, 4, 2] = frame[0, 0, 0] = 255
    result = fitted((3, 2), MetaTensor(frame, meta={"filename_or_obj": "m.png"}), path)
    np.testing.assert_array_equal(result, [[[0, 0], [1, 0], [0, 1]]])
    assert result.meta["filename_or_obj"] == "m.png"
    np.testing.assert_array_equal(fitted((3, 2), result, path), result)


def test_a_mask_of_another_place_or_size_is_refused(tmp_path):
    masks = []
    for name, shift in (("a.nii", 0.0), ("b.nii", 1.0)):
        affine = np.diag([-0.1, -0.1, 1, 1])
        affine[0, 3] = shift
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 3), np.uint8), affine), tmp_path / name)
        masks.append(MetaTensor(torch.ones(1, 4, 3), meta={"filename_or_obj": tmp_path / name}))
    assert fitted((4, 3), masks[0], tmp_path / "a.nii").sum() == 12
    with pytest.raises(ValueError, match=r"b\.nii: its affine .*, 1\.0\].* of the image .*a\.nii"):
        fitted((4, 3), masks[1], tmp_path / "a.nii")
    with pytest.raises(ValueError, match=r"a\.png: mask of 4x3 pixels for an image of 3x4"):
        fitted((4, 3), torch.ones(1, 3, 4), "a.png")


MASK = """
##....#
##...#.
......#
.#.....
"""


@pytest.mark.parametrize(("min_size", "left"), [(1, [4, 3, 1]), (2, [4, 3]), (4, [4]), (5, [])])
def test_marks_of_fewer_pixels_go(min_size, left):
    """A square of 4, a chain of 3 over corners, a single pixel; the channels are not connected."""
    mask = MetaTensor(drawn(MASK), meta={"filename_or_obj": "a.png"})
    result = RemoveSmallMarksd("pred", min_size)({"pred": torch.cat([mask, mask.flip(2)])})["pred"]
    assert torch.equal(result[0], result[1].flip(1))
    components, count = ndimage.label(result[0], np.ones((3, 3)))
    sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
    assert sorted(sizes, reverse=True) == left
    assert (result[:1] <= mask).all() and result.meta["filename_or_obj"] == "a.png"


NAMES = ["benign", "malignant", "normal"]


def test_from_the_threshold_on_the_mask_is_empty():
    def left(chance, names, threshold):
        case = {"pred": torch.ones(1, 2, 2), "image": torch.ones(1)}
        case["class_probability"] = torch.tensor([(1 - chance) / 2, (1 - chance) / 2, chance])
        result = ClearMaskIfNormald("pred", names, threshold)(case)
        assert result["image"].sum() == 1  # not among the keys
        return float(result["pred"].sum())

    assert [left(chance, NAMES, 0.5) for chance in (0.4, 0.5, 0.9)] == [4, 0, 0]
    assert left(0.9, NAMES[::-1], 0.5) == left(1.0, None, None) == 4
    with pytest.raises(ValueError, match="the classes must include normal, got"):
        ClearMaskIfNormald("pred", ["benign", "malignant"])
    with pytest.raises(ValueError, match=r"must be a probability from 0 to 1, or None, got 1\.5"):
        ClearMaskIfNormald("pred", NAMES, 1.5)


def test_channels_go_their_ways():
    logits = torch.stack([torch.tensor([[1.0, -1.0]]), torch.zeros(1, 2), torch.full((1, 2), torch.tensor(3.0).log())])
    data = {"pred": logits, "other": 1}
    result = SplitMaskAndClassesd("pred")(data)
    assert result["pred"].tolist() == [[[1.0, -1.0]]]
    torch.testing.assert_close(result["class_probability"], torch.tensor([0.25, 0.75]))
    assert result["other"] == 1 and data["pred"] is logits
    with pytest.raises(ValueError, match=r"two classes or more, got shape \(1, 4, 4\): does the network classify"):
        SplitMaskAndClassesd("pred")({"pred": torch.zeros(1, 4, 4)})


ANSWER = MetaTensor(torch.tensor([[0, 0], [1, 0], [0, 1]], dtype=torch.uint8))  # (H, W): 3 deep, 2 across


def answer(path, **request):
    return MonaiLabelOutputd("pred")({"pred": ANSWER, "image": ANSWER, "image_path": str(path), **request})


def test_masks_of_pictures_are_png_and_classes_lie_beside_them():
    result = answer("a.JPEG")
    assert result["result_extension"] == ".png" and "image" not in result
    np.testing.assert_array_equal(result["pred"], ANSWER.T)
    assert answer("a.JPEG", result_extension=".nrrd")["result_extension"] == ".nrrd"
    data = {"pred": ANSWER, "class_probability": torch.tensor([0.25, 0.75])}
    place = MonaiLabelOutputd("pred", class_names=["benign", "malignant"])
    assert place(data) == data  # without a server
    assert place(data | {"image_path": "a.png"})["result"] == {"classification": {"benign": 0.25, "malignant": 0.75}}


def test_the_mask_of_dicom_has_the_size_of_the_frame(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((6, 5), np.uint8), regions=[region(1, 2, 2, 4)])
    result = answer(path)
    assert result["result_extension"] == ".png" and result["pred"].shape == (5, 6)
    np.testing.assert_array_equal(np.argwhere(result["pred"]), [(1, 3), (2, 4)])
    assert "image" not in result and result["image_meta_dict"] == {"original_affine": None}


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "RGB"])
def test_as_a_volume_the_mask_of_dicom_has_its_geometry(tmp_path, photometric):
    pixels = np.zeros((3, 2) if photometric == "MONOCHROME2" else (3, 2, 3), np.uint8)
    path = write_dicom(tmp_path / "a.dcm", pixels, photometric, PixelSpacing=[0.3, 0.2])
    result = answer(path, result_extension=".nrrd")
    np.testing.assert_array_equal(result["pred"][..., 0], ANSWER.T)
    # width and height of a pixel; x and y point the other way in MONAI's convention, which is NIfTI's
    np.testing.assert_allclose(result["image_meta_dict"]["original_affine"], np.diag([-0.2, -0.3, 1, 1]))


@pytest.mark.parametrize("shape", [(2, 3, 1), (2, 3, 1, 1, 3)])
def test_masks_of_nifti_are_nifti_in_the_same_place(tmp_path, shape):
    affine = np.array([[-0.5, 0, 0, 7], [0, 0.25, 0, -3], [0, 0, 2, 5], [0, 0, 0, 1.0]])  # its rows run upwards
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), affine), path)
    result = answer(path)
    assert result["result_extension"] == ".nii.gz"
    np.testing.assert_array_equal(result["pred"], np.asarray(ANSWER).T[:, ::-1, None])
    np.testing.assert_allclose(result["image_meta_dict"]["original_affine"], affine, atol=1e-5)
