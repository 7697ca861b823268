import numpy as np
import torch
from hybrid_attention.evaluation.case_scores import at_original_size
from PIL import Image


def test_truth_is_the_files_and_the_probability_is_enlarged_before_the_threshold(tmp_path):
    planes = np.zeros((3, 8, 4), np.uint8)
    planes[0], planes[1, 0, 0], planes[2, 7, 3] = np.arange(32).reshape(8, 4), 255, 255
    paths = [str(tmp_path / name) for name in ("a.png", "a_mask.png", "a_mask_1.png")]
    for path, plane in zip(paths, planes, strict=True):
        Image.fromarray(plane).save(path)
    probability = torch.tensor([[[0.0], [1.0]]])  # (1, 2, 1): rises along the first axis
    found = at_original_size({"image": paths[0], "label": paths[1:]}, probability, 0.25)
    assert found.image.shape == found.prediction.shape == found.target.shape == (1, 8, 4)
    assert found.image.flatten().tolist() == list(range(32))
    assert found.target.nonzero().tolist() == [[0, 0, 0], [0, 7, 3]]
    # halfway between the two pixels' centres, 2 and 6 of 8, the probability is a half
    torch.testing.assert_close(found.probability[0, :, 0], torch.tensor([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]))
    assert found.prediction[0, :, 2].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    # an image without mask file has no lesion
    assert at_original_size({"image": paths[0], "label": []}, probability, 0.5).target.sum() == 0
