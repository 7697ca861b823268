import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hybrid_attention.data import DataError, busi_datalist, image_datalist, split_cases
from hybrid_attention.data.listing import result_path
from PIL import Image


def picture(path, value=100, size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", size, value)
    image.putpixel((0, 0), 0)
    image.save(path)


def mask(path, box=(4, 4, 10, 10), size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("1", size)
    if box:
        image.paste(1, box)
    image.save(path)


@pytest.fixture
def small(tmp_path):
    root = tmp_path / "set"
    for number in (1, 2, 10):
        picture(root / "benign" / f"benign ({number}).png")
        mask(root / "benign" / f"benign ({number})_mask.png")
    mask(root / "benign" / "benign (2)_mask_1.png", box=(12, 10, 16, 14))
    picture(root / "normal" / "normal (1).png")
    mask(root / "normal" / "normal (1)_mask.png", box=None)
    return root


def test_busi_layout(small):
    cases = busi_datalist(small)
    assert [case["case_id"] for case in cases] == [
        "benign/benign (1).png",
        "benign/benign (2).png",
        "benign/benign (10).png",
        "normal/normal (1).png",
    ]
    assert [len(case["label"]) for case in cases] == [1, 2, 1, 1]
    assert [case["class"] for case in cases] == ["benign"] * 3 + ["normal"]
    areas = [case["lesion_area_fraction"] for case in cases]
    assert areas == pytest.approx([36 / 320, (36 + 16) / 320, 36 / 320, 0])


def test_groups(small, tmp_path):
    table = tmp_path / "groups.csv"
    rows = ["image_id,duplicate_group", "benign/benign (1).png,7", "benign/benign (10).png,7", "other,3"]
    table.write_text("\n".join([*rows, "benign/benign (2).png,", "normal/normal (1).png,9"]))
    groups = [case["group"] for case in busi_datalist(small, groups_csv=table)]
    assert groups == ["7", "benign/benign (2).png", "7", "9"]
    table.write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"groups\.csv: no row for benign/benign \(2\)\.png"):
        busi_datalist(small, groups_csv=table)
    table.write_text("image,group\na,b\n")
    with pytest.raises(ValueError, match="duplicate_group"):
        busi_datalist(small, groups_csv=table)


def test_all_faults_at_once(small, tmp_path):
    (small / "benign" / "benign (1)_mask.png").unlink()
    np.save(small / "benign" / "benign (2)_mask_2.npy", np.zeros((16, 20)))
    noise = np.random.default_rng(0).integers(0, 3, (16, 20)).astype(np.uint8)
    Image.fromarray(noise).save(small / "benign" / "benign (2)_mask.png")
    (small / "benign" / "b.png").write_bytes(b"")
    mask(small / "benign" / "b_mask.png")
    mask(small / "benign" / "benign (10)_mask.png", size=(20, 17))
    mask(small / "normal" / "normal (1)_mask.png")
    picture(small / "malignant" / "m.png")
    mask(small / "malignant" / "m_mask.png", box=None)
    shutil.move(small, tmp_path / "download" / "Dataset_BUSI_with_GT")  # the folder in the published archive
    with pytest.raises(DataError) as caught:
        busi_datalist(tmp_path / "download")
    message = str(caught.value)
    assert message.startswith("7 problem(s) in 6 case(s)")
    for part in (
        "benign (1).png: no mask beside it (expected benign (1)_mask.png)",
        "benign (2)_mask.png: 3 values from 0 to 2",
        "benign (2)_mask_2.npy: masks of this format are not read",
        "b.png: the file has zero bytes",
        "benign (10)_mask.png: mask of 20x17 pixels for an image of 20x16",
        "normal (1)_mask.png: the mask contains a lesion, but the case is of class normal",
        "m_mask.png: the mask is empty, but the case is of class malignant",
        "Hint: ",
    ):
        assert part in message


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        busi_datalist(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="contains none of benign/, malignant/, normal/"):
        busi_datalist(tmp_path)
    (tmp_path / "benign").mkdir()
    with pytest.raises(DataError, match="no image"):
        busi_datalist(tmp_path)


def test_synthetic_data_are_announced(phantoms, caplog):
    with caplog.at_level(logging.WARNING):
        cases = busi_datalist(phantoms)
    assert all(case["synthetic"] for case in cases)
    assert "SYNTHETIC DATA" in caplog.text


@pytest.mark.busi
def test_published_files(busi_native):
    cases = {case["case_id"]: case for case in busi_datalist(busi_native)}
    assert len(cases) == 10
    assert len(cases["benign/benign (195).png"]["label"]) == 3
    with Image.open(cases["benign/benign (4).png"]["label"][1]) as rgba:
        assert rgba.mode == "RGBA"


@pytest.mark.busi
def test_whole_busi(busi, tmp_path):
    cases = busi_datalist(busi)
    counts = {name: sum(case["class"] == name for case in cases) for name in ("benign", "malignant", "normal")}
    assert counts == {"benign": 437, "malignant": 210, "normal": 133}
    assert sum(len(case["label"]) == 2 for case in cases) == 16
    assert sum(len(case["label"]) == 3 for case in cases) == 1
    assert split_cases(cases).rule.startswith("BUSI leak-free folds")
    rows = [f"{case['case_id']},{('train', 'validation', 'test')[n % 3]}" for n, case in enumerate(cases)]
    (tmp_path / "random.csv").write_text("\n".join(["case_id,part", *rows]))
    with pytest.raises(DataError, match=r"group .* leaks: benign/"):
        split_cases(cases, split_csv=tmp_path / "random.csv")


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


def test_results_of_another_run_are_no_images(tmp_path, caplog):
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


def test_what_is_left_out_is_listed_once(small, tmp_path, caplog):
    for name in ("a.mha", "clip.avi", "noise.raw"):
        (small / "benign" / name).write_bytes(b"x" * 200)
    (small / "benign" / "gone").symlink_to(small / "nowhere")
    (small / "notes.txt").write_text("text")
    picture(small / "benign" / "@eaDir" / "benign (1).png" / "thumb.jpg")
    picture(small / "unsure" / "u.png")
    assert len(busi_datalist(small)) == 4
    assert caplog.text.count("skipped") == 2
    for name in ("4 files", "a.mha", "clip.avi", "noise.raw", "benign/gone", "unsure/u.png"):
        assert name in caplog.text
    assert "thumb" not in caplog.text
    assert "notes" not in caplog.text


def test_accents_of_images_masks_and_groups(small, tmp_path):
    picture(small / "benign" / "le\u0301sion.png")
    mask(small / "benign" / "l\u00e9sion_mask.png")
    table = tmp_path / "groups.csv"
    names = ["benign/benign (1).png", "benign/benign (2).png", "benign/benign (10).png", "normal/normal (1).png"]
    rows = [f"{name},{number}" for number, name in enumerate([*names, "benign/l\u00e9sion.png"])]
    table.write_text("\n".join(["image_id,duplicate_group", *rows]), encoding="utf-8")
    groups = {case["case_id"]: case["group"] for case in busi_datalist(small, groups_csv=table)}
    assert groups["benign/le\u0301sion.png"] == "4"


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
