"""One picture, stored in every orientation: it is read alike, and what is made of it lies over the file's pixels."""

import itertools

import nibabel
import numpy as np
import pytest
from hybrid_attention.data.cases import inspect_cases
from hybrid_attention.data.images import pixel_proportions, pixel_spacing, read_grey
from hybrid_attention.data.nifti import place_fault, slice_geometry, write_nifti

PICTURE = np.arange(12, dtype=np.float32).reshape(4, 3)  # as stored: (W, H)
SIZES = (0.2, 0.1)  # width and height of a pixel in mm
# world axes (x to the right, y to anterior, z to superior) that run across and down; both backwards in the picture
PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}


def save(path, array, affine=None, unit="mm"):
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def store(path, plane="axial", transposed=False, across=False, down=False, shift=0.0, unit="mm", sizes=SIZES):
    """Write the picture as a volume of one slice; `across` and `down` store it backwards."""
    affine, shape = np.diag([0, 0, 0, 1.0]), [1, 1, 1]
    axes = (1, 0) if transposed else (0, 1)
    for axis, world, size, extent, back in zip(axes, PLANES[plane], sizes, PICTURE.shape, (across, down), strict=True):
        affine[world, axis] = size if back else -size
        affine[world, 3] = shift - (size * (extent - 1) if back else 0)
        shape[axis] = extent
    affine[({0, 1, 2} - set(PLANES[plane])).pop(), 2] = 5
    stored = PICTURE[:: -1 if across else 1, :: -1 if down else 1]
    return save(path, (stored.T if transposed else stored).reshape(shape), affine, unit)


@pytest.mark.parametrize(
    ("plane", "transposed", "across", "down"), list(itertools.product(PLANES, *[[False, True]] * 3))
)
def test_every_orientation(tmp_path, plane, transposed, across, down):
    file = store(tmp_path / "a.nii.gz", plane, transposed, across, down)
    np.testing.assert_array_equal(read_grey(file), PICTURE.T)
    assert pixel_spacing(file) == pytest.approx(SIZES[::-1])
    write_nifti((PICTURE.T == 7).astype(np.uint8), file, tmp_path / "mask.nii.gz")
    image, mask = nibabel.load(file), nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.get_fdata(), image.get_fdata() == 7)
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-6)
    assert mask.header.get_xyzt_units()[0] == "mm"
    # the truth may be stored in any other orientation of that plane
    assert place_fault(store(tmp_path / "b.nii.gz", plane, not transposed, not across, down), file) is None


def test_a_tilted_slice_counts_as_the_nearest_plane(tmp_path):
    file = store(tmp_path / "a.nii.gz", across=True, transposed=True)
    image, tilt = nibabel.load(file), np.eye(4)
    tilt[1:3, 1:3] = [[0.94, -0.34], [0.34, 0.94]]  # by 20 degrees
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), tilt @ image.affine), file)
    np.testing.assert_array_equal(read_grey(file), PICTURE.T)


@pytest.mark.parametrize("shape", [(1, 4, 3), (4, 1, 3), (4, 3, 1)])
@pytest.mark.parametrize("affine", [np.eye(4), None])
def test_without_orientation_as_stored(tmp_path, shape, affine):
    """The identity is what Python tools write for a picture; codes of 0 say that nothing is known."""
    file, mask = save(tmp_path / "a.nii.gz", PICTURE.reshape(shape), affine), tmp_path / "mask.nii.gz"
    np.testing.assert_array_equal(read_grey(file), PICTURE.T)
    assert pixel_spacing(file) is None and not slice_geometry(file).placed
    write_nifti((PICTURE.T > 3).astype(np.uint8), file, mask)
    np.testing.assert_array_equal(nibabel.load(mask).affine, nibabel.load(file).affine)
    assert nibabel.load(mask).shape == shape and place_fault(mask, file) is None


def test_units(tmp_path):
    for unit, factor in (("micron", 0.001), ("meter", 1000)):
        spacing = pixel_spacing(store(tmp_path / "a.nii", unit=unit))
        assert spacing == pytest.approx((0.1 * factor, 0.2 * factor))
    file = store(tmp_path / "b.nii", unit="unknown")
    assert pixel_spacing(file) is None and pixel_proportions(file) == pytest.approx((2**-0.5, 2**0.5))


def test_a_mask_elsewhere_is_refused_with_both_affines(tmp_path):
    image, mask = store(tmp_path / "a.nii.gz", across=True), tmp_path / "a_mask.nii.gz"
    shifted, coarse = (nibabel.load(store(mask, **one)).affine for one in ({"shift": 0.3}, {"sizes": (0.2, 0.2)}))
    for affine in (shifted, coarse, np.eye(4)):
        save(mask, (PICTURE > 5).astype(np.uint8)[..., None], affine)
        (problem,), _ = inspect_cases([{"case_id": "a", "image": str(image), "label": [str(mask)]}])
        for path in (mask, image):
            assert str(path) in problem and str(np.round(nibabel.load(path).affine[:3], 4).tolist()) in problem
    # a PNG can't say how it lies over a turned image
    assert "a.nii.gz is not stored as viewers show it" in place_fault(tmp_path / "mask.png", image)
    assert place_fault(tmp_path / "mask.png", store(tmp_path / "b.nii.gz")) is None


VECTORS = np.stack([PICTURE, PICTURE * 2, 0 * PICTURE], axis=-1).astype(np.uint8)[:, :, None, None]
STRUCTURE = np.zeros(PICTURE.shape, [(name, np.uint8) for name in "RGBA"])
STRUCTURE["R"], STRUCTURE["G"], STRUCTURE["A"] = PICTURE, PICTURE * 2, 99


def test_colours_become_luma(tmp_path):
    for stored in (VECTORS, STRUCTURE):
        file = save(tmp_path / "a.nii.gz", stored, np.eye(4))
        np.testing.assert_allclose(read_grey(file), (0.299 + 2 * 0.587) * PICTURE.T, atol=1e-3)


def test_what_is_not_a_slice_is_refused(tmp_path):
    path = tmp_path / "a.nii"
    with pytest.raises(ValueError, match=r"shape \(4, 3, 2\)"):
        read_grey(save(path, np.zeros((4, 3, 2), np.float32)))
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="1 pixels are NaN or Inf"):
            read_grey(save(path, np.where(PICTURE == 5, value, PICTURE)))
    data = bytearray(save(path, np.zeros((1, 1), np.uint8)).read_bytes())
    data[42:46] = (20000).to_bytes(2, "little") + (10000).to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match="20000x10000 pixels"):
        read_grey(path)
