"""The arithmetic of docs/errata.md: printed numbers that contradict each other."""

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
    assert sorted("12350296") == sorted("12350269")
    assert int(62 / 78 * 10_000) / 10_000 == 0.7948


def test_anari_models_5_and_6():
    table, text = {5: 0.4623, 6: 0.4559}, {5: 0.4559, 6: 0.4623}
    assert (table[5], table[6]) == (text[6], text[5]) and table != text


def test_cheng_table_1():
    classes = [row["class"] for row in busi_facts().values()]
    assert classes.count("benign") == 437 and 487 + classes.count("malignant") + classes.count("normal") == 830


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
    ("accuracy", "benign", "malignant", "share"),
    [(0.9133, 0.946, 0.698, 0.87), (0.8929, 0.846, 0.896, 0.06), (0.9479, 0.964, 0.943, 0.23)],
)
def test_lu_tables_4_and_5_imply_other_classes_than_udiat_has(accuracy, benign, malignant, share):
    implied = (accuracy - malignant) / (benign - malignant)
    assert implied == pytest.approx(share, abs=0.005)
    assert abs(implied - 110 / 163) > 0.15
