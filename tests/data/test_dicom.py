"""Headers, frames, regions and spacing of DICOM files, and what is said of bad ones."""

import logging
import re

import numpy as np
import pytest
from hybrid_attention.data import DataError, image_datalist
from hybrid_attention.data.cases import inspect_cases
from hybrid_attention.data.dicom import geometry
from hybrid_attention.data.dicom_pixels import frame_paths
from hybrid_attention.data.images import pixel_proportions, pixel_spacing, read_grey, to_full_frame, to_tissue
from hybrid_attention.data.names import is_dicom, split_frame, strip_suffix
from PIL import Image

from tests.data.dicom_files import CAPTURE, MPEG4, header, jpeg_frames, region, set_text, write_dicom

pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8)  # six rows of eight
CINE = np.stack([RAMP, RAMP + 50, RAMP + 100])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.dcm", True), ("A.DCM", True), ("a.dicom", True), ("a.dcm#3", True), ("a.png", False), ("a.dcm.txt", False)],
)
def test_endings(name, expected):
    assert is_dicom(name) == is_dicom(f"folder/{name}") == expected


def test_names_of_frames(tmp_path):
    assert split_frame("a/cine.dcm#12") == (tmp_path.__class__("a/cine.dcm"), 12)
    odd = write_dicom(tmp_path / "scan#2", RAMP)  # a file's own name
    assert split_frame(odd) == (odd, None)
    assert [strip_suffix(name) for name in ("a/x.dcm", "a/x.DICOM#3", "x#3", "1.2.3")] == [
        "a/x",
        "a/x#3",
        "x#3",
        "1.2.3",
    ]


def test_frames_that_become_cases(tmp_path):
    cine = write_dicom(tmp_path / "cine.dcm", CINE, NumberOfFrames=3)
    assert frame_paths(cine) == [f"{cine}#1", f"{cine}#2", f"{cine}#3"]
    assert frame_paths(cine, "middle") == [f"{cine}#2"]
    assert frame_paths(cine, [3, 1]) == [f"{cine}#3", f"{cine}#1"]
    assert frame_paths(write_dicom(tmp_path / "one.dcm", RAMP), "middle") == [str(tmp_path / "one.dcm")]
    with pytest.raises(ValueError, match="frame 4 does not exist: the file has 3"):
        frame_paths(cine, [1, 4])
    for wrong in ("last", [], 3):
        with pytest.raises(ValueError, match=rf"'all', 'middle' or a list .* got {re.escape(repr(wrong))}"):
            frame_paths(cine, wrong)
    with pytest.raises(ValueError, match=r"it has 3 frames: name one, cine\.dcm#1 to cine\.dcm#3"):
        read_grey(cine)
    with pytest.raises(ValueError, match="frame 0 does not exist: the file has 3"):
        read_grey(f"{cine}#0")


def test_only_regions_of_tissue_count_and_the_box_holds_all(tmp_path):
    spectrum, flow = region(0, 0, 7, 5, spatial_format=3, data_type=3), region(0, 0, 7, 5, data_type=2)
    left, right = region(1, 1, 2, 3), region(5, 2, 6, 4)
    both = geometry(write_dicom(tmp_path / "a.dcm", RAMP, regions=[spectrum, left, flow, right]))
    assert both.box == (1, 1, 7, 5)
    assert both.spacing == pytest.approx((0.2, 0.1))
    other = [left, region(5, 2, 6, 4, delta=(0.03, 0.03))]
    assert geometry(write_dicom(tmp_path / "b.dcm", RAMP, regions=other, PixelSpacing=[1, 1])).spacing is None
    none = write_dicom(tmp_path / "c.dcm", RAMP, regions=[spectrum, flow])
    assert geometry(none).box == (0, 0, 8, 6) and geometry(none).spacing is None


def test_region_at_the_border_is_clipped_and_one_beyond_is_an_error(tmp_path):
    assert geometry(write_dicom(tmp_path / "a.dcm", RAMP, regions=[region(4, 0, 8, 6)])).box == (4, 0, 8, 6)
    beyond = write_dicom(tmp_path / "b.dcm", RAMP, regions=[region(9, 0, 12, 5)])
    with pytest.raises(ValueError, match=r"\[9, 0, 12, 5\] is outside the frame of 8x6 pixels"):
        read_grey(beyond)


def test_pixel_spacing_where_no_region_states_one(tmp_path):
    spacing = {"PixelSpacing": [0.3, 0.2]}  # rows are 0.3 mm apart: that is the height
    file = write_dicom(tmp_path / "a.dcm", RAMP, **spacing)
    assert pixel_spacing(file) == (0.3, 0.2)
    seconds = [region(0, 0, 7, 5, units=4)]
    assert pixel_spacing(write_dicom(tmp_path / "b.dcm", RAMP, regions=seconds, **spacing)) == (0.3, 0.2)
    assert pixel_spacing(write_dicom(tmp_path / "c.dcm", RAMP)) is None
    for text in ("", "x\\0.2", "0\\0.2", "nan\\0.2"):
        assert pixel_spacing(set_text(file, PixelSpacing=text)) is None


def test_pixels_that_are_not_square(tmp_path):
    """Height to width 2 to 1, as Pixel Aspect Ratio has it; a spacing says more."""
    tall = {"PixelAspectRatio": [2, 1]}
    file = write_dicom(tmp_path / "a.dcm", RAMP, **tall)
    assert geometry(file).aspect == 2 and pixel_spacing(file) is None
    assert pixel_proportions(file) == pytest.approx((2**0.5, 2**-0.5))
    spaced = write_dicom(tmp_path / "b.dcm", RAMP, PixelSpacing=[0.3, 0.2], **tall)
    assert pixel_proportions(spaced) == pytest.approx((1.5**0.5, 1.5**-0.5))
    assert pixel_proportions(write_dicom(tmp_path / "c.dcm", RAMP)) == (1, 1)
    for text in ("", "x\\1", "0\\1", "2"):
        assert pixel_proportions(set_text(file, PixelAspectRatio=text)) == (1, 1)


