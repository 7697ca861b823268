"""What a folder contains, by the names of its files; images to predict on."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hybrid_attention.data import DataError, busi_datalist, image_datalist
from hybrid_attention.data.folders import files_below, find_masks
from hybrid_attention.data.names import is_clutter, mask_owner, natural_order, result_path

from tests.data.published_sets import mask, picture


def names(root):
    return [path.relative_to(root).as_posix() for path in files_below(root)]


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints", ".Trash-1000", "@eaDir", "#recycle", "$RECYCLE.BIN", "Thumbs.db", "._a.png", "__MACOSX"],
)
def test_clutter(tmp_path, name):
    assert is_clutter(name)
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.png").touch()
    (tmp_path / "b.png").touch()
    assert names(tmp_path) == ["b.png"]
    assert names(tmp_path / name) == ["a.png"]  # the folder itself may have any name
    assert names(tmp_path / "none") == []
    assert not any(map(is_clutter, ("a.png", "recycle", "#7", "@home", "study#7")))


def test_natural_order():
    paths = [Path(name) for name in ("10.png", "5²10.png", "06.png", "5²3.png", "5.png")]
    assert [path.stem for path in sorted(paths, key=natural_order)] == ["5", "5²3", "5²10", "06", "10"]


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


def test_any_folder(tmp_path):
    picture(tmp_path / "a" / "one.png")
    mask(tmp_path / "a" / "one_mask.png")
    picture(tmp_path / "a" / "unmasked_maskless.png")
    picture(tmp_path / "two.jpg")
    picture(tmp_path / "out" / "three.png")
    cases = image_datalist(tmp_path, results=tmp_path / "out")
    assert [case["case_id"] for case in cases] == ["a/one.png", "a/unmasked_maskless.png", "two.jpg"]
    above = image_datalist(tmp_path / "a", results=tmp_path)
    assert [case["case_id"] for case in above] == ["one.png", "unmasked_maskless.png"]
    with pytest.raises(ValueError, match="can't receive its own results"):
        image_datalist(tmp_path / "a", results=tmp_path / "a")
    assert [case["case_id"] for case in image_datalist(tmp_path / "two.jpg")] == ["two.jpg"]


def test_results_of_another_run_are_not_images(tmp_path, caplog):
    picture(tmp_path / "one.png")
    picture(tmp_path / "earlier" / "a" / "one_overlay.png")
    (tmp_path / "earlier" / "predictions.csv").write_text("case_id\n")
    assert [case["case_id"] for case in image_datalist(tmp_path, results=tmp_path / "out")] == ["one.png"]
    assert f"{tmp_path / 'earlier'} is skipped: it contains results" in caplog.text


def test_any_folder_faults(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        image_datalist(tmp_path / "none")
    with pytest.raises(DataError, match="no image"):
        image_datalist(tmp_path)
    picture(tmp_path / "same.png")
    picture(tmp_path / "same.jpg")
    mask(tmp_path / "same_mask.png", size=(3, 3))
    np.save(tmp_path / "other.npy", np.zeros(3))
    with pytest.raises(DataError) as caught:
        image_datalist(tmp_path)
    assert "would overwrite" in str(caught.value)
    assert "mask of 3x3 pixels for an image of 20x16" in str(caught.value)


def test_names_that_are_not_utf_8_are_refused_before_anything_else(tmp_path):
    picture(tmp_path / "benign" / "a.png")
    bad = os.fsencode(tmp_path / "benign") + b"/l\xe9sion.png"
    shutil.copy(tmp_path / "benign" / "a.png", os.fsdecode(bad))
    for read in (busi_datalist, image_datalist):
        with pytest.raises(DataError) as caught:
            read(tmp_path)
        assert r"l\xe9sion.png: the name is not valid UTF-8" in str(caught.value)
        str(caught.value).encode()


def test_any_folder_and_its_links(tmp_path, caplog):
    picture(tmp_path / "in" / "one.webp")
    picture(tmp_path / "other" / "two.gif")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    picture(tmp_path / "in" / ".ipynb_checkpoints" / "one-checkpoint.png")
    (tmp_path / "in" / "clip.mpg").write_bytes(b"film")
    assert [case["case_id"] for case in image_datalist(tmp_path / "in")] == ["link/two.gif", "one.webp"]
    assert "1 files are skipped" in caplog.text
    assert "clip.mpg" in caplog.text
    (tmp_path / "in" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=r"gone\.png: the file does not exist: it is a link to nowhere\.png"):
        image_datalist(tmp_path / "in")


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
