import numpy as np
from hybrid_attention.audit.contact_sheet import SheetGroup, contact_pages


def group(images, grey=0, name="x.png"):
    return SheetGroup("A group", [np.full((120, 160), grey, np.uint8)] * images, [name] * images, ["frame 1"] * images)


def black_cells(page):
    """Count the thumbnails on a page by their black pixels: 213 x 160 each."""
    return round(float((np.asarray(page) == 0).sum()) / (213 * 160))


def test_every_image_of_every_group_is_shown():
    assert list(contact_pages([])) == []
    pages = list(contact_pages([group(3), group(7), group(2), group(14), group(2), group(5), group(60), group(1)]))
    assert [black_cells(page) for page in pages] == [3 + 7 + 2 + 14 + 2, 5, 60, 1]


def test_long_names_stay_in_their_cell_and_lines_have_a_size():
    short, long = (next(contact_pages([group(1, grey=255, name=name)])) for name in ("x.png", "WWWWW " * 60 + ".png"))
    np.testing.assert_array_equal(np.asarray(long)[40:, 232:], np.asarray(short)[40:, 232:])
    assert next(contact_pages([SheetGroup("A line", [np.zeros((1, 2000), np.uint8)], ["x"], [""])]))
