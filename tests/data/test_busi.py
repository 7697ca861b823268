import shutil

import numpy as np
import pytest
from hybrid_attention.data import DataError, busi_datalist, split_cases
from PIL import Image

from tests.data.dicom_files import REPORT, header, region, write_dicom
from tests.data.published_sets import mask, picture

GREY = np.arange(320, dtype=np.uint8).reshape(16, 20)  # sixteen rows of twenty
LOOP = np.stack([GREY, GREY])


def column(cases, key):
    return [case[key] for case in cases]


@pytest.fixture
def small(tmp_path):
    root = tmp_path / "set"
    for name in ("benign (1)", "benign (2)", "benign (10)", "normal (1)"):
        folder = root / name.split()[0]
        picture(folder / f"{name}.png")
        mask(folder / f"{name}_mask.png", box=None if name == "normal (1)" else (4, 4, 10, 10))
    mask(root / "benign" / "benign (2)_mask_1.png", box=(12, 10, 16, 14))
    return root


def test_layout_and_groups(small, tmp_path):
    picture(small / "benign" / "le\u0301sion.png")
    mask(small / "benign" / "l\u00e9sion_mask.png")
    cases = busi_datalist(small)
    names = [f"benign/{name}.png" for name in ("benign (1)", "benign (2)", "benign (10)", "le\u0301sion")]
    assert column(cases, "case_id") == [*names, "normal/normal (1).png"]
    assert [len(case["label"]) for case in cases] == [1, 2, 1, 1, 1]
    assert column(cases, "class") == ["benign"] * 4 + ["normal"]
    assert column(cases, "lesion_area_fraction") == pytest.approx([36 / 320, 52 / 320, 36 / 320, 36 / 320, 0])
    table = tmp_path / "groups.csv"
    rows = [f"{name},{group}" for name, group in zip(column(cases, "case_id"), ("7", "", "7", "4", "9"), strict=True)]
    table.write_text("\n".join(["image_id,duplicate_group", *rows, "other,3"]).replace("e\u0301", "\u00e9"), "utf-8")
    cases = busi_datalist(small, groups_csv=table)
    assert column(cases, "group") == ["7", "benign/benign (2).png", "7", "4", "9"]
    table.write_text("\n".join(["image_id,duplicate_group", rows[0], *rows[2:]]))
    with pytest.raises(DataError, match=r"groups\.csv: no row for benign/benign \(2\)\.png"):
        busi_datalist(small, groups_csv=table)


def test_missing_and_empty_folders(tmp_path):
    for folder, message in (("gone", "does not exist"), (".", "contains none of benign/, malignant/, normal/")):
        with pytest.raises(FileNotFoundError, match=message):
            busi_datalist(tmp_path / folder)
    (tmp_path / "benign").mkdir()
    with pytest.raises(DataError, match=r"no image \(\.png, .*\.nii, \.nii\.gz, \.dcm, \.dicom, \.ima\) in benign/"):
        busi_datalist(tmp_path)


def test_all_faults_at_once(small, tmp_path):
    benign = small / "benign"
    (benign / "benign (1)_mask.png").unlink()
    np.save(benign / "benign (2)_mask_2.npy", np.zeros((16, 20)))
    mask(benign / "benign (10)_mask.png", size=(20, 17))
    mask(small / "normal" / "normal (1)_mask.png")
    picture(small / "malignant" / "m.png")
    mask(small / "malignant" / "m_mask.png", box=None)
    (benign / "b.png").write_bytes(b"")
    write_dicom(benign / "b.dcm", GREY)
    mask(benign / "b_mask.png")
    write_dicom(benign / "loop.dcm", LOOP, NumberOfFrames=2)
    mask(benign / "loop#1_mask.png")
    shutil.move(small, tmp_path / "download" / "Dataset_BUSI_with_GT")  # the folder in the published archive
    with pytest.raises(DataError) as caught:
        busi_datalist(tmp_path / "download")
    message = str(caught.value)
    assert message.startswith("8 problem(s) in 9 case(s)") and "Hint: " in message
    for part in (
        "benign (1).png: no mask beside it (expected benign (1)_mask.png)",
        "benign (2)_mask_2.npy: masks of this format are not read",
        "benign (10)_mask.png: mask of 20x17 pixels for an image of 20x16",
        "normal (1)_mask.png: the mask contains a lesion, but the case is of class normal",
        "m_mask.png: the mask is empty, but the case is of class malignant",
        "b.png: the file has zero bytes",
        "b.png: its masks would be those of b.dcm; rename or remove one",
        "loop.dcm#2: no mask beside it (expected loop#2_mask.png)",
    ):
        assert part in message


