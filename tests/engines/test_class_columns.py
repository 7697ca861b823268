import pandas as pd
import pytest
from hybrid_attention.engines.predictions import class_columns
from hybrid_attention.evaluation.metrics.classification import class_probabilities, predicted_classes


def test_what_is_written_is_read_again():
    names = ["benign", "malignant", "normal"]
    cases = pd.DataFrame(
        {"case_id": "a", **class_columns(names, chances)} for chances in ((0.2, 0.7, 0.1), (0.5, 0.3, 0.2))
    )
    assert cases["predicted_class"].tolist() == ["malignant", "benign"]
    assert predicted_classes(cases) == names
    assert class_probabilities(cases).tolist() == [[0.2, 0.7, 0.1], [0.5, 0.3, 0.2]]


def test_without_a_class_head():
    assert predicted_classes(pd.DataFrame({"case_id": ["a"], "dice": [1.0]})) == []


def test_more_probabilities_than_names():
    with pytest.raises(ValueError, match="gives 3 class probabilities for the classes benign, malignant"):
        class_columns(["benign", "malignant"], [0.2, 0.3, 0.5])
