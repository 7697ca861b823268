"""Ways to average the predictions of trained runs, over flips and over runs, and what each of them scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hybrid_attention.evaluation.ensemble import AS_IS, FLIPS, EnsemblePredictions, Flip
from hybrid_attention.evaluation.metrics.calibration import (
    DEFAULT_THRESHOLD,
    PixelCalibration,
    ThresholdChoice,
    choose_threshold,
    dice_at,
    fit_temperature,
    pixel_calibration,
)
from hybrid_attention.evaluation.uncertainty import confidence_scores, mutual_information
from hybrid_attention.transforms import TemperatureScaling

_FLIPS = {"as is": (AS_IS,), "mirror": (AS_IS, (1,)), "all flips": FLIPS}


@dataclass(frozen=True)
class Variant:
    """Which passes are averaged.

    Args:
        name: of the variant.
        runs: names of the runs.
        flips: of each of them.
    """

    name: str
    runs: tuple[str, ...]
    flips: tuple[Flip, ...]

    def members(self, predictions: EnsemblePredictions) -> torch.Tensor:
        """Return the probabilities of the single passes, (passes, cases, H, W)."""
        return torch.stack([predictions.probability[run, flip] for run in self.runs for flip in self.flips])


@dataclass(frozen=True)
class VariantScores:
    """What a variant scores; temperature and threshold come from the validation cases alone.

    Args:
        variant: which.
        seconds: per image, measured.
        validation_dice: mean over the lesion images of the validation part at threshold 0.5.
        temperature: fitted on validation; 1 where none fits.
        no_temperature: why none fits, or None.
        choice: of the threshold, on scaled validation probabilities.
        test_dice: of each test case at threshold 0.5; NaN without lesion.
        chosen_dice: the same at the chosen threshold.
        before: reliability of the test pixels as they are.
        after: reliability of the scaled ones.
        probability: of the test cases, scaled, (cases, H, W).
        mask: of the test cases at the chosen threshold, (cases, H, W), bool.
        disagreement: of the scaled passes on the test cases, (cases, H, W), or None for a single pass.
        confidence: of each test case, by the names of `CONFIDENCES`.
        false_positives: share of the test images without lesion in which something is predicted, at 0.5 and at the
            chosen threshold; None where all have a lesion.
    """

    variant: Variant
    seconds: float
    validation_dice: float
    temperature: float
    no_temperature: str | None
    choice: ThresholdChoice
    test_dice: np.ndarray
    chosen_dice: np.ndarray
    before: PixelCalibration
    after: PixelCalibration
    probability: torch.Tensor
    mask: torch.Tensor
    disagreement: torch.Tensor | None
    confidence: list[dict[str, float]]
    false_positives: tuple[float, float] | None

    @property
    def lesion_cases(self) -> list[int]:
        """Places of the test cases with a lesion, which alone have a Dice."""
        places: list[int] = np.flatnonzero(~np.isnan(self.test_dice)).tolist()
        return places


def variants_of(runs: Sequence[str]) -> list[Variant]:
    """List the variants, the cheaper of each kind first.

    Args:
        runs: names.

    Returns:
        Each run as it is, with its mirror image along the skin, and over all four flips; of several runs the same of
        all together.
    """
    kinds: list[tuple[tuple[str, ...], str]] = [((run,), f"{run}: " if len(runs) > 1 else "") for run in runs]
    if len(runs) > 1:
        kinds.append((tuple(runs), "ensemble: "))
    return [Variant(title + name, members, flips) for name, flips in _FLIPS.items() for members, title in kinds]


def score_variant(
    variant: Variant, validation: EnsemblePredictions, test: EnsemblePredictions, seconds: float
) -> VariantScores:
    """Fit a variant on the validation cases and score it on the test cases.

    Args:
        variant: which.
        validation: predictions of the cases that temperature and threshold are chosen on.
        test: predictions of the cases that are scored.
        seconds: per image, measured.

    Raises:
        ValueError: no validation image has a lesion.
    """
    learned, passes = variant.members(validation).mean(0), variant.members(test)
    seen = passes.mean(0)
    temperature, reason = 1.0, None
    try:
        temperature = round(fit_temperature(learned, validation.target), 4)  # as it will be written
    except ValueError as error:
        reason = str(error)
    scale = TemperatureScaling(temperature)
    choice = choose_threshold(scale(learned), validation.target)
    scaled = scale(seen)
    mask = scaled >= choice.threshold
    several = len(passes) > 1
    voices = scale(passes)
    disagreement = mutual_information(voices) if several else None
    member_masks = voices >= choice.threshold
    confidence = [
        confidence_scores(
            scaled[index],
            mask[index],
            member_masks[:, index] if several else None,
            None if disagreement is None else disagreement[index],
        )
        for index in range(len(scaled))
    ]
    normal = ~test.target.flatten(1).bool().any(1)
    false_positives = None
    if normal.any():
        false_positives = (_any_predicted(seen[normal] >= DEFAULT_THRESHOLD), _any_predicted(mask[normal]))
    return VariantScores(
        variant=variant,
        seconds=seconds,
        validation_dice=float(np.nanmean(dice_at(learned, validation.target, [DEFAULT_THRESHOLD]))),
        temperature=temperature,
        no_temperature=reason,
        choice=choice,
        test_dice=dice_at(seen, test.target, [DEFAULT_THRESHOLD])[:, 0],
        chosen_dice=dice_at(scaled, test.target, [choice.threshold])[:, 0],
        before=pixel_calibration(seen, test.target),
        after=pixel_calibration(scaled, test.target),
        probability=scaled,
        mask=mask,
        disagreement=disagreement,
        confidence=confidence,
        false_positives=false_positives,
    )


def _any_predicted(masks: torch.Tensor) -> float:
    return float(masks.flatten(1).any(1).double().mean())
