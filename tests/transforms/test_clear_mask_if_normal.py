import pytest
import torch
from hybrid_attention.transforms import ClearMaskIfNormald

NAMES = ["benign", "malignant", "normal"]


def case(normal):
    rest = (1 - normal) / 2
    return {
        "pred": torch.ones(1, 2, 2),
        "image": torch.ones(1),
        "class_probability": torch.tensor([rest, rest, normal]),
    }


def test_from_the_threshold_on_the_mask_is_empty():
    empty = ClearMaskIfNormald("pred", NAMES, threshold=0.5)
    assert empty(case(0.4))["pred"].sum() == 4
    assert empty(case(0.5))["pred"].sum() == 0
    assert empty(case(0.9))["image"].sum() == 1  # not among the keys


def test_the_order_of_the_names_counts():
    assert ClearMaskIfNormald("pred", ["normal", "benign", "malignant"], 0.5)(case(0.9))["pred"].sum() == 4


def test_none_changes_nothing():
    assert ClearMaskIfNormald("pred", None, None)(case(1.0))["pred"].sum() == 4


def test_the_input_stays():
    data = case(1.0)
    ClearMaskIfNormald("pred", NAMES)(data)
    assert data["pred"].sum() == 4


def test_errors():
    with pytest.raises(ValueError, match="no class 'normal' that could empty a mask"):
        ClearMaskIfNormald("pred", ["benign", "malignant"])
    with pytest.raises(ValueError, match=r"must be a probability from 0 to 1, or None, got 1\.5"):
        ClearMaskIfNormald("pred", NAMES, 1.5)
