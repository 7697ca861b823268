import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hybrid_attention.data import DataError, busi_datalist, image_datalist
from hybrid_attention.data.folders import files_below, find_masks
from hybrid_attention.data.names import is_clutter, is_dicom, mask_owner, natural_order, result_path, strip_suffix

from tests.data.published_sets import mask, picture

CLUTTER = [".ipynb_checkpoints", "@eaDir", "#recycle", "$RECYCLE.BIN", "Thumbs.db", "._a.png", "__MACOSX"]
OWNERS = {"benign (4)_mask_1.png": "benign (4)", "a_mask.nii.gz": "a", "a.v2_mask_12.NII": "a.v2"}
OWNERS |= {"loop#3_mask.png": "loop#3", **dict.fromkeys(("a.nii.gz", "a_masked.png", "a_mask_b.png"))}
RESULTS = {"a/b.png": "a/b", "b.v2.nii.gz": "b.v2", "a/b.DICOM#3": "a/b#3", "1.2.3": "1.2.3"}


def names(root):
    return [path.relative_to(root).as_posix() for path in files_below(root)]


def ids(*arguments, **options):
    return [case["case_id"] for case in image_datalist(*arguments, **options)]


def test_names():
    paths = [Path(name) for name in ("10.png", "5²10.png", "06.png", "5²3.png", "5.png")]
    assert [path.stem for path in sorted(paths, key=natural_order)] == ["5", "5²3", "5²10", "06", "10"]
    for name, owner in OWNERS.items():
        assert mask_owner(name) == mask_owner(Path("folder") / name) == owner
    for case_id, stem in RESULTS.items():
        assert strip_suffix(case_id) == stem
        assert result_path("out", case_id, "mask", ".nii.gz") == Path(f"out/{stem}_mask.nii.gz")
    assert all(map(is_dicom, ("a.dcm", "A.DCM", "a.dicom", "a.IMA", "folder/a.dcm#3")))
    assert not any(map(is_dicom, ("a.png", "a.dcm.txt", "DICOMDIR")))


def test_clutter(tmp_path):
    for name in CLUTTER:
        picture(tmp_path / name / "a.png")
        assert is_clutter(name) and names(tmp_path / name) == ["a.png"]  # the folder itself may have any name
    (tmp_path / "b.png").touch()
    assert names(tmp_path) == ["b.png"] and names(tmp_path / "none") == []
    assert not any(map(is_clutter, ("a.png", "recycle", "#7", "@home", "study#7")))


def test_linked_folders_are_followed_once_and_loops_end(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    for folder in (root / "z", other / "deep"):
        folder.mkdir(parents=True)
    for file in (root / "z" / "a.png", other / "b.png", other / "deep" / "c.png", tmp_path / "outside.png"):
        file.touch()
    (root / "linked").symlink_to(other)
    (root / "again").symlink_to(root / "z")  # by a name that sorts before the folder's own
    (root / "z" / "up").symlink_to(root)
    (root / "z" / "above").symlink_to(tmp_path)
    (other / "deep" / "loop").symlink_to(other)
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert names(root) == ["gone.png", "linked/b.png", "linked/deep/c.png", "z/a.png"]
    with pytest.raises(DataError, match=r"gone\.png: the file does not exist: it is a link to .*nowhere\.png"):
        image_datalist(root)


def test_masks_beside_an_image(tmp_path):
    of_a = ["a_mask.png", "a_mask_2.nii.gz", "a_mask_3.npy", "a_mask_10.jpg"]
    for name in (*of_a, "a#3_mask.png", "a.b_mask.bmp", "a_mask.txt", "._a_mask.png"):
        (tmp_path / name).touch()
    expected = dict.fromkeys(("a.png", "a.nii.gz", "a.NII", "a.dcm"), of_a)
    expected |= {"a.dcm#3": ["a#3_mask.png"], "a.b.png": ["a.b_mask.bmp"], "a.nii.png": []}
    for image, masks in expected.items():
        assert [path.name for path in find_masks(tmp_path / image)] == masks


def test_images_to_predict_on(tmp_path, caplog):
    for name in ("a/one.png", "a/unmasked_maskless.png", "two.jpg", "out/three.png", "earlier/a/one_overlay.png"):
        picture(tmp_path / name)
    mask(tmp_path / "a" / "one_mask.png")
    (tmp_path / "earlier" / "predictions.csv").write_text("case_id\n")
    (tmp_path / "a" / "clip.mpg").write_bytes(b"film")
    assert ids(tmp_path, results=tmp_path / "out") == ["a/one.png", "a/unmasked_maskless.png", "two.jpg"]
    assert f"{tmp_path / 'earlier'} is skipped: it contains results" in caplog.text
    assert "1 files are skipped" in caplog.text and "clip.mpg" in caplog.text
    assert ids(tmp_path / "a", results=tmp_path) == ["one.png", "unmasked_maskless.png"]
    with pytest.raises(ValueError, match="can't receive its own results"):
        image_datalist(tmp_path / "a", results=tmp_path / "a")
    assert ids(tmp_path / "two.jpg") == ["two.jpg"]


def test_faults(tmp_path):
    with pytest.raises(DataError, match="no image"):
        image_datalist(tmp_path)
    picture(tmp_path / "same.png")
    picture(tmp_path / "same.jpg")
    mask(tmp_path / "same_mask.png", size=(3, 3))
    np.save(tmp_path / "other.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"(?s)would overwrite.*mask of 3x3 pixels for an image of 20x16"):
        image_datalist(tmp_path)
    picture(tmp_path / "benign" / "a.png")
    shutil.copy(tmp_path / "benign" / "a.png", os.fsdecode(os.fsencode(tmp_path / "benign") + b"/l\xe9sion.png"))
    for read in (busi_datalist, image_datalist):
        with pytest.raises(DataError) as caught:
            read(tmp_path)
        assert r"l\xe9sion.png: the name is not valid UTF-8" in str(caught.value)
        str(caught.value).encode()
