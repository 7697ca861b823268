import numpy as np
from hybrid_attention.audit.contact_sheet import SheetGroup, contact_pages


def group(images, grey=0, name="x.png"):
    size = (120, 160)
    return SheetGroup("A group", [np.full(size, grey, np.uint8)] * images, [name] * images, ["frame 1"] * images)


def black_cells(page):
    """Count the thumbnails on a page by their black pixels: 213 x 160 each."""
    return round(float((np.asarray(page) == 0).sum()) / (213 * 160))


def test_every_image_of_every_group_is_shown():
    pages = list(contact_pages([group(3), group(7), group(2), group(14), group(2), group(5)]))
    assert [black_cells(page) for page in pages] == [3 + 7 + 2 + 14, 2 + 5] or sum(map(black_cells, pages)) == 33
    assert len(pages) == 2


def test_a_group_longer_than_a_page_goes_on():
    pages = list(contact_pages([group(50)]))
    assert [black_cells(page) for page in pages] == [48, 2]


def test_long_names_stay_in_their_cell():
    short, long = (next(contact_pages([group(1, grey=255, name=name)])) for name in ("x.png", "very " * 60 + ".png"))
    right = np.asarray(long)[40:, 250:]
    assert short.size == long.size
    np.testing.assert_array_equal(right, np.asarray(short)[40:, 250:])


def test_no_group_no_page():
    assert list(contact_pages([])) == []
