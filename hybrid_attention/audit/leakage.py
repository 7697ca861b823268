"""Leakage of a split: the fraction of test images that have a near-duplicate among the training images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from hybrid_attention.data.cases import raise_if_invalid
from hybrid_attention.data.splits import read_split_table

KINDS = ["same_frame", "duplicate"]  # columns of group numbers: the same frame; the same or a neighbouring one
RANDOM_SPLITS = {"80/10/10": 0.1, "80/20": 0.2}  # name: share of test images
REPEATS = 20
_TRAIN_SHARE = 0.8
_FEWEST = 5


def read_split(path: str | os.PathLike[str], image_ids: Sequence[str]) -> dict[str, str]:
    """Read a split of audited images, with the columns `case_id` and `part`, as the part by case_id."""
    column, parts = read_split_table(path)
    if column != "part":
        raise ValueError(f"{path} must have a column part, got {column}")
    known = set(image_ids)
    problems = [f"{name}: not among the audited images" for name in parts if name not in known]
    raise_if_invalid(problems, len(parts), f"make {path} name images below the audited folder")
    for part in ("train", "test"):
        if part not in parts.values():
            raise ValueError(f"split {path} has no image with part {part!r}: nothing to compare")
    return parts


def leakage(judged: pd.DataFrame, seen: pd.DataFrame) -> dict[str, float | None]:
    """Return the fraction of images that have a near-duplicate among those seen; None when either is empty."""
    if judged.empty or seen.empty:
        return dict.fromkeys(KINDS)
    return {kind: float(judged[kind].isin(seen[kind]).mean()) for kind in KINDS}


def split_leakage(groups: pd.DataFrame, parts: Mapping[str, str]) -> dict[str, dict[str, float | None]]:
    """Return the `leakage` between the parts of a split: test_in_train, validation_in_train, test_in_validation."""
    of = {part: groups.loc[[name for name in parts if parts[name] == part]] for part in set(parts.values())}
    empty = groups[:0]
    pairs = (("test", "train"), ("validation", "train"), ("test", "validation"))
    return {f"{part}_in_{source}": leakage(of.get(part, empty), of.get(source, empty)) for part, source in pairs}


def random_leakage(groups: pd.DataFrame, seed: int = 0) -> dict[str, dict[str, dict[str, float]]]:
    """Return the leakage of 20 random splits over images, as are often used, with 80 % for training.

    By split and kind of group it has `mean` and `sd` (between splits, n - 1) of the fraction of test images with a
    near-duplicate in train, and the number of test `images`; it is empty for fewer than 5 images.
    """
    count = len(groups)
    if count < _FEWEST:
        return {}
    generator = np.random.default_rng(seed)
    leaks: dict[str, dict[str, dict[str, float]]] = {}
    for split, share in RANDOM_SPLITS.items():
        tested, trained = max(round(share * count), 1), round(_TRAIN_SHARE * count)
        orders = [generator.permutation(count) for _ in range(REPEATS)]
        found = [leakage(groups.iloc[order[:tested]], groups.iloc[order[count - trained :]]) for order in orders]
        leaks[split] = {}
        for kind in KINDS:
            shares = [leak[kind] or 0.0 for leak in found]
            leaks[split][kind] = {"mean": float(np.mean(shares)), "sd": float(np.std(shares, ddof=1)), "images": tested}
    return leaks
