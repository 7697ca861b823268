import sys

import numpy as np
import pytest
from hybrid_attention.data import dicom_pixels
from hybrid_attention.data.images import read_grey
from PIL import Image

from tests.data import dicom_files as dicom
from tests.data.dicom_files import jpeg_frames, pydicom, region, set_text, write_dicom

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
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
        (RAMP, "MONOCHROME2", {"syntax": dicom.DEFLATED}, RAMP),
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
    found = grey(frame, kind, syntax=dicom.JPEG, raw=jpeg_frames([frame]))
    np.testing.assert_allclose(found, np.asarray(Image.fromarray(frame).convert("L")), atol=4)
    with pytest.raises(ValueError, match="truncated or damaged DICOM file"):
        grey(frame, kind, syntax=dicom.JPEG, raw=jpeg_frames([frame[:3]]))


@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (16, 257)])
def test_palette(grey, bits, scale):
    index = np.asarray([[0, 1, 2], [2, 1, 0]], np.uint8)
    luma = np.array([29.07, 0.299 * 200 + 0.587 * 100 + 0.114 * 50, 0.299 * 10 + 0.587 * 20 + 0.114 * 30])
    tags = {}
    for colour, values in {"Red": [0, 200, 10, 0], "Green": [0, 100, 20, 0], "Blue": [255, 50, 30, 0]}.items():
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [4, 0, bits]
        tags[f"{colour}PaletteColorLookupTableData"] = (np.array(values, f"<u{bits // 8}") * scale).tobytes()
    np.testing.assert_allclose(grey(index, "PALETTE COLOR", **tags), luma[index] * scale, atol=0.6 * scale)


@pytest.mark.parametrize("syntax", [dicom.EXPLICIT, dicom.DEFLATED, dicom.RLE])
def test_frames_of_a_loop_are_cropped_alike(tmp_path, syntax):
    frames = np.stack([RAMP, RAMP // 2, RAMP // 3])
    stored = dicom.EXPLICIT if syntax == dicom.RLE else syntax
    file = write_dicom(tmp_path / "a.dcm", frames, syntax=stored, NumberOfFrames=3, regions=[region(1, 2, 4, 5)])
    if syntax == dicom.RLE:
        stored = pydicom.dcmread(file)
        stored.compress(dicom.RLE)
        stored.save_as(file)
    for number, frame in enumerate(frames, start=1):
        np.testing.assert_array_equal(read_grey(f"{file}#{number}"), frame[2:6, 1:5])


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_as_dark_as_the_darkest_pixel(grey, kind):
    """Padded by -2000 to -1999: as they are, all else would look alike."""
    signed = RAMP.astype(np.int16)
    signed[:2, :2], signed[5, 7] = -2000, -1999
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
        {"WindowCenter": "100", "WindowWidth": "-3", "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": "100", "WindowWidth": "0", "VOILUTFunction": ""},
    ],
)
def test_empty_and_invalid_values_are_absent(tmp_path, texts):
    file = set_text(write_dicom(tmp_path / "a.dcm", RAMP), **texts)
    np.testing.assert_array_equal(read_grey(file), RAMP - (7.0 if "-7" in texts.values() else 0.0))


def test_missing_packages_are_named(grey, tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_pixels, "_has_decoder", lambda syntax: False)
    message = r"JPEG Lossless.* no decoder is installed: install pylibjpeg pylibjpeg-libjpeg"
    with pytest.raises(ValueError, match=message):
        grey(RAMP, syntax=dicom.JPEG_LOSSLESS, raw=jpeg_frames([RAMP]))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r"needs pydicom: pip install '\.\[dicom\]'"):
        read_grey(tmp_path / "a.dcm")
