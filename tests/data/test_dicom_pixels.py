"""Known pixels of each photometric interpretation, as `read_grey` gives them."""

import sys

import numpy as np
import pytest
from hybrid_attention.data import DataError, dicom_pixels, image_datalist, images
from hybrid_attention.data.images import image_shape, read_grey
from PIL import Image

from tests.data.dicom_files import (
    DEFLATED,
    EXPLICIT,
    JPEG,
    JPEG_LOSSLESS,
    RLE,
    jpeg_frames,
    region,
    set_text,
    to_ybr,
    write_dicom,
)

pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOURS = np.zeros((4, 6, 3), np.uint8)  # red, green and blue stripes two pixels wide, and a grey row
COLOURS[:, :2, 0], COLOURS[:, 2:4, 1], COLOURS[:, 4:, 2] = 200, 100, 250
COLOURS[3] = 77
LUMA = np.asarray(Image.fromarray(COLOURS).convert("L"))


def test_monochrome(tmp_path):
    grey = read_grey(write_dicom(tmp_path / "a.dcm", RAMP))
    assert grey.shape == (6, 8) and grey.dtype == np.float32
    np.testing.assert_array_equal(grey, RAMP)
    dark_is_white = read_grey(write_dicom(tmp_path / "b.dcm", RAMP, photometric="MONOCHROME1"))
    np.testing.assert_array_equal(dark_is_white, 255 - RAMP.astype(int))
    padded = write_dicom(tmp_path / "c.dcm", RAMP[:, :5], raw=RAMP[:, :5].tobytes() + bytes(4))
    np.testing.assert_array_equal(read_grey(padded), RAMP[:, :5])
    np.testing.assert_array_equal(read_grey(write_dicom(tmp_path / "d.dcm", RAMP, syntax=DEFLATED)), RAMP)
    nothing = write_dicom(tmp_path / "e.dcm", RAMP, WindowCenter=5000, WindowWidth=10)
    with pytest.raises(ValueError, match="same grey value"):
        read_grey(nothing)


def test_sixteen_bits_signed_and_rescaled(tmp_path):
    deep = RAMP.astype(np.uint16) * 16
    np.testing.assert_array_equal(read_grey(write_dicom(tmp_path / "a.dcm", deep, BitsStored=12)), deep)
    signed = RAMP.astype(np.int16) - 100
    rescale = {"RescaleSlope": 2, "RescaleIntercept": 10, "RescaleType": "US"}
    np.testing.assert_array_equal(read_grey(write_dicom(tmp_path / "b.dcm", signed, **rescale)), 2 * signed + 10)
    # MONOCHROME1: 12 bits hold 0 to 4095, rescaled 10 to 8200
    inverted = read_grey(write_dicom(tmp_path / "c.dcm", deep, "MONOCHROME1", BitsStored=12, **rescale))
    np.testing.assert_array_equal(inverted, 8210 - (2.0 * deep + 10))


def test_window(tmp_path):
    # centre 100.5 and width 101: 50 and less are black, more than 150 are white, linear between (PS3.3 C.11.2.1.2.1)
    file = write_dicom(tmp_path / "a.dcm", RAMP, WindowCenter=100.5, WindowWidth=101)
    expected = ((RAMP - 100.0) / 100 + 0.5).clip(0, 1) * 255
    np.testing.assert_allclose(read_grey(file), expected, atol=1e-4)


def test_table_of_values_of_interest(tmp_path):
    from pydicom import Dataset

    table = Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 16], (np.arange(256) ** 2).astype("<u2").tobytes()
    for name, kind in (("a.dcm", "MONOCHROME2"), ("b.dcm", "MONOCHROME1")):
        grey = read_grey(write_dicom(tmp_path / name, RAMP, kind, VOILUTSequence=[table]))
        squares = RAMP.astype(float) ** 2
        np.testing.assert_array_equal(grey, squares if kind == "MONOCHROME2" else 65535 - squares)


YBR = to_ybr(COLOURS)
PAIRS = np.stack([YBR[:, ::2, 0], YBR[:, 1::2, 0], YBR[:, ::2, 1], YBR[:, ::2, 2]], axis=-1)  # two pixels, four bytes


