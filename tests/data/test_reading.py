import nibabel
import numpy as np
import pytest
from hybrid_attention.data.reading import GreyReader, read_grey
from monai.transforms import LoadImage
from PIL import Image

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # (H, W)


def save(path, array):
    Image.fromarray(array).save(path)
    return path


def test_axes_are_width_then_height(tmp_path):
    array = read_grey(save(tmp_path / "a.png", RAMP))
    assert array.shape == (4, 3)
    np.testing.assert_array_equal(array, RAMP.T)


def test_rgb_and_opaque_rgba_equal_grey(tmp_path):
    rgb = np.repeat(RAMP[..., None], 3, axis=-1)
    rgba = np.concatenate([rgb, np.full((3, 4, 1), 255, np.uint8)], axis=-1)
    for name, array in (("rgb.png", rgb), ("rgba.png", rgba)):
        np.testing.assert_array_equal(read_grey(save(tmp_path / name, array)), RAMP.T)


def test_transparent_pixels_are_black(tmp_path):
    rgba = np.full((2, 2, 4), 255, np.uint8)
    rgba[0, 0, 3] = 0
    np.testing.assert_array_equal(read_grey(save(tmp_path / "a.png", rgba)), [[0, 255], [255, 255]])


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 255, 255, 100, 100, 100])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=0)
    np.testing.assert_array_equal(read_grey(tmp_path / "p.png"), [[0], [100]])


def test_sixteen_bits_are_not_clipped(tmp_path):
    deep = RAMP.astype(np.uint16) * 257
    array = read_grey(save(tmp_path / "deep.png", deep))
    np.testing.assert_array_equal(array, deep.T)


def test_one_bit_mask(tmp_path):
    Image.fromarray(RAMP > 100).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "m.png") > 0, (RAMP > 100).T)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.png", b"", "zero bytes"),
        ("text.png", b"hello, I am a text file", "not an image"),
        ("none.png", None, "does not exist"),
        ("bad.nii.gz", b"\x1f\x8bnonsense", "damaged NIfTI"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_grey(path)


def test_truncated_png(tmp_path):
    whole = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_grey(tmp_path / "half.png")


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 1)])
def test_nifti(tmp_path, shape):
    nibabel.save(nibabel.Nifti1Image(RAMP.T.reshape(shape).astype(np.float32), np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_grey(tmp_path / "a.nii.gz"), RAMP.T)


def test_nifti_in_colour_as_vectors(tmp_path):
    rgb = np.stack([RAMP.T, RAMP.T // 2, 0 * RAMP.T], axis=-1)[:, :, None, None]
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), tmp_path / "a.nii.gz")
    array = read_grey(tmp_path / "a.nii.gz")
    assert array.shape == (4, 3)
    np.testing.assert_allclose(array, (0.299 * RAMP + 0.587 * (RAMP // 2)).T, atol=1e-3)


@pytest.mark.parametrize("channels", ["RGB", "RGBA"])
def test_nifti_in_colour_as_a_structure(tmp_path, channels):
    pixels = np.zeros((2, 1), [(name, np.uint8) for name in channels])  # (W, H)
    pixels[0, 0] = (200, 100, 50, 7)[: len(channels)]
    pixels[1, 0] = (0, 0, 255, 255)[: len(channels)]
    nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), tmp_path / "a.nii.gz")
    array = read_grey(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(array, [[59.8 + 58.7 + 5.7], [29.07]], atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nifti_with_nan_or_inf(tmp_path, value):
    array = RAMP.T.astype(np.float32)
    array[1, 1] = value
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ValueError, match="1 pixels are NaN or Inf"):
        read_grey(tmp_path / "a.nii")


def test_nifti_volume_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 3, 2), np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ValueError, match=r"one 2D slice, got an array of shape \(4, 3, 2\)"):
        read_grey(tmp_path / "a.nii")


def test_reader_gives_one_channel_a_file(tmp_path):
    first, second = save(tmp_path / "a.png", RAMP), save(tmp_path / "b.png", RAMP[::-1].copy())
    load = LoadImage(reader=GreyReader, image_only=True, ensure_channel_first=True)
    assert load(str(first)).shape == (1, 4, 3)
    both = load([str(first), str(second)])
    assert both.shape == (2, 4, 3)
    np.testing.assert_array_equal(both[1], RAMP[::-1].T)


def test_reader_names_the_file(tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.png: the file has zero bytes"):
        GreyReader().read(tmp_path / "x.png")
