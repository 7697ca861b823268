"""The arithmetic of docs/errata.md: printed numbers that contradict each other."""

from collections import Counter

import numpy as np
import pytest
from hybrid_attention.data import busi_facts

LARGEST_ROUNDING = 0.00005  # of a number printed as percent with two digits


def largest_dice(jaccard):
    """Of a mean over images with this mean Jaccard index, by Jensen's inequality."""
    return 2 * jaccard / (1 + jaccard)


@pytest.mark.parametrize(
    ("row", "jaccard", "dice", "possible"),
    [
        ("U-Net", 0.7654, 0.8313, True),
        ("BL", 0.9044, 0.9437, True),
        ("BL + ConvBlock", 0.9289, 0.9627, True),
        ("BL + ConvBlock + SFEB", 0.9351, 0.9680, False),
        ("HAN", 0.9475, 0.9728, True),
    ],
)
def test_han_table_2(row, jaccard, dice, possible):
    assert (dice - LARGEST_ROUNDING <= largest_dice(jaccard + LARGEST_ROUNDING)) == possible


def test_counts_of_busi_and_udiat():
    """Table 1 of HAN, with 780 images without the normal ones and 166 of UDIAT, and table 1 of Cheng."""
    classes = Counter(row["class"] for row in busi_facts().values())
    assert classes == {"benign": 437, "malignant": 210, "normal": 133}
    assert 700 + 80 == classes.total() and 133 + 33 != 163
    assert 487 + classes["malignant"] + classes["normal"] == 830
    # a sensitivity in table 3 of Lu, which therefore is not of all benign images
    assert 0.885 not in [round(count / classes["benign"], 3) for count in range(438)]


def test_printed_numbers_that_contradict_each_other():
    jaccard, dice = 89.23, 75.32  # table 3 of HAN, DDRA-Net
    assert jaccard > dice
    han, bgrd_transunet = 92.38, 92.47  # table 4 of HAN, with HAN "highest"
    assert han < bgrd_transunet
    table, text = {5: 0.4623, 6: 0.4559}, {5: 0.4559, 6: 0.4623}  # models of Anari
    assert (table[5], table[6]) == (text[6], text[5]) != (text[5], text[6])


def test_anari_table_1():
    """Models 17, 18 and 20 predict every pixel: only without false negatives the Jaccard index is the precision."""
    assert sorted("12350296") == sorted("12350269")
    assert int(62 / 78 * 10_000) / 10_000 == 0.7948  # the printed recall


@pytest.mark.parametrize(
    ("row", "sensitivities", "counts", "accuracy"),
    [
        ("U-Net", (1.0, 0.874, 0.881), (27, 76, 37), 89.74),
        ("MTL-DUNet", (1.0, 0.851, 0.833), (27, 74, 35), 87.18),
        ("MTL-OCA", (1.0, 0.885, 0.929), (27, 77, 39), 91.67),
    ],
)
def test_lu_tables_2_and_3_are_of_one_test_set(row, sensitivities, counts, accuracy):
    sizes = (27, 87, 42)  # a fifth of 133, 437 and 210
    assert tuple(round(count / size, 3) for count, size in zip(counts, sizes, strict=True)) == sensitivities
    assert round(100 * sum(counts) / sum(sizes), 2) == accuracy and sum(sizes) == 156


@pytest.mark.parametrize(
    ("accuracy", "benign", "malignant", "specificities", "share"),
    [
        (0.9133, 0.946, 0.698, (0.849, 0.953), 0.87),
        (0.8929, 0.846, 0.896, (0.796, 0.852), 0.06),
        (0.9479, 0.964, 0.943, (0.913, 0.962), 0.23),
    ],
)
def test_lu_tables_4_and_5(accuracy, benign, malignant, specificities, share):
    """They imply other classes than UDIAT has, and specificities that two classes can't have."""
    implied = (accuracy - malignant) / (benign - malignant)
    assert implied == pytest.approx(share, abs=0.005)
    assert abs(implied - 110 / 163) > 0.15
    assert specificities != (malignant, benign)


@pytest.mark.parametrize(("sign", "right"), [(1, False), (-1, True)])
def test_lu_equation_6_needs_the_sign_of_equation_8(sign, right):
    def kernel(x, y, sigma=1.5):  # eq. 6, which prints the sign +1
        return np.exp(sign * (x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)

    x, y, step = 0.8, -0.3, 1e-6
    slope = (kernel(x + step, y) - kernel(x - step, y)) / (2 * step)
    equation_8 = -x / (2 * np.pi * 1.5**4) * np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    assert (slope == pytest.approx(equation_8, rel=1e-6)) == right
