import re
import sys

import numpy as np
import pytest
from hybrid_attention.data import DataError, dicom_pixels, image_datalist
from hybrid_attention.data.dicom import geometry
from hybrid_attention.data.dicom_pixels import frame_paths
from hybrid_attention.data.images import pixel_proportions, pixel_spacing, read_grey, to_full_frame
from hybrid_attention.data.names import split_frame
from PIL import Image

from tests.data import dicom_files as files
from tests.data.dicom_files import header, jpeg_frames, pydicom, region, set_text, write_dicom

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5  # six rows of eight
CINE = np.stack([RAMP, RAMP // 2, RAMP // 3])


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


def test_region_with_spacing_in_cm(write):
    # columns 2 to 5 and rows 1 to 4, both ends within
    file = write(regions=[region(2, 1, 5, 4, delta=(0.01, -0.02))])
    assert geometry(file).box == (2, 1, 6, 5)
    assert pixel_spacing(file) == pytest.approx((0.2, 0.1))
    np.testing.assert_array_equal(read_grey(file), RAMP[1:5, 2:6])
    with pytest.raises(ValueError, match=r"\(3, 4\) does not fit the tissue of \(4, 4\)"):
        to_full_frame(np.zeros((3, 4)), file)


def test_other_modalities_are_read_and_logged_and_what_holds_no_image_is_refused(write, tmp_path, caplog):
    write(name="seg.dcm", Modality="SEG")
    with pytest.raises(DataError, match="its DICOM files are not images"):
        image_datalist(tmp_path)
    with pytest.raises(DataError, match=r"seg\.dcm: this DICOM file is not an image"):
        image_datalist(tmp_path / "seg.dcm")
    caplog.clear()
    assert len(image_datalist(write(name="us.dcm"))) == 1 and caplog.text == ""
    assert len(image_datalist(write(kind=files.CAPTURE, Modality="OT"))) == 1
    assert "its modality is OT, not ultrasound" in caplog.text


def test_all_bad_files_at_once(write, tmp_path):
    colours, good = np.stack([RAMP] * 3, axis=-1), write(name="good.dcm").read_bytes()
    shape = {"Rows": 6, "Columns": 8, "PhotometricInterpretation": "MONOCHROME2", "Modality": "OT"}
    one, three, words = jpeg_frames([RAMP]), jpeg_frames(CINE), RAMP.astype("<u2").tobytes()
    bad = {
        "not a DICOM file (it starts with b'hello, I am a te', and has no DICM": b"hello, I am a text " * 9,
        "truncated or damaged DICOM file": good[:-20],
        "zero bytes": b"",
        "one without pixels (SOP class: Secondary Capture Image Storage)": header(files.CAPTURE, Modality="OT"),
        "it has no pixel data": header(files.CAPTURE, **shape),
        "it has 60000x60000 pixels, more than 50": header(files.CAPTURE, **{**shape, "Rows": 60000, "Columns": 60000}),
        "it holds a video stream (MPEG-4": (CINE, {"NumberOfFrames": 3, "syntax": files.MPEG4, "raw": one}),
        "states 3 frame(s), its pixel data hold 1": (CINE, {"NumberOfFrames": 3, "syntax": files.JPEG, "raw": one}),
        "states 1 frame(s), its pixel data hold 3": (RAMP, {"syntax": files.JPEG, "raw": three}),
        "photometric interpretation 'CMYK' can't be read": (RAMP, {"photometric": "CMYK"}),
        "144 bytes, but its header states 1 frame(s) of 8x6 pixels as": (colours, {"photometric": "YBR_FULL_422"}),
        "its header states 3 samples per pixel as MONOCHROME2, expected 1": (colours, {}),
        "96 bytes, but": (RAMP, {"raw": words}),
    }
    for number, content in enumerate(bad.values()):
        if isinstance(content, bytes):
            (tmp_path / f"{number}.dcm").write_bytes(content)
        elif isinstance(content, tuple):
            write(content[0], f"{number}.dcm", **content[1])
        else:
            content.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    with pytest.raises(DataError) as error:
        image_datalist(tmp_path)
    lines = dict(re.findall(r"  - .*/(\d+)\.dcm: (.*)", str(error.value)))
    assert len(lines) == len(bad)
    assert [message for number, message in enumerate(bad) if message not in lines[str(number)]] == []


SQUARES = RAMP.astype(float) ** 2
DEEP, SIGNED = RAMP.astype(np.uint16) * 16, RAMP.astype(np.int16) - 100
RESCALE = {"RescaleSlope": 2, "RescaleIntercept": 10, "RescaleType": "US"}
TABLE = pydicom.Dataset()
TABLE.LUTDescriptor, TABLE.LUTData = [256, 0, 16], (np.arange(256) ** 2).astype("<u2").tobytes()


@pytest.fixture
def grey(tmp_path):
    return lambda *arguments, **options: read_grey(write_dicom(tmp_path / "a.dcm", *arguments, **options))


@pytest.mark.parametrize(
    ("stored", "kind", "options", "expected"),
    [
        (RAMP, "MONOCHROME2", {}, RAMP),
        (RAMP, "MONOCHROME2", {"syntax": files.DEFLATED}, RAMP),
        (RAMP[:, :5], "MONOCHROME2", {"raw": RAMP[:, :5].tobytes() + bytes(4)}, RAMP[:, :5]),  # padded
        (RAMP, "MONOCHROME1", {}, 255 - RAMP.astype(int)),
        (DEEP, "MONOCHROME2", {"BitsStored": 12}, DEEP),
        (SIGNED, "MONOCHROME2", RESCALE, 2 * SIGNED + 10),
        # 12 bits hold 0 to 4095, rescaled 10 to 8200
        (DEEP, "MONOCHROME1", {"BitsStored": 12, **RESCALE}, 8210 - (2.0 * DEEP + 10)),
        # 50 and less are black, more than 150 are white, linear between (PS3.3 C.11.2.1.2.1)
        (RAMP, "MONOCHROME2", {"WindowCenter": 100.5, "WindowWidth": 101}, (RAMP / 100 - 0.5).clip(0, 1) * 255),
        (RAMP, "MONOCHROME2", {"VOILUTSequence": [TABLE]}, SQUARES),
        (RAMP, "MONOCHROME1", {"VOILUTSequence": [TABLE]}, 65535 - SQUARES),
    ],
)
def test_monochrome(grey, stored, kind, options, expected):
    found = grey(stored, kind, **options)
    assert found.shape == expected.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4 if "WindowCenter" in options else 0)


COLOURS = np.zeros((4, 6, 3), np.uint8)  # red, green and blue stripes two pixels wide, and a grey row
COLOURS[:, :2, 0], COLOURS[:, 2:4, 1], COLOURS[:, 4:, 2] = 200, 100, 250
COLOURS[3] = 77
YBR = np.asarray(Image.fromarray(COLOURS).convert("YCbCr"))
PAIRS = np.stack([YBR[:, ::2, 0], YBR[:, 1::2, 0], YBR[:, ::2, 1], YBR[:, ::2, 2]], axis=-1)  # two pixels, four bytes
SMOOTH = np.add.outer(np.arange(32), 2 * np.arange(48)).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "stored", "planar"),
    [("RGB", COLOURS, 0), ("RGB", np.moveaxis(COLOURS, -1, 0), 1), ("YBR_FULL", YBR, 0), ("YBR_FULL_422", PAIRS, 0)],
)
def test_colours_equal_the_same_png(grey, kind, stored, planar):
    luma = np.asarray(Image.fromarray(COLOURS).convert("L"))
    found = grey(COLOURS, kind, raw=stored.tobytes(), PlanarConfiguration=planar)
    np.testing.assert_allclose(found, luma, atol=0 if kind == "RGB" else 1)