@pytest.mark.busi
def test_published_files(busi_native):
    cases = {case["case_id"]: case for case in busi_datalist(busi_native)}
    assert len(cases) == 10 and len(cases["benign/benign (195).png"]["label"]) == 3
    with Image.open(cases["benign/benign (4).png"]["label"][1]) as rgba:
        assert rgba.mode == "RGBA"


@pytest.mark.busi
def test_whole_busi(busi, tmp_path):
    cases = busi_datalist(busi)
    classes, masks = column(cases, "class"), [len(case["label"]) for case in cases]
    assert [classes.count(name) for name in ("benign", "malignant", "normal")] == [437, 210, 133]
    assert (masks.count(2), masks.count(3)) == (16, 1)
    assert split_cases(cases).rule.startswith("BUSI leak-free folds")
    rows = [f"{case['case_id']},{('train', 'validation', 'test')[n % 3]}" for n, case in enumerate(cases)]
    (tmp_path / "random.csv").write_text("\n".join(["case_id,part", *rows]))
    with pytest.raises(DataError, match=r"group .* leaks: benign/"):
        split_cases(cases, split_csv=tmp_path / "random.csv")


def test_what_is_left_out_is_listed_once(small, caplog):
    for name in ("benign/a.mha", "benign/clip.avi", "benign/noise.raw", "benign/.hidden.png", "notes.txt"):
        (small / name).write_bytes(b"x" * 200)
    picture(small / "benign" / "@eaDir" / "benign (1).png" / "thumb.jpg")
    picture(small / "unsure" / "u.png")
    assert len(busi_datalist(small)) == 4
    assert caplog.text.count("skipped") == 2
    assert all(name in caplog.text for name in ("3 files", "a.mha", "clip.avi", "noise.raw", "unsure/u.png"))
    assert not any(name in caplog.text for name in ("thumb", "notes", "hidden"))


def test_a_frame_is_a_case_and_frames_of_a_file_stay_together(tmp_path, caplog):
    benign = tmp_path / "benign"
    picture(benign / "b.png")
    write_dicom(benign / "a.dcm", GREY, regions=[region(4, 6, 13, 15)])
    write_dicom(benign / "IM7", GREY)  # without an ending
    for name in ("a", "b", "IM7", "loop#1"):
        mask(benign / f"{name}_mask.png")  # rows and columns 4 to 9; the tissue of a.dcm starts in row 6
    write_dicom(benign / "loop.dcm", LOOP, NumberOfFrames=2)
    mask(benign / "loop#2_mask.png", box=(0, 0, 10, 16))
    mask(benign / "loop#2_mask_1.png", box=(10, 0, 20, 16))
    header(REPORT, Modality="SR").save_as(benign / "report.dcm", enforce_file_format=True)
    cases = busi_datalist(tmp_path)
    names = ["IM7", "a.dcm", "b.png", "loop.dcm#1", "loop.dcm#2"]
    assert column(cases, "image") == [str(benign / name) for name in names]
    assert [len(case["label"]) for case in cases] == [1, 1, 1, 1, 2]
    assert column(cases, "group") == [f"benign/{name.split('#')[0]}" for name in names]
    assert column(cases, "lesion_area_fraction") == pytest.approx([36 / 320, 6 * 4 / 100, 36 / 320, 36 / 320, 1])
    assert "report.dcm is skipped: this DICOM file is not an image" in caplog.text
