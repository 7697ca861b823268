import numpy as np
import pytest
import torch
from hybrid_attention.evaluation.case_scores import at_original_size
from PIL import Image

from tests.data.dicom_files import region, write_dicom


def write(path, array):
    """An array of (H, W) as a picture."""
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)
    return str(path)


def test_truth_is_the_files_and_the_probability_is_enlarged_before_the_threshold(tmp_path):
    one, other = np.zeros((8, 4)), np.zeros((8, 4))
    one[0, 0], other[7, 3] = 255, 255
    case = {
        "image": write(tmp_path / "a.png", np.arange(32).reshape(8, 4)),
        "label": [write(tmp_path / "a_mask.png", one), write(tmp_path / "a_mask_1.png", other)],
    }
    probability = torch.tensor([[[0.0], [1.0]]])  # (1, 2, 1): rises along the first axis
    planes = at_original_size(case, probability, 0.25)
    assert planes.image.shape == planes.prediction.shape == planes.target.shape == (1, 8, 4)
    assert planes.image.flatten().tolist() == list(range(32))
    assert planes.target.nonzero().tolist() == [[0, 0, 0], [0, 7, 3]]
    # halfway between the two pixels' centres, 2 and 6 of 8, the probability is a half
    expected = torch.tensor([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    torch.testing.assert_close(planes.probability[0, :, 0], expected)
    assert planes.prediction[0, :, 2].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_an_image_without_mask_file_has_no_lesion(tmp_path):
    case = {"image": write(tmp_path / "n.png", np.eye(3, 5)), "label": []}
    assert at_original_size(case, torch.ones(1, 2, 2), 0.5).target.sum() == 0


def test_a_mask_of_a_whole_dicom_frame_is_cut_to_the_tissue(tmp_path):
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    place = [region(1, 2, 2, 4)]  # two columns and three rows of five and six
    frames = np.arange(60, dtype=np.uint8).reshape(2, 6, 5)
    loop = write_dicom(tmp_path / "a.dcm", frames, NumberOfFrames=2, regions=place)
    frame = np.zeros((6, 5))
    frame[3, 1] = frame[4, 2] = frame[0, 0] = 255
    tissue = np.zeros((3, 2))
    tissue[0, 0] = 255
    case = {
        "image": f"{loop}#2",
        "label": [write(tmp_path / "a#2_mask.png", frame), write(tmp_path / "a#2_mask_1.png", tissue)],
    }
    planes = at_original_size(case, torch.zeros(1, 2, 2), 0.5)
    assert planes.image.tolist() == [frames[1, 2:5, 1:3].tolist()]
    assert planes.target.tolist() == [[[1, 0], [1, 0], [0, 1]]]
