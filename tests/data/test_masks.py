from pathlib import Path

import pytest
from hybrid_attention.data.masks import find_masks, mask_owner


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("benign (4)_mask_1.png", "benign (4)"),
        ("a_mask.nii.gz", "a"),
        ("a.v2_mask_12.NII", "a.v2"),
        ("loop#3_mask.png", "loop#3"),
        ("a.nii.gz", None),
        ("a_masked.png", None),
        ("a_mask_b.png", None),
    ],
)
def test_whose_mask_a_name_is(name, owner):
    assert mask_owner(name) == mask_owner(Path("folder") / name) == owner


@pytest.mark.parametrize(
    ("image", "masks"),
    [
        ("a.png", ["a_mask.png", "a_mask_2.nii.gz", "a_mask_10.jpg"]),
        ("a.nii.gz", ["a_mask.png", "a_mask_2.nii.gz", "a_mask_10.jpg"]),
        ("a.NII", ["a_mask.png", "a_mask_2.nii.gz", "a_mask_10.jpg"]),
        ("a.dcm", ["a_mask.png", "a_mask_2.nii.gz", "a_mask_10.jpg"]),
        ("a.dcm#3", ["a#3_mask.png"]),
        ("a.b.png", ["a.b_mask.bmp"]),
        ("a.nii.png", []),
    ],
)
def test_masks_beside_an_image(tmp_path, image, masks):
    for name in ("a_mask.png", "a_mask_10.jpg", "a_mask_2.nii.gz", "a#3_mask.png", "a.b_mask.bmp", "a_mask.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_masks(tmp_path / image)] == masks
