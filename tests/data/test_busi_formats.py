"""Folders in BUSI's layout with images other than PNG: frames of DICOM files, NIfTI."""

import logging

import nibabel
import numpy as np
import pytest
from hybrid_attention.data import DataError, busi_datalist
from hybrid_attention.data.images import read_grey
from PIL import Image

from tests.data.dicom_files import REPORT, header, region, write_dicom

GREY = np.arange(320, dtype=np.uint8).reshape(16, 20)  # sixteen rows of twenty


def needs_pydicom():
    pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")


def mask(path, box=(4, 4, 10, 10)):
    image = Image.new("1", (20, 16))
    if box:
        image.paste(1, box)
    image.save(path)


def nifti(path, rows):
    """Rows of pixels as a volume of one slice; its first axis runs along a row."""
    nibabel.save(nibabel.Nifti1Image(rows.T[..., None].astype(np.float32), np.eye(4)), path)


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
    mask(benign / "loop#2_mask.png", (0, 0, 10, 16))
    mask(benign / "loop#2_mask_1.png", (10, 0, 20, 16))
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


def test_groups_of_frames(benign, tmp_path):
    needs_pydicom()
    write_dicom(benign / "loop.dcm", np.stack([GREY] * 3), NumberOfFrames=3)
    for number in (1, 2, 3):
        mask(benign / f"loop#{number}_mask.png")
    table = tmp_path / "groups.csv"
    rows = ["image_id,duplicate_group", "benign/b.png,7", "benign/loop.dcm#1,7", "benign/loop.dcm#2,"]
    table.write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"1 problem.*\n.*groups\.csv: no row for benign/loop\.dcm#3"):
        busi_datalist(tmp_path / "set", groups_csv=table)
    table.write_text("\n".join([*rows, "benign/loop.dcm#3,"]))
    groups = [case["group"] for case in busi_datalist(tmp_path / "set", groups_csv=table)]
    assert groups == ["7", "7", "benign/loop.dcm", "benign/loop.dcm"]


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


def test_a_folder_of_bad_dicom_files_alone(tmp_path):
    needs_pydicom()
    (tmp_path / "benign").mkdir()
    (tmp_path / "benign" / "a.dcm").write_bytes(b"a text")
    with pytest.raises(DataError, match=r"a\.dcm: not a DICOM file"):
        busi_datalist(tmp_path)
    header(REPORT, Modality="SR").save_as(tmp_path / "benign" / "a.dcm", enforce_file_format=True)
    with pytest.raises(DataError, match=r"no image \(\.png, .*\.nii, \.nii\.gz, \.dcm, \.dicom, \.ima\) in benign/"):
        busi_datalist(tmp_path)


def test_nifti_images_and_masks(benign, tmp_path):
    nifti(benign / "n.nii.gz", GREY)
    mask(benign / "n_mask.png")
    nifti(benign / "m.v2.nii", GREY)
    truth = np.zeros((16, 20))
    truth[2:4, 1:4] = 1
    nifti(benign / "m.v2_mask.nii.gz", truth)
    cases = {case["case_id"]: case for case in busi_datalist(tmp_path / "set")}
    assert list(cases) == ["benign/b.png", "benign/m.v2.nii", "benign/n.nii.gz"]
    assert cases["benign/n.nii.gz"]["lesion_area_fraction"] == pytest.approx(36 / 320)
    assert cases["benign/m.v2.nii"]["lesion_area_fraction"] == pytest.approx(6 / 320)
    assert np.argwhere(read_grey(cases["benign/m.v2.nii"]["label"][0]))[0].tolist() == [2, 1]
    (benign / "n_mask.png").unlink()
    with pytest.raises(DataError, match=r"n\.nii\.gz: no mask beside it \(expected n_mask\.png\)"):
        busi_datalist(tmp_path / "set")
