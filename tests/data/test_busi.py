"""BUSI and folders in its layout, with images of all formats."""

import logging
import shutil

import numpy as np
import pytest
from hybrid_attention.data import DataError, busi_datalist, split_cases
from PIL import Image

from tests.data.dicom_files import REPORT, header, region, write_dicom
from tests.data.published_sets import mask, picture

GREY = np.arange(320, dtype=np.uint8).reshape(16, 20)  # sixteen rows of twenty


def needs_pydicom():
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")


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
    picture(small / "benign" / "le\u0301sion.png")
    mask(small / "benign" / "l\u00e9sion_mask.png")
    names = [case["case_id"] for case in busi_datalist(small)]
    assert names[-2] == "benign/le\u0301sion.png"
    table = tmp_path / "groups.csv"
    rows = [f"{name},{group}" for name, group in zip(names, ("7", "", "7", "4", "9"), strict=True)]
    table.write_text("\n".join(["image_id,duplicate_group", *rows, "other,3"]).replace("e\u0301", "\u00e9"), "utf-8")
    groups = [case["group"] for case in busi_datalist(small, groups_csv=table)]
    assert groups == ["7", "benign/benign (2).png", "7", "4", "9"]
    table.write_text("\n".join(["image_id,duplicate_group", rows[0], *rows[2:]]))
    with pytest.raises(DataError, match=r"groups\.csv: no row for benign/benign \(2\)\.png"):
        busi_datalist(small, groups_csv=table)
    table.write_text("image,group\na,b\n")
    with pytest.raises(ValueError, match="duplicate_group"):
        busi_datalist(small, groups_csv=table)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("none", FileNotFoundError, "does not exist"),
        ("other", FileNotFoundError, "contains none of benign/, malignant/, normal/"),
        ("benign", DataError, r"no image \(\.png, .*\.nii, \.nii\.gz, \.dcm, \.dicom, \.ima\) in benign/"),
    ],
)
def test_missing_and_empty_folders(tmp_path, name, error, message):
    (tmp_path / name).mkdir()
    with pytest.raises(error, match=message):
        busi_datalist(tmp_path / "gone" if name == "none" else tmp_path)


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


@pytest.fixture
def benign(tmp_path):
    folder = tmp_path / "set" / "benign"
    folder.mkdir(parents=True)
    Image.fromarray(GREY).save(folder / "b.png")
    mask(folder / "b_mask.png")
    return folder


def test_a_frame_is_a_case_and_frames_of_a_file_stay_together(benign, tmp_path, caplog):
    needs_pydicom()
    write_dicom(benign / "a.dcm", GREY, regions=[region(4, 6, 13, 15)])
    mask(benign / "a_mask.png")  # rows and columns 4 to 9; the tissue starts in row 6
    write_dicom(benign / "loop.dcm", np.stack([GREY, GREY]), NumberOfFrames=2)
    mask(benign / "loop#1_mask.png")
    mask(benign / "loop#2_mask.png", box=(0, 0, 10, 16))
    mask(benign / "loop#2_mask_1.png", box=(10, 0, 20, 16))
    write_dicom(benign / "IM7", GREY)  # without an ending
    mask(benign / "IM7_mask.png")
    header(REPORT, Modality="SR").save_as(benign / "report.dcm", enforce_file_format=True)
    write_dicom(benign / ".hidden.dcm", GREY)
    (benign / "notes").write_text("no image")
    with caplog.at_level(logging.WARNING):
        cases = busi_datalist(tmp_path / "set")
    names = ["IM7", "a.dcm", "b.png", "loop.dcm#1", "loop.dcm#2"]
    assert [case["case_id"] for case in cases] == [f"benign/{name}" for name in names]
    assert [case["image"] for case in cases] == [str(benign / name) for name in names]
    assert [len(case["label"]) for case in cases] == [1, 1, 1, 1, 2]
    groups = ["IM7", "a.dcm", "b.png", "loop.dcm", "loop.dcm"]
    assert [case["group"] for case in cases] == [f"benign/{name}" for name in groups]
    areas = [case["lesion_area_fraction"] for case in cases]
    assert areas == pytest.approx([36 / 320, 6 * 4 / 100, 36 / 320, 36 / 320, 1])
    assert "report.dcm is skipped: this DICOM file is not an image" in caplog.text
    assert "hidden" not in caplog.text


def test_faults_of_dicom_files_are_listed_with_all_others(benign, tmp_path):
    needs_pydicom()
    write_dicom(benign / "loop.dcm", np.stack([GREY, GREY]), NumberOfFrames=2)
    mask(benign / "loop#1_mask.png")
    write_dicom(benign / "b.dcm", GREY)
    (benign / "text.dcm").write_bytes(b"a text")
    (benign / "gone.dcm").symlink_to(benign / "nowhere.dcm")
    with pytest.raises(DataError) as caught:
        busi_datalist(tmp_path / "set")
    message = str(caught.value)
    assert message.startswith("4 problem(s) in 6 case(s)")
    for part in (
        "loop.dcm#2: no mask beside it (expected loop#2_mask.png)",
        "b.png: its masks would be those of b.dcm; rename or remove one",
        "text.dcm: not a DICOM file",
        "gone.dcm: the file does not exist",
    ):
        assert part in message
