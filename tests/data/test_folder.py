from pathlib import Path

import pytest
from hybrid_attention.data.folder import result_path


@pytest.mark.parametrize(
    ("case_id", "expected"),
    [
        ("a/b.png", "out/a/b_mask.png"),
        ("b.v2.nii.gz", "out/b.v2_mask.png"),
        ("a/b.dcm#3", "out/a/b#3_mask.png"),
        ("1.2.3", "out/1.2.3_mask.png"),
    ],
)
def test_the_name_of_a_result_is_that_of_its_image(case_id, expected):
    assert result_path("out", case_id, "mask") == Path(expected)
    assert result_path(Path("out"), case_id, "mask", ".nii.gz") == Path(expected.replace(".png", ".nii.gz"))
