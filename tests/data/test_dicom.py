import re

import numpy as np
import pytest
from hybrid_attention.data import DataError, image_datalist
from hybrid_attention.data.cases import inspect_cases
from hybrid_attention.data.dicom import geometry
from hybrid_attention.data.dicom_pixels import frame_paths
from hybrid_attention.data.images import pixel_proportions, pixel_spacing, read_grey, to_full_frame, to_tissue
from hybrid_attention.data.names import is_dicom, split_frame

from tests.data.dicom_files import CAPTURE, JPEG, MPEG4, header, jpeg_frames, region, set_text, write_dicom
from tests.data.published_sets import mask

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8)  # six rows of eight
CINE = np.stack([RAMP, RAMP + 50, RAMP + 100])


@pytest.fixture
def write(tmp_path):
    return lambda pixels=RAMP, name="a.dcm", **options: write_dicom(tmp_path / name, pixels, **options)


def test_frames_that_become_cases(write):
    cine = write(CINE, "cine.dcm", NumberOfFrames=3)
    assert frame_paths(cine) == [f"{cine}#1", f"{cine}#2", f"{cine}#3"]
    assert frame_paths(cine, "middle") == [f"{cine}#2"]
    assert frame_paths(cine, [3, 1]) == [f"{cine}#3", f"{cine}#1"]
    assert split_frame(f"{cine}#12") == (cine, 12)
    odd = write(name="scan#2")  # a file's own name
    assert split_frame(odd) == (odd, None) and frame_paths(odd, "middle") == [str(odd)]
    with pytest.raises(ValueError, match="frame 4 does not exist: the file has 3"):
        frame_paths(cine, [1, 4])
    with pytest.raises(ValueError, match=r"'all', 'middle' or a list .* got 'last'"):
        frame_paths(cine, "last")
    with pytest.raises(ValueError, match=r"it has 3 frames: name one, cine\.dcm#1 to cine\.dcm#3"):
        read_grey(cine)
    with pytest.raises(ValueError, match="frame 0 does not exist: the file has 3"):
        read_grey(f"{cine}#0")


def test_only_regions_of_tissue_count_and_the_box_holds_all(write):
    spectrum, flow = region(0, 0, 7, 5, spatial_format=3, data_type=3), region(0, 0, 7, 5, data_type=2)
    left, right = region(1, 1, 2, 3), region(5, 2, 6, 4)
    both = geometry(write(regions=[spectrum, left, flow, right]))
    assert both.box == (1, 1, 7, 5) and both.spacing == pytest.approx((0.2, 0.1))
    other = [left, region(5, 2, 6, 4, delta=(0.03, 0.03))]
    assert geometry(write(regions=other, PixelSpacing=[1, 1])).spacing is None
    none = geometry(write(regions=[spectrum, flow]))
    assert none.box == (0, 0, 8, 6) and none.spacing is None
    assert geometry(write(regions=[region(4, 0, 8, 6)])).box == (4, 0, 8, 6)  # beyond the border
    with pytest.raises(ValueError, match=r"\[9, 0, 12, 5\] is outside the frame of 8x6 pixels"):
        read_grey(write(regions=[region(9, 0, 12, 5)]))


def test_spacing_and_proportions_where_no_region_states_one(write):
    spacing, tall = {"PixelSpacing": [0.3, 0.2]}, {"PixelAspectRatio": [2, 1]}  # height to width, in both
    file = write(**spacing, **tall)
    assert pixel_spacing(file) == (0.3, 0.2) and pixel_proportions(file) == pytest.approx((1.5**0.5, 1.5**-0.5))
    assert pixel_spacing(write(regions=[region(0, 0, 7, 5, units=4)], **spacing)) == (0.3, 0.2)  # in seconds
    for text in ("", "x\\0.2", "0\\0.2", "nan\\0.2"):
        assert pixel_spacing(set_text(write(), PixelSpacing=text)) is None
    file = write(**tall)
    assert pixel_spacing(file) is None and pixel_proportions(file) == pytest.approx((2**0.5, 2**-0.5))
    for text in ("", "x\\1", "0\\1", "2"):
        assert pixel_proportions(set_text(file, PixelAspectRatio=text)) == (1, 1)


