import dataclasses
from pathlib import Path

import pytest
import torch
from hybrid_attention.evaluation.ensemble import open_runs, score_variant, variants_of
from hybrid_attention.evaluation.metrics.roc_and_calibration import dice_at
from hybrid_attention.transforms import TemperatureScaling

from tests.evaluation.predicted import discs

AS_IS, MIRROR, _ = variants_of(["net"])


def test_names_of_runs(monkeypatch, tmp_path):
    monkeypatch.setattr("hybrid_attention.evaluation.ensemble.TrainedModel", lambda path, *given: path)
    monkeypatch.chdir(tmp_path)
    for names, runs in (
        (["han", "unet"], ["list/han/seed_0/fold_0", "list/unet/seed_0/fold_0"]),
        (["seed_0", "seed_1"], ["list/han/seed_0/fold_0", "list/han/seed_1/fold_0"]),
        (["a/han/seed_0", "b/han/seed_1"], ["a/han/seed_0/fold_0", "b/han/seed_1/fold_0"]),
        (["han", "more"], ["runs/han", "runs/han/more"]),
        (["han"], ["list/han/seed_0/fold_0"]),
        (["hybrid"], ["hybrid"]),
        (["A", "B"], ["A=list/han/fold_0", "B=x"]),
    ):
        file = "models/released/model_1_of_2.pt" if names == ["hybrid"] else "models/model.pt"
        paths = [Path(tmp_path, run.split("=")[-1], file) for run in runs]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        assert open_runs(runs, "images") == dict(zip(names, paths, strict=True))
    for runs, error in (
        (["runs/han", "runs/han"], "model.pt is given twice"),
        (["A=runs/han", "A=runs/han/more"], "A is given twice"),
        ([], "no run is given"),
        (["A="], "got 'A='"),
    ):
        with pytest.raises(ValueError, match=error):
            open_runs(runs, "images")


def test_masks_are_made_of_scaled_probabilities_and_test_images_choose_nothing():
    validation, test = discs(first=100, sharpness=0.2, missed=False), discs(sharpness=0.2, missed=False)
    scores = score_variant(MIRROR, validation, test, 0.1)
    assert scores.temperature < 1  # far from the edge, yet little more than one half
    mean = (test.probability["net", ()] + test.probability["net", (1,)]) / 2
    scaled = TemperatureScaling(scores.temperature)(mean)
    torch.testing.assert_close(scores.probability, scaled)
    assert torch.equal(scores.mask, scaled >= scores.choice.threshold)
    assert scores.cases["dice"].tolist() == dice_at(scaled, test.target, [scores.choice.threshold])[:, 0].tolist()
    assert scores.cases["dice_at_default"].tolist() == dice_at(mean, test.target, [0.5])[:, 0].tolist()
    assert scores.after.expected_error() < scores.before.expected_error()
    other = score_variant(MIRROR, validation, discs(sharpness=0.1, shift=4.0), 0.1)
    chosen, others = ((one.temperature, one.choice.threshold, one.validation_dice) for one in (scores, other))
    assert chosen == others and not scores.cases["dice"].equals(other.cases["dice"])


def test_disagreement_and_confidence():
    plain, mirror = (score_variant(one, discs(first=100), discs(), 0.1) for one in (AS_IS, MIRROR))
    assert plain.disagreement is None and plain.confidences == ["expected_dice", "minus_entropy"]
    assert mirror.disagreement.max() > 0 and "member_dice" in mirror.confidences
    assert mirror.cases["dice"].iloc[-1] == 0 and not mirror.mask[-1].any()


def test_images_without_lesion_and_constant_predictions():
    scores = score_variant(AS_IS, discs(first=100), discs(normal=(0, 5)), 0.1)
    assert scores.lesions.index.tolist() == [1, 2, 3, 4]
    assert scores.cases["dice_at_default"][[0, 5]].isna().all()
    for pixels in ("predicted_pixels", "pixels_at_default"):  # a disc is drawn in the first of the two
        assert (scores.cases[pixels][[0, 5]] > 0).tolist() == [True, False]
    blank = discs(first=100)
    constant = {key: torch.full_like(one, 0.5) for key, one in blank.probability.items()}
    scores = score_variant(AS_IS, dataclasses.replace(blank, probability=constant), discs(), 0.1)
    assert scores.temperature == 1 and "no temperature up to 20" in scores.no_temperature
    assert scores.before.expected_error() == scores.after.expected_error()