@pytest.mark.parametrize("kind", ["YBR_FULL_422", "MONOCHROME2"])
def test_jpeg_baseline(grey, kind):
    frame = np.stack([SMOOTH, SMOOTH // 2, SMOOTH // 3], axis=-1) if kind.startswith("YBR") else SMOOTH
    found = grey(frame, kind, syntax=files.JPEG, raw=jpeg_frames([frame]))
    np.testing.assert_allclose(found, np.asarray(Image.fromarray(frame).convert("L")), atol=4)
    with pytest.raises(ValueError, match="truncated or damaged DICOM file"):
        grey(frame, kind, syntax=files.JPEG, raw=jpeg_frames([frame[:3]]))


@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (16, 257)])
def test_palette(grey, bits, scale):
    index = np.asarray([[0, 1, 2], [2, 1, 0]], np.uint8)
    luma = np.array([29.07, 0.299 * 200 + 0.587 * 100 + 0.114 * 50, 0.299 * 10 + 0.587 * 20 + 0.114 * 30])
    tags = {}
    for colour, values in {"Red": [0, 200, 10, 0], "Green": [0, 100, 20, 0], "Blue": [255, 50, 30, 0]}.items():
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, bits]
        tags[f"{colour}PaletteColorLookupTableData"] = (np.array(values, f"<u{bits // 8}") * scale).tobytes()
    np.testing.assert_allclose(grey(index, "PALETTE COLOR", **tags), luma[index] * scale, atol=0.6 * scale)