@pytest.mark.parametrize(
    ("kind", "stored", "planar"),
    [("RGB", COLOURS, 0), ("RGB", np.moveaxis(COLOURS, -1, 0), 1), ("YBR_FULL", YBR, 0), ("YBR_FULL_422", PAIRS, 0)],
)
def test_colours_equal_the_same_png(tmp_path, kind, stored, planar):
    file = write_dicom(tmp_path / "a.dcm", COLOURS, kind, raw=stored.tobytes(), PlanarConfiguration=planar)
    np.testing.assert_allclose(read_grey(file), LUMA, atol=0 if kind == "RGB" else 1)


@pytest.mark.parametrize("kind", ["YBR_FULL_422", "MONOCHROME2"])
def test_jpeg_baseline(tmp_path, kind):
    smooth = np.add.outer(np.arange(32), 2 * np.arange(48)).astype(np.uint8)
    frame = np.stack([smooth, smooth // 2, smooth // 3], axis=-1) if kind.startswith("YBR") else smooth
    file = write_dicom(tmp_path / "a.dcm", frame, kind, syntax=JPEG, raw=jpeg_frames([frame]))
    np.testing.assert_allclose(read_grey(file), np.asarray(Image.fromarray(frame).convert("L")), atol=4)


def test_palette_of_eight_and_sixteen_bits(tmp_path):
    index = np.asarray([[0, 1, 2], [2, 1, 0]], np.uint8)
    entries = {"Red": [0, 200, 10, 0], "Green": [0, 100, 20, 0], "Blue": [255, 50, 30, 0]}
    luma = [29.07, 0.299 * 200 + 0.587 * 100 + 0.114 * 50, 0.299 * 10 + 0.587 * 20 + 0.114 * 30]
    for bits in (8, 16):
        tags = {}
        for colour, values in entries.items():
            stored = np.asarray(values, np.uint8 if bits == 8 else "<u2") * (1 if bits == 8 else 257)
            tags[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, bits]
            tags[f"{colour}PaletteColorLookupTableData"] = stored.tobytes()
        grey = read_grey(write_dicom(tmp_path / f"{bits}.dcm", index, "PALETTE COLOR", **tags))
        scale = 1 if bits == 8 else 257
        np.testing.assert_allclose(grey, np.asarray(luma)[index] * scale, atol=0.6 * scale)


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED, RLE])
def test_frames_of_a_loop_are_cropped_alike(tmp_path, syntax):
    frames = np.stack([RAMP, RAMP // 2, RAMP // 3])
    stored = EXPLICIT if syntax == RLE else syntax
    file = write_dicom(tmp_path / "a.dcm", frames, syntax=stored, NumberOfFrames=3, regions=[region(1, 2, 4, 5)])
    if syntax == RLE:
        from pydicom import dcmread

        stored = dcmread(file)
        stored.compress(RLE)
        stored.save_as(file)
    for number, frame in enumerate(frames, start=1):
        np.testing.assert_array_equal(read_grey(f"{file}#{number}"), frame[2:6, 1:5])


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_as_dark_as_the_darkest_pixel(tmp_path, kind):
    """Padded by -2000 to -1999: as they are, all else would look alike."""
    signed = RAMP.astype(np.int16)
    signed[:2, :2] = -2000
    signed[5, 7] = -1999
    tissue = signed if kind == "MONOCHROME2" else -1 - signed.astype(int)  # of the range -32768 to 32767
    padded, inside = signed < 0, signed >= 0
    grey = read_grey(
        write_dicom(tmp_path / "a.dcm", signed, kind, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1999)
    )
    np.testing.assert_array_equal(grey[inside], tissue[inside])
    assert set(grey[padded]) == {tissue[inside].min()}
    one = read_grey(write_dicom(tmp_path / "b.dcm", signed, kind, PixelPaddingValue=-2000))
    assert one[5, 7] == (-1999 if kind == "MONOCHROME2" else 1998)


@pytest.mark.parametrize(
    "texts",
    [
        {"RescaleSlope": "", "RescaleIntercept": ""},
        {"RescaleSlope": "abc", "RescaleIntercept": "0"},
        {"RescaleSlope": "0", "RescaleIntercept": "0"},
        {"RescaleSlope": "nan", "RescaleIntercept": ""},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": "", "WindowWidth": "20"},
        {"WindowCenter": "100", "WindowWidth": "0"},
        {"WindowCenter": "x", "WindowWidth": "20"},
        {"WindowCenter": "100", "WindowWidth": "-3", "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": "100", "WindowWidth": "0", "VOILUTFunction": ""},
    ],
)
def test_empty_and_invalid_values_are_absent(tmp_path, texts):
    np.testing.assert_array_equal(read_grey(set_text(write_dicom(tmp_path / "a.dcm", RAMP), **texts)), RAMP)
    half = set_text(write_dicom(tmp_path / "b.dcm", RAMP), RescaleSlope="", RescaleIntercept="-7")
    np.testing.assert_array_equal(read_grey(half), RAMP - 7.0)


def test_pixels_that_contradict_their_header(tmp_path):
    """Each is listed with its file, none is read."""
    three = np.stack([RAMP] * 3)
    write_dicom(tmp_path / "subsampled.dcm", COLOURS, "YBR_FULL_422")  # but holds full colour
    write_dicom(tmp_path / "frames.dcm", RAMP, raw=three.tobytes())
    write_dicom(tmp_path / "packed.dcm", RAMP, syntax=JPEG, raw=jpeg_frames(three))
    write_dicom(tmp_path / "loop.dcm", three, syntax=JPEG, raw=jpeg_frames([RAMP]), NumberOfFrames=3)
    write_dicom(tmp_path / "samples.dcm", COLOURS, "MONOCHROME2")
    write_dicom(tmp_path / "deep.dcm", RAMP, raw=RAMP.astype("<u2").tobytes())
    with pytest.raises(DataError) as error:
        image_datalist(tmp_path)
    lines = {line.split(": ")[0].split("/")[-1]: line for line in str(error.value).splitlines() if "  - " in line}
    expected = {
        "subsampled.dcm": "72 bytes, but its header states 1 frame(s) of 6x4 pixels as YBR_FULL_422",
        "frames.dcm": "144 bytes, but its header states 1 frame(s) of 8x6 pixels",
        "packed.dcm": "states 1 frame(s), its pixel data hold 3",
        "loop.dcm": "states 3 frame(s), its pixel data hold 1",
        "samples.dcm": "its header states 3 samples per pixel as MONOCHROME2, expected 1",
        "deep.dcm": "96 bytes, but",
    }
    assert set(lines) == set(expected)
    assert [name for name, message in expected.items() if message not in lines[name]] == [], str(error.value)
    size = write_dicom(tmp_path / "size.dcm", RAMP, syntax=JPEG, raw=jpeg_frames([RAMP[:3]]))
    with pytest.raises(ValueError, match="truncated or damaged DICOM file"):
        read_grey(size)


def test_any_error_of_a_library_is_explained(tmp_path, monkeypatch):
    file = write_dicom(tmp_path / "a.dcm", RAMP)
    for name, read in (("read_dicom_grey", read_grey), ("geometry", image_shape)):
        monkeypatch.setattr(images, name, lambda path: {}["Rows"])
        with pytest.raises(ValueError, match=r"it can't be read \(KeyError: 'Rows'\)"):
            read(file)


def test_missing_packages_are_named(tmp_path, monkeypatch):
    file = write_dicom(tmp_path / "a.dcm", RAMP, syntax=JPEG_LOSSLESS, raw=jpeg_frames([RAMP]))
    monkeypatch.setattr(dicom_pixels, "_has_decoder", lambda syntax: False)
    message = r"JPEG Lossless.* no decoder is installed: install pylibjpeg pylibjpeg-libjpeg"
    with pytest.raises(ValueError, match=message):
        read_grey(file)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r"needs pydicom: pip install '\.\[dicom\]'"):
        read_grey(file)


def test_an_image_of_many_pixels_is_not_decoded(tmp_path):
    from pydicom import dcmread

    path = write_dicom(tmp_path / "a.dcm", np.zeros((2, 2), np.uint8))
    stored = dcmread(path)
    stored.Rows, stored.Columns = 10000, 20000
    stored.save_as(path)
    with pytest.raises(ValueError, match="it has 20000x10000 pixels, more than 50 million"):
        read_grey(path)
