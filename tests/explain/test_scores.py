from collections import namedtuple

import pytest
import torch
from hybrid_attention.explain.scores import choose_output, image_scores

LOGITS = torch.tensor([[[[1.0, -3], [5, -7]]], [[[-1.0, 2], [-4, -6]]]])


def test_mean_logit_in_the_predicted_and_in_a_given_mask():
    assert image_scores(LOGITS).tolist() == [3, 2]
    lower_row = torch.tensor([[[[0.0, 0], [1, 1]]]]).repeat(2, 1, 1, 1)
    assert image_scores(LOGITS, lower_row).tolist() == [-1, -5]
    assert image_scores(LOGITS, lower_row > 0.5).tolist() == [-1, -5]


def test_logit_of_the_predicted_and_of_a_given_class():
    logits = torch.tensor([[1.0, 4, 2], [9, 8, 7]])
    assert image_scores(logits).tolist() == [4, 9]
    assert image_scores(logits, class_index=2).tolist() == [2, 7]
    assert image_scores(logits, class_index=[0, 1]).tolist() == [1, 8]


def test_absent_output_is_named():
    Result = namedtuple("Result", ["mask", "class_logits"])
    with pytest.raises(ValueError, match="gives no class_logits: it has no head for it"):
        choose_output(Result(torch.zeros(1, 1, 4, 4), None), "class_logits")
