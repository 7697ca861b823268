"""Trained runs that are averaged: opened, checked against each other, and predicted flip by flip."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hybrid_attention.data.splits import Cases
from hybrid_attention.engines.run_record import check_against_training
from hybrid_attention.engines.trained_model import TrainedRun, find_weights
from hybrid_attention.engines.weight_files import RELEASED
from hybrid_attention.evaluation.results import name_and_place

Flip = tuple[int, ...]

AS_IS: Flip = ()
FLIPS: tuple[Flip, ...] = ((), (0,), (1,), (0, 1))
_TIMED_CASES = 16
_PLACE = re.compile(r"(seed|fold)_\d+")  # in the folders of `hybrid-attention experiments`, RUN/seed_S/fold_F


@dataclass(frozen=True)
class EnsemblePredictions:
    """What each run predicts of each flip of each case.

    Args:
        cases: of the data list.
        images: what the networks were given, first channel, (cases, H, W).
        target: true masks, 0 and 1, (cases, H, W).
        probability: of lesion, by run and flip, flipped back, each (cases, H, W).
    """

    cases: Cases
    images: torch.Tensor
    target: torch.Tensor
    probability: Mapping[tuple[str, Flip], torch.Tensor]


def open_runs(
    runs: Sequence[str | os.PathLike[str]],
    dataset_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    device: torch.device | str | None = None,
    groups_csv: str | os.PathLike[str] | None = None,
    split_csv: str | os.PathLike[str] | None = None,
) -> dict[str, TrainedRun]:
    """Open trained runs and give each a name.

    Args:
        runs: folders or weight files, or `NAME=FOLDER`. Without a name, a run gets the parts of its path in which it
            differs from the others.
        dataset_dir: folder of the images, or several.
        device: where the networks run; None for a GPU if there is one.
        groups_csv: duplicate groups of your own data, as in training.
        split_csv: your own split, as in training.

    Returns:
        The runs by name, in order.

    Raises:
        FileNotFoundError: a run has no weights or no record.
        ValueError: no run, or one run or name stands there twice.
    """
    if not runs:
        raise ValueError("no run is given: name the folder of a trained run, with models/model.pt in it")
    given = [name_and_place(run) for run in runs]
    weights = [find_weights(place).resolve() for _, place in given]
    names = [name or own for (name, _), own in zip(given, _differing_parts(weights), strict=True)]
    for what in (weights, names):
        twice = [one for one in what if list(what).count(one) > 1]
        if twice:
            raise ValueError(f"{twice[0]} is given twice; the runs must differ (NAME=FOLDER gives a run a name)")
    return {
        name: TrainedRun(path, dataset_dir, device, groups_csv, split_csv)
        for name, path in zip(names, weights, strict=True)
    }


def shared_cases(runs: Mapping[str, TrainedRun], part: str) -> Cases:
    """Return the cases of a part of the split that all runs share and none was trained on.

    Args:
        runs: by name.
        part: `validation` or `test`.

    Raises:
        ValueError: the runs have other cases, or one was trained on some of them.
    """
    first, *others = runs
    cases = runs[first].cases(part)
    ids = [case["case_id"] for case in cases]
    for name in others:
        own = {case["case_id"] for case in runs[name].cases(part)}
        if own != set(ids):
            raise ValueError(
                f"{name} has {len(own)} {part} images and {first} {len(ids)}, {len(own & set(ids))} of them the same: "
                "the members of an ensemble must be trained with one --fold, --split_seed and --lesions_only"
            )
        check_against_training(runs[name].weights, cases, {}, part)
    return cases


def predict_ensemble(runs: Mapping[str, TrainedRun], cases: Cases) -> EnsemblePredictions:
    """Predict cases with each run, once for each flip.

    Args:
        runs: by name.
        cases: of the data list.

    Raises:
        ValueError: the runs see images of different sizes or other masks.
    """
    probability: dict[tuple[str, Flip], torch.Tensor] = {}
    images = target = torch.empty(0)
    for name, run in runs.items():
        for flip in FLIPS:
            predictions = run.predict(cases, [flip])
            if not probability:
                images = _stacked([one.image[0] for one in predictions])
                target = _stacked([one.target[0] for one in predictions])
            elif flip == AS_IS:
                own = _stacked([one.target[0] for one in predictions])
                if own.shape != target.shape or not torch.equal(own, target):
                    raise ValueError(
                        f"{name} sees masks of {tuple(own.shape[1:])} pixels and {next(iter(runs))} of "
                        f"{tuple(target.shape[1:])}, or others: the members of an ensemble must be trained with one "
                        "--image_size"
                    )
            probability[name, flip] = _stacked([one.probability[0] for one in predictions])
    return EnsemblePredictions(cases, images, target, probability)


def seconds_per_image(run: TrainedRun, cases: Cases, flips: Sequence[Flip]) -> float:
    """Measure how long a run takes for an image, reading and resizing included.

    Args:
        run: the run; it should have predicted before, which warms it up.
        cases: of the data list, of which the first few are predicted.
        flips: that are averaged.
    """
    timed = cases[:_TIMED_CASES]
    start = time.perf_counter()
    run.predict(timed, flips)
    return (time.perf_counter() - start) / len(timed)


def _stacked(planes: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(plane, dtype=np.float32) for plane in planes]))


def _differing_parts(weights: Sequence[Path]) -> list[str]:
    """Return the parts of paths that are not those of all: `a/han/fold_0` and `a/unet/fold_0` give han and unet."""
    folders = [next(one for one in path.parents if one.name not in ("models", RELEASED)) for path in weights]
    if len(set(folders)) < 2:
        return [next(part for part in reversed(folder.parts) if not _PLACE.fullmatch(part)) for folder in folders]
    parts = [folder.parts for folder in folders]
    shortest = min(len(part) for part in parts)
    start = next((place for place in range(shortest) if len({part[place] for part in parts}) > 1), shortest)
    end = next((back for back in range(shortest - start) if len({part[-1 - back] for part in parts}) > 1), 0)
    return ["/".join(part[start : len(part) - end]) or part[-1] for part in parts]