def test_region_with_spacing_in_cm_and_back_into_the_frame(write, tmp_path):
    # columns 2 to 5 and rows 1 to 4, both ends within
    file = write(regions=[region(2, 1, 5, 4, delta=(0.01, -0.02))])
    assert geometry(file).box == (2, 1, 6, 5)
    assert pixel_spacing(file) == pytest.approx((0.2, 0.1))
    np.testing.assert_array_equal(read_grey(file), RAMP[1:5, 2:6])
    corner = np.zeros((4, 4), np.uint8)
    corner[3, 0] = 1  # first column and last row of the tissue
    frame = to_full_frame(corner, file)
    assert frame.shape == (6, 8) and frame.dtype == np.uint8
    assert np.argwhere(frame).tolist() == [[4, 2]]
    np.testing.assert_array_equal(to_tissue(frame, file), corner)
    assert to_full_frame(corner, "a.png") is corner
    with pytest.raises(ValueError, match=r"\(3, 4\) does not fit the tissue of \(4, 4\)"):
        to_full_frame(corner[1:], file)
    truth = tmp_path / "a_mask.png"  # of the whole frame
    mask(truth, size=(8, 6), box=(2, 1, 6, 5))
    assert inspect_cases([{"image": str(file), "label": [truth]}])[1][0]["lesion_area_fraction"] == 1
    mask(truth, size=(7, 6))
    with pytest.raises(DataError, match="mask of 7x6 pixels for an image of 4x4"):
        image_datalist(tmp_path)


def test_other_modalities_are_read_and_logged_and_what_holds_no_image_is_refused(write, tmp_path, caplog):
    write(name="seg.dcm", Modality="SEG")
    with pytest.raises(DataError, match="its DICOM files are not images"):
        image_datalist(tmp_path)
    with pytest.raises(DataError, match=r"seg\.dcm: this DICOM file is not an image"):
        image_datalist(tmp_path / "seg.dcm")
    caplog.clear()
    assert len(image_datalist(write(name="us.dcm"))) == 1 and caplog.text == ""
    assert len(image_datalist(write(kind=CAPTURE, Modality="OT"))) == 1
    assert "its modality is OT, not ultrasound" in caplog.text


def test_all_bad_files_at_once(write, tmp_path):
    """Also pixels that contradict their header."""
    colours = np.stack([RAMP] * 3, axis=-1)
    (tmp_path / "half.dcm").write_bytes(write(name="good.dcm").read_bytes()[:-20])
    (tmp_path / "text.dcm").write_bytes(b"hello, I am a text " * 9)
    (tmp_path / "empty.dcm").touch()
    write(CINE, "video.dcm", NumberOfFrames=3, syntax=MPEG4, raw=jpeg_frames([RAMP]))
    write(name="strange.dcm", photometric="CMYK")
    capture = header(CAPTURE, Rows=6, Columns=8, PhotometricInterpretation="MONOCHROME2", Modality="OT")
    capture.save_as(tmp_path / "capture.dcm", enforce_file_format=True)
    header(CAPTURE, Modality="OT").save_as(tmp_path / "none.dcm", enforce_file_format=True)
    capture.Rows, capture.Columns = 10000, 20000
    capture.save_as(tmp_path / "many.dcm", enforce_file_format=True)
    write(colours, "full.dcm", photometric="YBR_FULL_422")  # but not subsampled
    write(name="packed.dcm", syntax=JPEG, raw=jpeg_frames(CINE))
    write(CINE, "loop.dcm", syntax=JPEG, raw=jpeg_frames([RAMP]), NumberOfFrames=3)
    write(colours, "samples.dcm")
    write(name="deep.dcm", raw=RAMP.astype("<u2").tobytes())
    expected = {
        "text": "not a DICOM file (it starts with b'hello, I am a te', and has no DICM",
        "half": "truncated or damaged DICOM file",
        "empty": "zero bytes",
        "video": "it holds a video stream (MPEG-4 AVC/H.264 High Profile / Level 4.1)",
        "strange": "photometric interpretation 'CMYK' can't be read",
        "capture": "it has no pixel data",
        "none": "one without pixels (SOP class: Secondary Capture Image Storage)",
        "many": "it has 20000x10000 pixels, more than 50 million",
        "full": "144 bytes, but its header states 1 frame(s) of 8x6 pixels as YBR_FULL_422",
        "packed": "states 1 frame(s), its pixel data hold 3",
        "loop": "states 3 frame(s), its pixel data hold 1",
        "samples": "its header states 3 samples per pixel as MONOCHROME2, expected 1",
        "deep": "96 bytes, but",
    }
    with pytest.raises(DataError) as error:
        image_datalist(tmp_path)
    lines = re.findall(r"  - .*/(\w+)\.dcm: (.*)", str(error.value))
    assert {name for name, _ in lines} == set(expected)
    assert [line for name, line in lines if expected[name] not in line] == []


def test_dicom_is_known_by_its_content(write, tmp_path):
    names = ["1.2.840.7", "a", "a.IMA", "a.dcm", "a.img", "a.v2"]
    assert all(is_dicom(f"{write(name=name)}#1") for name in names) and not is_dicom(write(name="DICOMDIR"))
    assert len(image_datalist(tmp_path / "a")) == 1
    for name in names:
        (tmp_path / name).write_bytes(b"x" * 200)
        assert is_dicom(tmp_path / name) == (name in ("a.IMA", "a.dcm"))
