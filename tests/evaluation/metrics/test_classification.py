import math

import numpy as np
import pytest
from hybrid_attention.evaluation import classification_scores
from hybrid_attention.evaluation.metrics.classification import class_points
from sklearn.metrics import roc_auc_score

NAMES = ["benign", "malignant", "normal"]
# true class, probabilities
CASES = [
    ("benign", (0.8, 0.1, 0.1)),
    ("benign", (0.6, 0.3, 0.1)),
    ("benign", (0.3, 0.6, 0.1)),  # predicted as malignant
    ("malignant", (0.2, 0.7, 0.1)),
    ("malignant", (0.5, 0.4, 0.1)),  # predicted as benign
    ("normal", (0.1, 0.1, 0.8)),
]


def scores(cases=CASES, groups=None):
    return classification_scores([name for name, _ in cases], [row for _, row in cases], NAMES, groups)


def test_by_hand():
    result = scores()
    assert result["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]  # rows are the truth
    assert result["accuracy"]["value"] == pytest.approx(4 / 6)
    benign, malignant, normal = (result["classes"][name] for name in NAMES)
    measures = ("precision", "sensitivity", "specificity", "f1", "auc")
    assert [benign[name] for name in measures[:3]] == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    # malignant 0.7 and 0.4 against 0.1, 0.3, 0.6, 0.1: 4 + 3 of 8 pairs in order
    assert [malignant[name] for name in measures] == pytest.approx([0.5, 0.5, 0.75, 0.5, 7 / 8])
    assert normal["auc"] == 1
    assert result["macro_auc"]["value"] == pytest.approx((benign["auc"] + 7 / 8 + 1) / 3)
    assert result["balanced_accuracy"]["value"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert result["macro_f1"]["value"] == pytest.approx((2 / 3 + 0.5 + 1) / 3)
    points = class_points(*zip(*CASES, strict=True), NAMES)  # the same without intervals
    for name, value in points.items():
        assert value == (result[name]["value"] if isinstance(value, float) else result[name])
    # many ties
    generator = np.random.default_rng(0)
    table = generator.choice([(0.2, 0.3, 0.5), (0.5, 0.3, 0.2), (0.3, 0.4, 0.3)], 200)
    truth = generator.choice(NAMES, 200)
    for index, (name, found) in enumerate(scores(list(zip(truth, table, strict=True)))["classes"].items()):
        assert found["auc"] == pytest.approx(roc_auc_score(truth == name, table[:, index]))


def test_what_is_undefined_is_nan_and_copies_in_one_group_widen_the_interval():
    result = scores(CASES[:5])  # no normal case, none predicted
    normal = result["classes"]["normal"]
    undefined = [normal[name] for name in ("auc", "precision", "sensitivity")]
    undefined += [result[name]["value"] for name in ("macro_auc", "balanced_accuracy")]
    assert all(math.isnan(value) for value in undefined) and normal["specificity"] == 1
    copied = [case for case in CASES for _ in range(5)]
    by_group = scores(copied, groups=[index for index in range(6) for _ in range(5)])["accuracy"]
    naive = scores(copied)["accuracy"]
    assert by_group["high"] - by_group["low"] > 1.5 * (naive["high"] - naive["low"])


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ([], r"0 cases and 3 classes, got \(0,\)"),
        ([("benign", (0.5, 0.5))], "got \\(1, 2\\)"),
        ([("cyst", (0.5, 0.5, 0.0))], "'cyst'; the classes are benign, malignant, normal"),
        ([("benign", (0.5, 0.6, 0.5))], "add up to 1"),
        ([("benign", (math.nan, 0.5, 0.5))], "finite"),
    ],
)
def test_bad_arguments(cases, message):
    with pytest.raises(ValueError, match=message):
        scores(cases)
