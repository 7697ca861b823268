from pathlib import Path

import numpy as np
import pytest
from hybrid_attention.prediction.inputs import to_image
from PIL import Image

from tests.data.dicom_files import region, write_dicom

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float32, np.float64])
def test_arrays_of_any_type(dtype):
    np.testing.assert_array_equal(to_image(RAMP.astype(dtype)).pixels, RAMP)
    np.testing.assert_array_equal(to_image(RAMP[..., None].astype(dtype)).pixels, RAMP)
    np.testing.assert_array_equal(to_image(RAMP * 7.5 - 300).pixels, RAMP * 7.5 - 300)


def test_pictures_become_luma_and_are_turned_as_their_tags_say(tmp_path):
    colour = np.stack([RAMP, RAMP // 2, RAMP // 4], axis=-1)
    expected = np.asarray(Image.fromarray(colour).convert("L"))
    np.testing.assert_array_equal(to_image(colour).pixels, expected)
    np.testing.assert_allclose(to_image(colour / 255).pixels * 255, expected, atol=1)
    np.testing.assert_array_equal(to_image(Image.fromarray(colour)).pixels, expected)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    Image.fromarray(RAMP).save(tmp_path / "a.png", exif=exif)
    for image in (Image.open(tmp_path / "a.png"), tmp_path / "a.png"):
        np.testing.assert_array_equal(to_image(image).pixels, np.rot90(RAMP, -1))


def test_a_dicom_data_set_states_its_spacing(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    path = write_dicom(tmp_path / "a.dcm", RAMP, regions=[region(1, 0, 3, 2, delta=(0.01, 0.02))])
    for image in (to_image(pydicom.dcmread(path)), to_image(str(path))):
        np.testing.assert_array_equal(image.pixels, RAMP[:, 1:])
        assert image.spacing == pytest.approx((0.2, 0.1))
    assert to_image(path, spacing=(1, 2)).spacing == (1, 2)
    loop = write_dicom(tmp_path / "b.dcm", np.stack([RAMP, RAMP]), NumberOfFrames=2)
    with pytest.raises(ValueError, match="2 frames"):
        to_image(pydicom.dcmread(loop))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((3, 3), np.nan), "9 values"),
        (np.array([[0, np.inf], [1, 2]]), "1 values"),
        (np.zeros((3, 3, 4)), "four channels"),
        (np.zeros((3, 3), bool), "got bool"),
        (np.zeros((2, 3, 2)), r"got \(2, 3, 2\)"),
        (RAMP[:1], r"two rows and columns at least, got \(1, 4\)"),
        (RAMP * 1e300, "11 values"),
        (np.full((3, 3), 7), r"same grey value \(7\)"),
        (np.broadcast_to(np.uint8(7), (10000, 20000)), "it has 20000x10000 pixels, more than 50 million"),
        (Image.fromarray(np.array([[np.nan, 1], [2, 3]], np.float32)), "1 values"),
        (Image.new("L", (4, 3)), r"same grey value \(0\)"),
        (Path(__file__).parent, "it is a folder, not an image"),
        ("missing.png", r"missing\.png: the file does not exist"),
    ],
)
def test_what_is_not_an_image(image, message):
    with pytest.raises(ValueError, match=message):
        to_image(image)


def test_other_types_and_spacing():
    with pytest.raises(TypeError, match="got dict"):
        to_image({})
    for spacing in ((1,), (0, 1), (1, float("nan"))):
        with pytest.raises(ValueError, match="height and width"):
            to_image(RAMP, spacing)
