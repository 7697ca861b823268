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


def test_han_tables_3_and_4():
    ddra_net_jaccard, ddra_net_dice = 89.23, 75.32
    assert ddra_net_jaccard > ddra_net_dice
    han, bgrd_transunet = 92.38, 92.47
    assert han < bgrd_transunet


def test_han_table_1():
    classes = [row["class"] for row in busi_facts().values()]
    assert 700 + 80 == len(classes) and "normal" in classes
    assert 133 + 33 != 163


def test_anari_table_1():
    assert sorted("12350296") == sorted("12350269") and 12_350_296 != 12_350_269


def test_anari_models_17_18_and_20_predict_every_pixel():
    """The Jaccard index of an image is its precision only without false negatives; then its recall is 1."""
    precision, jaccard, recall = 0.0757, 0.0757, 0.7948
    assert precision == jaccard
    assert int(62 / 78 * 10_000) / 10_000 == recall


def test_anari_models_5_and_6():
    table, text = {5: 0.4623, 6: 0.4559}, {5: 0.4559, 6: 0.4623}
    assert (table[5], table[6]) == (text[6], text[5]) and table != text


def test_cheng_table_1_and_the_data_set_of_lu():
    classes = Counter(row["class"] for row in busi_facts().values())
    assert classes == {"benign": 437, "malignant": 210, "normal": 133}
    assert 487 + classes["malignant"] + classes["normal"] == 830


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


def test_lu_table_3_is_not_of_all_benign_images():
    assert 0.885 not in [round(count / 437, 3) for count in range(438)]


@pytest.mark.parametrize(
    ("accuracy", "benign", "malignant", "share"),
    [(0.9133, 0.946, 0.698, 0.87), (0.8929, 0.846, 0.896, 0.06), (0.9479, 0.964, 0.943, 0.23)],
)
def test_lu_tables_4_and_5_imply_other_classes_than_udiat_has(accuracy, benign, malignant, share):
    implied = (accuracy - malignant) / (benign - malignant)
    assert implied == pytest.approx(share, abs=0.005)
    assert abs(implied - 110 / 163) > 0.15


@pytest.mark.parametrize(
    ("sensitivities", "specificities"),
    [((0.946, 0.698), (0.849, 0.953)), ((0.846, 0.896), (0.796, 0.852)), ((0.964, 0.943), (0.913, 0.962))],
)
def test_lu_table_5_has_specificities_that_two_classes_can_not_have(sensitivities, specificities):
    benign, malignant = sensitivities
    assert specificities != (malignant, benign)


@pytest.mark.parametrize(("sign", "right"), [(1, False), (-1, True)])
def test_lu_equation_6_needs_the_sign_of_equation_8(sign, right):
    def kernel(x, y, sigma=1.5):  # eq. 6, which prints the sign +1
        return np.exp(sign * (x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)

    x, y, step = 0.8, -0.3, 1e-6
    slope = (kernel(x + step, y) - kernel(x - step, y)) / (2 * step)
    equation_8 = -x / (2 * np.pi * 1.5**4) * np.exp(-(x**2 + y**2) / (2 * 1.5**2))
    assert (slope == pytest.approx(equation_8, rel=1e-6)) == right
