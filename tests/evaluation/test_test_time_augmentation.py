import numpy as np
import pytest
import torch
from hybrid_attention.evaluation.ensemble import FLIPS, EnsemblePredictions
from hybrid_attention.evaluation.metrics.calibration import dice_at
from hybrid_attention.evaluation.test_time_augmentation import Variant, score_variant, variants_of
from hybrid_attention.transforms import TemperatureScaling

from tests.evaluation.predicted import discs


def test_variants_of_one_run_and_of_two():
    one = variants_of(["han"])
    assert [(each.name, each.runs, len(each.flips)) for each in one] == [
        ("as is", ("han",), 1),
        ("mirror", ("han",), 2),
        ("all flips", ("han",), 4),
    ]
    assert one[1].flips == ((), (1,))  # along the skin, not into depth
    names = [each.name for each in variants_of(["a", "b"])]
    kinds = ("as is", "mirror", "all flips")
    assert names == [f"{who}: {kind}" for kind in kinds for who in ("a", "b", "ensemble")]


def test_the_mean_of_its_passes():
    """Pixel by pixel: passes of 0.2 and 0.8 give 0.5, of 0.6 and 0.8 give 0.7."""
    planes = {("a", ()): [0.2, 0.6], ("a", (0,)): [0.8, 0.8], ("a", (1,)): [0, 0], ("a", (0, 1)): [0, 0]}
    test = EnsemblePredictions(
        cases=[{}],
        images=torch.zeros(1, 1, 2),
        target=torch.tensor([[[0.0, 1.0]]]),
        probability={key: torch.tensor([[values]]) for key, values in planes.items()},
    )
    members = Variant("mirror", ("a",), ((), (0,))).members(test)
    torch.testing.assert_close(members.mean(0), torch.tensor([[[0.5, 0.7]]]))
    assert Variant("all", ("a",), FLIPS).members(test).shape == (4, 1, 1, 2)


def test_test_images_choose_nothing():
    validation = discs(first=100)
    one = score_variant(variants_of(["net"])[1], validation, discs(), 0.1)
    other = score_variant(variants_of(["net"])[1], validation, discs(sharpness=0.1, shift=4.0), 0.1)
    chosen, others = ((each.temperature, each.choice.threshold, each.validation_dice) for each in (one, other))
    assert chosen == others
    assert not np.array_equal(one.chosen_dice, other.chosen_dice)


def test_masks_are_made_of_scaled_probabilities():
    validation, test = discs(first=100, sharpness=0.2, missed=False), discs(sharpness=0.2, missed=False)
    variant = variants_of(["net"])[1]
    scores = score_variant(variant, validation, test, 0.1)
    assert scores.temperature < 1  # far from the edge, yet little more than one half
    scaled = TemperatureScaling(scores.temperature)(variant.members(test).mean(0))
    torch.testing.assert_close(scores.probability, scaled)
    assert torch.equal(scores.mask, scaled >= scores.choice.threshold)
    np.testing.assert_array_equal(scores.chosen_dice, dice_at(scaled, test.target, [scores.choice.threshold])[:, 0])
    np.testing.assert_array_equal(scores.test_dice, dice_at(variant.members(test).mean(0), test.target, [0.5])[:, 0])
    assert scores.after.expected_error() < scores.before.expected_error()


def test_one_pass_cannot_disagree():
    plain, mirror = (score_variant(one, discs(first=100), discs(), 0.1) for one in variants_of(["net"])[:2])
    assert plain.disagreement is None and set(plain.confidence[0]) == {"expected_dice", "minus_entropy"}
    assert mirror.disagreement.max() > 0 and "member_dice" in mirror.confidence[0]
    still = score_variant(variants_of(["net"])[1], discs(first=100), discs(shift=0.0), 0.1)
    assert still.disagreement.max() == pytest.approx(0, abs=1e-5)
    assert still.confidence[0]["member_dice"] == 1


def test_nothing_marked_has_the_least_confidence():
    scores = score_variant(variants_of(["net"])[1], discs(first=100), discs(), 0.1)
    assert scores.chosen_dice[-1] == 0 and not scores.mask[-1].any()
    for name in scores.confidence[0]:
        assert scores.confidence[-1][name] == min(case[name] for case in scores.confidence)


def test_images_without_lesion():
    validation, test = discs(first=100), discs(normal=(0, 5))
    scores = score_variant(variants_of(["net"])[0], validation, test, 0.1)
    assert scores.lesion_cases == [1, 2, 3, 4]
    assert np.isnan(scores.test_dice[[0, 5]]).all() and np.isnan(scores.chosen_dice[[0, 5]]).all()
    assert scores.false_positives == (0.5, 0.5)  # a disc is drawn in the first of the two
    assert score_variant(variants_of(["net"])[0], validation, discs(), 0.1).false_positives is None


def test_no_temperature_fits_what_says_nothing():
    blank = discs(first=100)
    blank = EnsemblePredictions(
        blank.cases,
        blank.images,
        blank.target,
        {key: torch.full_like(one, 0.5) for key, one in blank.probability.items()},
    )
    scores = score_variant(variants_of(["net"])[0], blank, discs(), 0.1)
    assert scores.temperature == 1
    assert "say nothing of the truth" in scores.no_temperature
    assert scores.before.expected_error() == scores.after.expected_error()
