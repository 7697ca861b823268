import numpy as np
import pandas as pd
from hybrid_attention.audit.contact_sheet import contact_pages
from hybrid_attention.audit.keypoints import Picture
from hybrid_attention.audit.near_duplicates import Copy


def sheet(*sizes, grey=0, name="x.png"):
    """Pages of groups with as many images of one frame."""
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    groups = pd.DataFrame({"same_frame": numbers, "duplicate": numbers}, index=[name] * len(numbers))
    firsts = [int(np.flatnonzero(numbers == number)[0]) for number in numbers]
    copies = [Copy(first, index, "same_frame") for index, first in enumerate(firsts) if first != index]
    picture = Picture(np.full((120, 160), grey, np.uint8), np.zeros((0, 4)), np.zeros((0, 128)))
    return list(contact_pages(groups, copies, dict.fromkeys(range(len(numbers)), picture)))


def black_cells(page):
    """Count the thumbnails on a page by their black pixels: 213 x 160 each."""
    return round(float((np.asarray(page) == 0).sum()) / (213 * 160))


def test_every_image_of_every_group_is_shown_the_largest_first():
    assert sheet(1, 1) == []
    assert [black_cells(page) for page in sheet(3, 7, 2, 14, 2, 5, 60, 1)] == [48, 12 + 14 + 7 + 5, 3 + 2 + 2]
    assert [(page.height, black_cells(page)) for page in sheet(100)] == [(1602, 48), (1602, 48), (230, 4)]


def test_long_names_stay_in_their_cell():
    short, long = (np.asarray(sheet(2, grey=255, name=name)[0])[40:] for name in ("x.png", "WWWWW " * 60 + ".png"))
    np.testing.assert_array_equal(long[:, 464:], short[:, 464:])
    assert (long[:, 224:232] == 255).all() and (long[:, 200:224] < 255).any()  # not cut by the next cell
