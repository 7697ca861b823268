import zlib

import numpy as np
import pytest
from hybrid_attention.data.grey import stretched
from hybrid_attention.data.images import image_shape, read_grey
from hybrid_attention.data.masks import read_mask
from hybrid_attention.data.names import is_image
from hybrid_attention.data.readers import GreyReader
from PIL import Image

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # (H, W)
RGB = np.repeat(RAMP[..., None], 3, axis=-1)
BRIGHT = RAMP > 60
PALETTE = Image.fromarray(BRIGHT.astype(np.uint8), "P")
PALETTE.putpalette([255, 255, 255, 100, 100, 100])
DAMAGED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12"  # a tag that says nothing


@pytest.mark.parametrize(
    ("name", "stored", "options", "expected"),
    [
        *((f"a.{suffix}", RAMP, {}, RAMP) for suffix in ("png", "tif", "TIFF", "gif", "bmp", "pgm", "jp2")),
        ("a.webp", RAMP, {"lossless": True}, RAMP),
        ("a.png", RAMP, {"exif": DAMAGED}, RAMP),
        ("a.png", RAMP.astype(np.uint16) * 257, {}, RAMP.astype(int) * 257),
        ("a.png", RGB, {}, RAMP),
        ("a.png", np.dstack([RGB, BRIGHT * np.uint8(255)]), {}, RAMP * BRIGHT),
        ("a.png", PALETTE, {"transparency": 0}, 100 * BRIGHT),
    ],
)
def test_arrays_are_height_by_width_whatever_the_mode(tmp_path, name, stored, options, expected):
    image = stored if isinstance(stored, Image.Image) else Image.fromarray(stored)
    image.save(tmp_path / name, **options)
    assert is_image(tmp_path / name) and image_shape(tmp_path / name) == (3, 4)
    np.testing.assert_array_equal(read_grey(tmp_path / name), expected)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.png", b"", "zero bytes"),
        ("post.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PS-Adobe"),
        ("scan.png", bytes(128) + b"DICM" + bytes(9), r"a DICOM file: change its suffix to \.dcm"),
        ("none.png", None, "does not exist"),
        ("bad.nii.gz", b"\x1f\x8bnonsense", "damaged NIfTI"),
        ("a.zip", b"PK\x05\x06" + bytes(18), "a ZIP archive: unpack it"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for read in (GreyReader().read, image_shape):
        with pytest.raises(ValueError, match=message):
            read(path)


def test_an_image_of_many_pixels_is_not_decoded(tmp_path):
    Image.new("L", (4, 3)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    for side in (7072, 14200):  # above the limit here, and above that of Pillow
        data[16:24] = side.to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(ValueError, match="more than 50 million pixels"):
            read_grey(tmp_path / "a.png")


SHOWN = np.kron(np.array([[250, 0, 0], [0, 0, 120]], np.uint8), np.ones((16, 16), np.uint8))  # as viewers show it
MIRRORED, TURNED = SHOWN[:, ::-1], SHOWN.T
# by orientation, from 1: what a file holds that a viewer turns into that
STORED = [SHOWN, MIRRORED, SHOWN[::-1, ::-1], SHOWN[::-1], TURNED, TURNED[::-1], TURNED[::-1, ::-1], TURNED[:, ::-1]]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_tags_are_applied(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"webp": {"lossless": True}, "jpg": {"quality": 100}}.get(suffix, {})
    stored, path = np.ascontiguousarray(STORED[orientation - 1]), tmp_path / f"a.{suffix}"
    Image.fromarray(stored).save(path, exif=exif, **options)
    np.testing.assert_allclose(read_grey(path), SHOWN, atol=3)
    assert image_shape(path) == SHOWN.shape
    Image.fromarray((stored > 200) * np.uint8(255)).save(path, exif=exif, **options)
    np.testing.assert_array_equal(read_mask(path), SHOWN > 200)


def test_a_tag_behind_the_pixels_of_a_png(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SHOWN).save(tmp_path / "a.png", exif=exif)
    content = (tmp_path / "a.png").read_bytes()
    start, first, tail = (content.index(name) - 4 for name in (b"eXIf", b"IDAT", b"IEND"))
    (tmp_path / "b.png").write_bytes(content[:start] + content[first:tail] + content[start:first] + content[tail:])
    assert image_shape(tmp_path / "b.png") == read_grey(tmp_path / "b.png").shape == (48, 32)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_tiff_that_counts_from_white(tmp_path, kind):
    stored = RAMP.astype(kind)
    Image.fromarray(stored).save(tmp_path / "a.tif")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[data.index(b"\6\1\3\0") + 8] = 0  # tag 262, of type 3
    (tmp_path / "a.tif").write_bytes(data)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.tif"), np.iinfo(kind).max - stored)


def test_of_several_pages_the_first_is_read_and_the_log_says_so(tmp_path, caplog):
    first, second = Image.fromarray(BRIGHT), Image.fromarray(~BRIGHT)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    for _ in range(2):
        np.testing.assert_array_equal(read_grey(tmp_path / "a.tif"), BRIGHT * 255)
    assert caplog.text.count("a.tif has 2 pages, only the first is read") == 1
    with pytest.raises(ValueError, match="2 pages"):  # a mask would be a part of the truth
        read_mask(tmp_path / "a.tif")


def test_one_grey_value_shows_nothing(tmp_path):
    for mode, colour in (("L", 1), ("RGBA", (200, 100, 50, 0)), ("1", 0), ("I;16", 1)):
        Image.new(mode, (4, 3), colour).save(tmp_path / f"{mode}.png")
        with pytest.raises(ValueError, match=r"same grey value \([01]\)"):
            read_grey(tmp_path / f"{mode}.png")


def test_stretched():
    result = stretched(np.array([[-2.0, 0.0], [2.0, 3.0]], np.float32))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[0, 102], [204, 255]], rtol=1e-6)
    np.testing.assert_array_equal(stretched(np.full((2, 3), 70.0)), np.zeros((2, 3)))
