from pathlib import Path

import pytest
from hybrid_attention.evaluation import picture_path


@pytest.mark.parametrize(
    ("case_id", "name"),
    [
        ("benign/benign (1).png", "benign/benign (1).png"),
        ("a/b.v2.jpg", "a/b.v2.png"),
        ("a/b.nii.gz", "a/b.png"),
        ("a/loop.dcm#1", "a/loop#1.png"),
        ("a/loop.dcm#12", "a/loop#12.png"),
        ("a/1.2.3", "a/1.2.3.png"),
    ],
)
def test_each_case_and_frame_has_pictures_of_its_own(case_id, name):
    assert picture_path("out", "masks", case_id) == Path("out/masks") / name
