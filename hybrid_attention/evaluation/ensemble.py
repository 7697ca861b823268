"""Averages of predictions over flips (test-time augmentation) and trained runs (ensembles), and their scores."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hybrid_attention.data.splits import Cases
from hybrid_attention.engines.trained_model import TrainedModel, find_weights
from hybrid_attention.engines.training_record import check_against_training
from hybrid_attention.engines.weights import RELEASED
from hybrid_attention.evaluation.metrics.roc_and_calibration import (
    DEFAULT_THRESHOLD,
    PixelCalibration,
    ThresholdChoice,
    choose_threshold,
    dice_at,
    fit_temperature,
)
from hybrid_attention.evaluation.results import name_and_place
from hybrid_attention.evaluation.uncertainty import CONFIDENCES, confidence_scores, mutual_information
from hybrid_attention.transforms import TemperatureScaling

Flip = tuple[int, ...]

AS_IS: Flip = ()
FLIPS: tuple[Flip, ...] = ((), (0,), (1,), (0, 1))
_AUGMENTATIONS = {"as is": (AS_IS,), "mirror": (AS_IS, (1,)), "all flips": FLIPS}
_TIMED_CASES = 16
_PLACE = re.compile(r"(seed|fold)_\d+")  # in the folders of `hybrid-attention experiments`, RUN/seed_S/fold_F


def open_runs(
    runs: Sequence[str | os.PathLike[str]],
    dataset_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    device: torch.device | str | None = None,
    groups_csv: str | os.PathLike[str] | None = None,
    split_csv: str | os.PathLike[str] | None = None,
) -> dict[str, TrainedModel]:
    """Open trained runs by name.

    Args:
        runs: folders, weight files, or `NAME=FOLDER`. The default name is the part of the path that differs from the
            other runs.
        dataset_dir: folder of the images, or several.
        device: None for a GPU if there is one.
        groups_csv: duplicate groups of your own data, as in training.
        split_csv: your own split, as in training.
    """
    if not runs:
        raise ValueError("no run is given; name the folder of a trained run, with models/model.pt in it")
    given = [name_and_place(run) for run in runs]
    weights = [find_weights(place).resolve() for _, place in given]
    names = [name or own for (name, _), own in zip(given, _differing_parts(weights), strict=True)]
    for what in (weights, names):
        twice = [one for one in what if list(what).count(one) > 1]
        if twice:
            raise ValueError(f"{twice[0]} is given twice; the runs must differ (NAME=FOLDER gives a run a name)")
    return {
        name: TrainedModel(path, dataset_dir, device, groups_csv, split_csv)
        for name, path in zip(names, weights, strict=True)
    }


def shared_cases(runs: Mapping[str, TrainedModel], part: str) -> Cases:
    """Return the validation or test cases, which must be the same for all runs and unseen in their training."""
    first, *others = runs
    cases = runs[first].cases(part)
    ids = {case["case_id"] for case in cases}
    for name in others:
        own = {case["case_id"] for case in runs[name].cases(part)}
        if own != ids:
            raise ValueError(
                f"{name} has {len(own)} {part} images and {first} {len(ids)}, {len(own & ids)} of them the same; an "
                "ensemble must be trained with the same --fold, --split_seed and --lesions_only"
            )
        check_against_training(runs[name].weights, cases, {}, part)
    return cases


@dataclass(frozen=True)
class EnsemblePredictions:
    """Predictions of each run for each flip of each case."""

    cases: Cases
    images: torch.Tensor  # first channel of the network's input, (cases, H, W)
    target: torch.Tensor  # true masks of 0 and 1, (cases, H, W)
    probability: Mapping[tuple[str, Flip], torch.Tensor]  # by run and flip, flipped back, each (cases, H, W)


def predict_ensemble(runs: Mapping[str, TrainedModel], cases: Cases) -> EnsemblePredictions:
    """Predict cases with each run and flip; the masks of the runs must not differ."""

    def stacked(planes: Iterable[torch.Tensor]) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.asarray(plane[0], dtype=np.float32) for plane in planes]))

    probability: dict[tuple[str, Flip], torch.Tensor] = {}
    images = target = torch.empty(0)
    for (name, run), flip in product(runs.items(), FLIPS):
        predictions = run.predict(cases, [flip])
        own = stacked(one.target for one in predictions)
        if not probability:
            images, target = stacked(one.image for one in predictions), own
        elif not torch.equal(own, target):
            raise ValueError(
                f"the masks of {name}, {tuple(own.shape[1:])} pixels, differ from those of {next(iter(runs))}, "
                f"{tuple(target.shape[1:])}; an ensemble must be trained with the same --image_size"
            )
        probability[name, flip] = stacked(one.probability for one in predictions)
    return EnsemblePredictions(cases, images, target, probability)


def seconds_per_image(run: TrainedModel, cases: Cases, flips: Sequence[Flip]) -> float:
    """Measure the time per image, including reading and resizing, of a run that has already predicted."""
    timed = cases[:_TIMED_CASES]
    start = time.perf_counter()
    run.predict(timed, flips)
    return (time.perf_counter() - start) / len(timed)


@dataclass(frozen=True)
class Variant:
    """A set of predictions to average: some flips of some runs."""

    name: str
    runs: tuple[str, ...]
    flips: tuple[Flip, ...]

    def members(self, predictions: EnsemblePredictions) -> torch.Tensor:
        """Return the probabilities to average, (members, cases, H, W)."""
        return torch.stack([predictions.probability[run, flip] for run in self.runs for flip in self.flips])


def variants_of(runs: Sequence[str]) -> list[Variant]:
    """List the variants of each run, and of several runs together: as is, with the mirror image, and with all flips."""
    kinds: list[tuple[tuple[str, ...], str]] = [((run,), f"{run}: " if len(runs) > 1 else "") for run in runs]
    if len(runs) > 1:
        kinds.append((tuple(runs), "ensemble: "))
    return [Variant(title + name, members, flips) for name, flips in _AUGMENTATIONS.items() for members, title in kinds]


@dataclass(frozen=True)
class VariantScores:
    """Scores of a variant; temperature and threshold are chosen on the validation cases only.

    Args:
        variant: what is averaged.
        seconds: measured time per image.
        validation_dice: mean Dice of the validation images with a lesion at threshold 0.5.
        temperature: fitted on validation; 1 if none fits, for the reason `no_temperature`.
        choice: threshold chosen on scaled validation probabilities.
        cases: one row per test case: `case_id`, `class`, `group`; `dice` and `predicted_pixels` of the scaled
            prediction at the chosen threshold; `dice_at_default` and `pixels_at_default` without scaling at threshold
            0.5; and the confidence scores by the names of `CONFIDENCES`. Dice is NaN without a lesion.
        before: calibration of the test pixels without scaling, `after` with it.
        probability: scaled probability of the test cases, (cases, H, W), like `mask`, at the chosen threshold, and
            `disagreement` of the scaled members, None for one member.
    """

    variant: Variant
    seconds: float
    validation_dice: float
    temperature: float
    no_temperature: str | None
    choice: ThresholdChoice
    cases: pd.DataFrame
    before: PixelCalibration
    after: PixelCalibration
    probability: torch.Tensor
    mask: torch.Tensor
    disagreement: torch.Tensor | None

    @property
    def lesions(self) -> pd.DataFrame:
        """Rows of the test cases with a lesion."""
        return self.cases[self.cases["dice"].notna()]

    @property
    def confidences(self) -> list[str]:
        """Names of the confidence scores."""
        return [name for name in CONFIDENCES if name in self.cases]


def score_variant(
    variant: Variant, validation: EnsemblePredictions, test: EnsemblePredictions, seconds: float
) -> VariantScores:
    """Choose temperature and threshold of a variant on the validation cases, and score it on the test cases."""
    learned, members = variant.members(validation).mean(0), variant.members(test)
    seen = members.mean(0)
    temperature, reason = 1.0, None
    try:
        temperature = round(fit_temperature(learned, validation.target), 4)  # as it will be written
    except ValueError as error:
        reason = str(error)
    scale = TemperatureScaling(temperature)
    choice = choose_threshold(scale(learned), validation.target)
    scaled, scaled_members = scale(seen), scale(members)
    mask, member_masks = scaled >= choice.threshold, scaled_members >= choice.threshold
    disagreement, maps = None, [scaled, mask]
    if len(members) > 1:
        disagreement = mutual_information(scaled_members)
        maps += [member_masks.transpose(0, 1), disagreement]
    confidence = [confidence_scores(*one) for one in zip(*maps, strict=True)]
    cases = pd.DataFrame(test.cases)[["case_id", "class", "group"]].assign(
        dice=dice_at(scaled, test.target, [choice.threshold])[:, 0],
        predicted_pixels=mask.flatten(1).sum(1).numpy(),
        dice_at_default=dice_at(seen, test.target, [DEFAULT_THRESHOLD])[:, 0],
        pixels_at_default=(seen >= DEFAULT_THRESHOLD).flatten(1).sum(1).numpy(),
    )
    return VariantScores(
        variant=variant,
        seconds=seconds,
        validation_dice=float(np.nanmean(dice_at(learned, validation.target, [DEFAULT_THRESHOLD]))),
        temperature=temperature,
        no_temperature=reason,
        choice=choice,
        cases=cases.join(pd.DataFrame(confidence)),
        before=PixelCalibration().update(seen, test.target),
        after=PixelCalibration().update(scaled, test.target),
        probability=scaled,
        mask=mask,
        disagreement=disagreement,
    )


def _differing_parts(weights: Sequence[Path]) -> list[str]:
    """Return the differing parts of paths: `a/han/fold_0` and `a/unet/fold_0` give han and unet."""
    folders = [next(one for one in path.parents if one.name not in ("models", RELEASED)) for path in weights]
    if len(set(folders)) < 2:
        return [next(part for part in reversed(folder.parts) if not _PLACE.fullmatch(part)) for folder in folders]
    parts = [folder.parts for folder in folders]
    shortest = min(len(part) for part in parts)
    start = next((place for place in range(shortest) if len({part[place] for part in parts}) > 1), shortest)
    end = next((back for back in range(shortest - start) if len({part[-1 - back] for part in parts}) > 1), 0)
    return ["/".join(part[start : len(part) - end]) or part[-1] for part in parts]
