import numpy as np
import pytest
from hybrid_attention.data.masks import IGNORE_FILE, read_mask
from hybrid_attention.data.names import mask_owner
from PIL import Image
from scipy import ndimage


def disc(place, radius=12, size=(80, 100)):
    rows, columns = np.indices(size)
    return (rows - place[0]) ** 2 + (columns - place[1]) ** 2 < radius**2


FIRST, SECOND, THIRD = disc((20, 20)), disc((55, 70)), disc((20, 70), 8)
ALL = FIRST | SECOND | THIRD
LABELS = FIRST + 2 * SECOND + 3 * THIRD.astype(int)  # one value a lesion


@pytest.fixture
def read(tmp_path):
    def saved(image, name="m.png", **options):
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(tmp_path / name, **options)
        return read_mask(tmp_path / name)

    return saved


def palette(indices, *colours):
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(list(np.ravel(colours)))
    return image


GREYS = [(40, 80, 120), (60, 120, 120), (80, 160, 255), (1, 2, 3), (20, 128, 255)]
COLOURS = [[(255, 0, 0), (0, 255, 0), (0, 0, 255)], [(128, 0, 0), (0, 64, 0), (0, 0, 9)]]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        *(("m.png", np.array([0, *values], np.uint8)[LABELS]) for values in GREYS),
        *(("m.tif", np.array([0, *values], np.uint16)[LABELS] * 257) for values in GREYS),
        *(("m.png", np.array([(0, 0, 0), *colours], np.uint8)[LABELS]) for colours in COLOURS),
        *((name, palette(LABELS, (0, 0, 0), *colours)) for colours in COLOURS for name in ("m.png", "m.gif")),
        ("m.png", palette(~ALL, (255, 255, 255), (0, 0, 0))),  # seen as shown
        ("m.png", np.dstack([np.full((*ALL.shape, 3), 255), ALL * 255]).astype(np.uint8)),  # transparent elsewhere
    ],
)
def test_labels_and_colours_are_all_lesion(read, name, image):
    np.testing.assert_array_equal(read(image, name), ALL)


def test_noise_of_jpeg_and_soft_edges(read):
    for quality in (10, 50, 95):
        assert (read(ALL * np.uint8(255), "m.jpg", quality=quality) != ALL).mean() < 0.001
    for maximum in (60, 255, 65535):
        for sigma in (0.7, 1.5):  # cut in the middle
            soft = np.round(ndimage.gaussian_filter(ALL * float(maximum), sigma)).astype(np.uint16)
            assert (read(soft, "m.tif") != ALL).mean() < 0.005
    square = Image.new("L", (40, 40))
    square.paste(255, (9, 9, 31, 31))
    mask = read(square.resize((20, 20), Image.Resampling.BOX))  # a border of half and a quarter of white
    assert mask.sum() == 12 * 12 - 4  # without the corners, a quarter of white
    assert mask[10].sum() == 12


def test_pixels_to_ignore_need_a_decision(read, tmp_path):
    ring = disc((20, 20), 15) & ~FIRST
    (tmp_path / "benign").mkdir()
    for maximum in (255, 65535):
        values = np.where(ring, maximum, FIRST + 2 * SECOND).astype(np.uint16)
        with pytest.raises(ValueError, match=f"{maximum} beside labels up to 2.*background or lesion.*{IGNORE_FILE}"):
            read(values, "benign/m.png")
    (tmp_path / IGNORE_FILE).write_text("background\n")
    np.testing.assert_array_equal(read(values, "benign/m.png"), FIRST | SECOND)
    (tmp_path / "benign" / IGNORE_FILE).write_text("lesion")
    np.testing.assert_array_equal(read(values, "benign/m.png"), FIRST | SECOND | ring)
    (tmp_path / "benign" / IGNORE_FILE).write_text("255")
    with pytest.raises(ValueError, match=f"{IGNORE_FILE} must contain the word background or lesion, got '255'"):
        read(values, "benign/m.png")


NOISE = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(80, 100)), 1.5)
PHOTOGRAPH = ((NOISE - NOISE.min()) / np.ptp(NOISE) * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (PHOTOGRAPH, "values from 0 to 255 are neither"),
        (np.random.default_rng(0).integers(0, 3, (80, 100), np.uint8), "3 values from 0 to 2 are neither"),
        (np.where(disc((40, 50), 25), 0, 255).astype(np.uint8), "76% of the image is lesion"),
        (~disc((40, 50), 20), "84% of the image is lesion"),
        (1 + ALL.astype(np.uint8), "2 values from 1 to 2 are neither"),
    ],
)
def test_what_is_not_a_mask_is_refused(read, values, message):
    with pytest.raises(ValueError, match=message):
        read(values)


@pytest.mark.busi
def test_real_masks_pass_and_real_images_do_not(busi):
    paths = sorted(busi.rglob("*.png"))
    for path in [path for path in paths if mask_owner(path)][::20]:
        with Image.open(path) as image:
            np.testing.assert_array_equal(read_mask(path), np.asarray(image) > 0)
    for path in [path for path in paths if not mask_owner(path)][::40]:
        with pytest.raises(ValueError, match="are neither"):
            read_mask(path)