@pytest.mark.parametrize("syntax", [files.EXPLICIT, files.DEFLATED, files.RLE])
def test_frames_of_a_loop_are_cropped_alike(tmp_path, syntax):
    stored = files.EXPLICIT if syntax == files.RLE else syntax
    file = write_dicom(tmp_path / "a.dcm", CINE, syntax=stored, NumberOfFrames=3, regions=[region(1, 2, 4, 5)])
    if syntax == files.RLE:
        stored = pydicom.dcmread(file)
        stored.compress(files.RLE)
        stored.save_as(file)
    for number, frame in enumerate(CINE, start=1):
        np.testing.assert_array_equal(read_grey(f"{file}#{number}"), frame[2:6, 1:5])


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_as_dark_as_the_darkest_pixel(grey, kind):
    signed = RAMP.astype(np.int16)
    signed[:2, :2], signed[5, 7] = -2000, -1999  # as they are, all else would look alike
    tissue = signed if kind == "MONOCHROME2" else -1 - signed.astype(int)  # of the range -32768 to 32767
    found, inside = grey(signed, kind, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1999), signed >= 0
    np.testing.assert_array_equal(found[inside], tissue[inside])
    assert set(found[~inside]) == {tissue[inside].min()}
    assert grey(signed, kind, PixelPaddingValue=-2000)[5, 7] == (-1999 if kind == "MONOCHROME2" else 1998)


@pytest.mark.parametrize(
    "texts",
    [
        *({"RescaleSlope": slope, "RescaleIntercept": "0"} for slope in ("", "abc", "0", "nan")),
        {"RescaleSlope": "", "RescaleIntercept": "-7"},
        *({"WindowCenter": centre, "WindowWidth": width} for centre, width in (("", "20"), ("x", "20"), ("9", "0"))),
        {"WindowCenter": "100", "WindowWidth": "0", "VOILUTFunction": "LINEAR_EXACT"},
    ],
)
def test_empty_and_invalid_values_are_absent(tmp_path, texts):
    file = set_text(write_dicom(tmp_path / "a.dcm", RAMP), **texts)
    np.testing.assert_array_equal(read_grey(file), RAMP - (7.0 if "-7" in texts.values() else 0.0))


def test_missing_packages_are_named(grey, tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_pixels, "_has_decoder", lambda syntax: False)
    message = r"JPEG Lossless.* no decoder is installed: install pylibjpeg pylibjpeg-libjpeg"
    with pytest.raises(ValueError, match=message):
        grey(RAMP, syntax=files.JPEG_LOSSLESS, raw=jpeg_frames([RAMP]))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r"needs pydicom: pip install '\.\[dicom\]'"):
        read_grey(tmp_path / "a.dcm")