def test_region_with_spacing_in_cm_and_back_into_the_frame(tmp_path):
    # columns 2 to 5 and rows 1 to 4, both ends within
    file = write_dicom(tmp_path / "a.dcm", RAMP, regions=[region(2, 1, 5, 4, delta=(0.01, -0.02))])
    assert geometry(file).box == (2, 1, 6, 5)
    assert pixel_spacing(file) == pytest.approx((0.2, 0.1))
    np.testing.assert_array_equal(read_grey(file), RAMP[1:5, 2:6])
    mask = np.zeros((4, 4), np.uint8)
    mask[3, 0] = 1  # first column and last row of the tissue
    frame = to_full_frame(mask, file)
    assert frame.shape == (6, 8) and frame.dtype == np.uint8
    assert np.argwhere(frame).tolist() == [[4, 2]]
    np.testing.assert_array_equal(to_tissue(frame, file), mask)
    assert to_full_frame(mask, "a.png") is mask
    with pytest.raises(ValueError, match=r"\(3, 4\) does not fit the tissue of \(4, 4\)"):
        to_full_frame(mask[1:], file)


def test_truth_beside_is_of_the_whole_frame(tmp_path):
    write_dicom(tmp_path / "cine.dcm", CINE, NumberOfFrames=3, regions=[region(2, 1, 5, 4)])
    mask = Image.new("L", (8, 6))
    mask.paste(255, (2, 1, 6, 5))
    mask.save(tmp_path / "cine#2_mask.png")
    assert len(image_datalist(tmp_path)) == 3
    case = {"case_id": "x", "image": str(tmp_path / "cine.dcm#2"), "label": [tmp_path / "cine#2_mask.png"]}
    assert inspect_cases([case])[1][0]["lesion_area_fraction"] == 1
    mask.crop((0, 0, 7, 6)).save(tmp_path / "cine#2_mask.png")
    with pytest.raises(DataError, match="mask of 7x6 pixels for an image of 4x4"):
        image_datalist(tmp_path)


def test_other_modalities_are_read_and_logged_and_what_holds_no_image_is_refused(tmp_path, caplog):
    write_dicom(tmp_path / "seg.dcm", RAMP, Modality="SEG")
    with pytest.raises(DataError, match="its DICOM files are not images"):
        image_datalist(tmp_path)
    with pytest.raises(DataError, match=r"seg\.dcm: this DICOM file is not an image"):
        image_datalist(tmp_path / "seg.dcm")
    file = write_dicom(tmp_path / "a.dcm", RAMP, kind=CAPTURE, Modality="OT")
    with caplog.at_level(logging.WARNING):
        assert len(image_datalist(file)) == 1
    assert "its modality is OT, not ultrasound" in caplog.text
    caplog.clear()
    image_datalist(write_dicom(tmp_path / "b.dcm", RAMP))
    assert caplog.text == ""


def test_all_bad_files_at_once(tmp_path):
    good = write_dicom(tmp_path / "good.dcm", RAMP).read_bytes()
    (tmp_path / "text.dcm").write_bytes(b"hello, I am a text file, a long one" * 9)
    (tmp_path / "half.dcm").write_bytes(good[:-20])
    (tmp_path / "start.dcm").write_bytes(good[:300])
    (tmp_path / "empty.dcm").write_bytes(b"")
    write_dicom(tmp_path / "video.dcm", CINE, NumberOfFrames=3, syntax=MPEG4, raw=jpeg_frames([RAMP]))
    write_dicom(tmp_path / "strange.dcm", RAMP, photometric="CMYK")
    capture = header(CAPTURE, Rows=6, Columns=8, PhotometricInterpretation="MONOCHROME2", Modality="OT")
    capture.save_as(tmp_path / "capture.dcm", enforce_file_format=True)
    header(CAPTURE, Modality="OT").save_as(tmp_path / "none.dcm", enforce_file_format=True)
    with pytest.raises(DataError) as error:
        image_datalist(tmp_path)
    lines = {
        line.split(": ")[0].split("/")[-1]: line for line in str(error.value).splitlines() if line.startswith("  - ")
    }
    expected = {
        "text.dcm": "not a DICOM file (it starts with b'hello, I am a te', and has no DICM",
        "half.dcm": "truncated or damaged DICOM file",
        "start.dcm": "truncated or damaged DICOM file",
        "empty.dcm": "zero bytes",
        "video.dcm": "it holds a video stream (MPEG-4 AVC/H.264 High Profile / Level 4.1)",
        "strange.dcm": "photometric interpretation 'CMYK' can't be read",
        "capture.dcm": "it has no pixel data",
        "none.dcm": "one without pixels (SOP class: Secondary Capture Image Storage)",
    }
    assert set(lines) == set(expected)
    assert [name for name, message in expected.items() if message not in lines[name]] == [], str(error.value)


@pytest.mark.parametrize("name", ["a.IMA", "a.dcm", "a", "1.2.840.7", "a.img", "a.v2"])
def test_dicom_is_known_by_its_content(tmp_path, name):
    assert is_dicom(f"{write_dicom(tmp_path / name, RAMP)}#1")
    assert [case["case_id"] for case in image_datalist(tmp_path)] == [name]
    (tmp_path / name).write_bytes(b"x" * 200)
    assert is_dicom(tmp_path / name) == name.endswith(("IMA", "dcm"))
    assert not is_dicom(write_dicom(tmp_path / "DICOMDIR", RAMP))
