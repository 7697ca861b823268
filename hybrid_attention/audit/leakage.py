"""Leakage of a split: the fraction of test images that have a near-duplicate among the training images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from hybrid_attention.data.checks import raise_if_invalid
from hybrid_attention.data.splits import read_split_table

RANDOM_SPLITS = {"80/10/10": 0.1, "80/20": 0.2}  # name: share of test images
REPEATS = 20
_TRAIN_SHARE = 0.8
_FEWEST = 5


def read_split(path: str | os.PathLike[str], image_ids: Sequence[str]) -> dict[str, str]:
    """Read a split of audited images, with the columns `case_id` and `part`, as the part by case_id.

    Raises:
        ValueError: the table has no column `part`, or no image for training or testing.
        DataError: images that were not audited; all are listed. For other errors see `read_split_table`.
    """
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


def leakage_rate(groups: Mapping[str, int], parts: Mapping[str, str], part: str, source: str = "train") -> float | None:
    """Return the fraction of images of one part that have a near-duplicate in another; None when either is empty."""
    seen = {groups[name] for name, where in parts.items() if where == source}
    judged = [groups[name] in seen for name, where in parts.items() if where == part]
    return float(np.mean(judged)) if judged and seen else None


def split_leakage(
    same_frame: Mapping[str, int], duplicates: Mapping[str, int], parts: Mapping[str, str]
) -> dict[str, dict[str, float | None]]:
    """Return the leakage between the parts of a split.

    Returns:
        For "test_in_train", "validation_in_train" and "test_in_validation" the fractions by `same_frame` and
        `duplicate` groups; None if the part is empty.
    """
    return {
        f"{part}_in_{source}": {
            "same_frame": leakage_rate(same_frame, parts, part, source),
            "duplicate": leakage_rate(duplicates, parts, part, source),
        }
        for part, source in (("test", "train"), ("validation", "train"), ("test", "validation"))
    }


def random_leakage(
    same_frame: Mapping[str, int], duplicates: Mapping[str, int], seed: int = 0
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the leakage of random splits over images, as are often used.

    80 % of the images are for training. Of the others half are for testing in "80/10/10" and all in "80/20".

    Returns:
        By split and kind of group the `mean` and `sd` (between splits, n - 1) of the fraction of test images with a
        near-duplicate in train over 20 random splits, and the number of test `images`; empty for fewer than 5 images.
    """
    names = list(duplicates)
    if len(names) < _FEWEST:
        return {}
    generator = np.random.default_rng(seed)
    leaks = {}
    for split, share in RANDOM_SPLITS.items():
        tested, trained = max(round(share * len(names)), 1), round(_TRAIN_SHARE * len(names))
        shares: dict[str, list[float]] = {"same_frame": [], "duplicate": []}
        for _ in range(REPEATS):
            order = generator.permutation(len(names))
            parts = {names[index]: "test" for index in order[:tested]}
            parts |= {names[index]: "train" for index in order[len(names) - trained :]}
            shares["same_frame"].append(leakage_rate(same_frame, parts, "test") or 0.0)
            shares["duplicate"].append(leakage_rate(duplicates, parts, "test") or 0.0)
        leaks[split] = {
            kind: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "images": tested}
            for kind, values in shares.items()
        }
    return leaks
