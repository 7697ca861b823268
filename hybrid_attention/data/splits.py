"""Leak-free splits: made from groups of cases, or read from a table."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from hybrid_attention.data.cases import on_demand, raise_if_invalid
from hybrid_attention.data.names import split_frame
from hybrid_attention.data.tables import read_table

Cases = list[dict[str, Any]]
PARTS = ("train", "validation", "test", "excluded")
RULES = ("leak_free", "random", "paper")
LEAKING = "near-duplicates on both sides"  # of the rule in words

logger = logging.getLogger(__name__)

# how much the lesion area of a re-encoded mask may differ from the published one's, as a fraction of the image
_AREA_TOLERANCE = 0.003
_MATCHING_SHARE = 0.8
_TITLES = {"bus_bra": "BUS-BRA"}


@dataclass(frozen=True)
class Split:
    """One fold of a data set."""

    train: Cases
    validation: Cases  # to choose the epoch, the learning rate and every other setting on
    test: Cases  # to evaluate once
    excluded: Cases
    rule: str  # how the split was made, in words, for reports

    def part(self, name: str) -> Cases:
        """Return the cases of `train`, `validation` or `test`."""
        if name not in PARTS[:3]:
            raise ValueError(f"part must be one of {', '.join(PARTS[:3])}, got {name!r}")
        return getattr(self, name)


@cache
def busi_facts() -> dict[str, dict[str, str]]:
    """Return the shipped table of BUSI's 780 images, one row per `image_id`.

    `fold` is 0 to 4, or -1 if images of one group have two classes; a `duplicate_group` has the same or neighbouring
    frames, `overlay_flag` means burnt-in graphics, and `sha256` is that of the published file.
    """
    text = resources.files("hybrid_attention.data").joinpath("busi_cases.csv").read_text(encoding="utf-8")
    return {row["image_id"]: row for row in csv.DictReader(text.splitlines())}


def is_busi(cases: Sequence[dict[str, Any]]) -> bool:
    """Return whether cases are images of BUSI, all or some, as published or re-encoded.

    Names are not enough, since other folders copy BUSI's layout, so four in five lesion areas must agree as well (not
    all, because corrected masks are in use). Phantoms are not BUSI, nor are cases whose groups are given by the user.
    Images of BUSI that are mixed with others or have other masks, with unknown duplicates, are a ValueError.
    """
    own = [split_frame(case["case_id"])[0].as_posix() for case in cases]  # frames of a file share its group
    if any(case.get("synthetic", False) or case["group"] != group for case, group in zip(cases, own, strict=True)):
        return False
    facts = busi_facts()
    unknown = [case["case_id"] for case in cases if case["case_id"] not in facts]
    areas = [
        (case["lesion_area_fraction"], float(facts[case["case_id"]]["lesion_area_fraction"]))
        for case in cases
        if case["case_id"] in facts and case["lesion_area_fraction"] > 0
    ]
    matches = sum(abs(area - published) < _AREA_TOLERANCE for area, published in areas)
    alike = matches > 0 and matches >= _MATCHING_SHARE * len(areas)
    if alike and unknown:
        raise ValueError(
            f"{len(cases) - len(unknown)} of {len(cases)} images are BUSI's, {len(unknown)} are not (the first: "
            f"{unknown[0]}); move these to a folder of their own, or give groups_csv, a table of duplicate groups of "
            "all images"
        )
    if areas and not unknown and not alike:
        raise ValueError(
            f"the {len(cases)} images have BUSI's names, but only {matches} of {len(areas)} lesions have the size "
            "that they have in BUSI; give groups_csv, so that duplicates can't straddle the split (for BUSI with other "
            "masks or crops: busi_cases.csv, which this package ships), or rename the files"
        )
    return alike


@on_demand
def split_cases(
    cases: Sequence[dict[str, Any]],
    fold: int = 0,
    num_folds: int = 5,
    lesions_only: bool = True,
    seed: int = 0,
    split_csv: str | os.PathLike[str] | None = None,
    split_rule: str = "leak_free",
    paper_sizes: Sequence[int] | None = None,
) -> Split:
    """Split cases into train, validation and test; by default no duplicate group straddles them.

    Fold k tests, fold (k + 1) mod n validates, the others train. BUSI has its published folds (`busi_facts`), without
    the 21 images whose group has two classes; BUS-BRA its official folds, of which fold k + 1 goes with BUSI's fold k;
    other data get folds by `sklearn.model_selection.StratifiedGroupKFold` over `class` and `group`. `lesions_only` then
    drops normal cases, and cases without a class whose mask is empty, from all parts; it never moves a case. With
    `split_csv` the table decides for any data; a split that leaks is refused.

    Two rules put near-duplicates on both sides, to measure what that brings: `random` shuffles the leak-free folds
    within each class, so that the parts keep their sizes; `paper` draws parts of a paper's sizes from all of BUSI.

    Args:
        cases: from `datalist` or one of the readers.
        fold: the test fold.
        num_folds: at least 3; must be 5 for BUSI and BUS-BRA; not used with a table.
        lesions_only: leave out images without lesion, as the HAN paper does.
        seed: of the shuffle; not used for published folds and tables.
        split_csv: a table with your own split, with the columns `case_id` and either `part` (train, validation, test or
            excluded) or `fold` (whole numbers; negative ones exclude). Rows of other cases are ignored.
        split_rule: `leak_free`, `random` or `paper`; with a table `leak_free`.
        paper_sizes: images for training, validation and test of the rule `paper`, with normal images; without them
            the parts shrink by the same share.

    Raises:
        ValueError: arguments that exclude each other or are out of range, or too few cases or groups for every part.
        DataError: cases without a row, contradictory rows, or groups in several parts; all are listed.
    """
    if split_rule not in RULES:
        raise ValueError(f"split_rule must be one of {', '.join(RULES)}, got {split_rule!r}")
    if split_csv is not None and split_rule != "leak_free":
        raise ValueError(f"split_rule {split_rule} and split_csv {split_csv} exclude each other")
    by_set: dict[tuple[str, str], Cases] = {}
    for case in cases:  # by data set and folder
        own = (case.get("dataset", ""), case.get("image", "")[: -len(case["case_id"])])
        by_set.setdefault(own, []).append(case)
    sets = [_with_known_groups(part) for part in by_set.values()]
    cases = [case for part, _ in sets for case in part]
    normal = [case["class"] == "normal" or (not case["class"] and case["lesion_area_fraction"] == 0) for case in cases]
    left_out = [lesions_only and one for one in normal]
    if split_csv is not None:
        names, rule = _parts_of_table(split_csv, cases, fold)
    elif split_rule == "paper":
        if not all(busi for _, busi in sets) or paper_sizes is None:
            raise ValueError(
                "split_rule paper is for BUSI and a bundle with a paper, whose sizes of the parts it takes; use "
                "leak_free or random"
            )
        if fold != 0:
            raise ValueError(
                f"split_rule paper has one split, fold 0, got fold {fold}; another split_seed draws another"
            )
        names, rule = _parts_of_paper(left_out, cases, paper_sizes, seed)
    else:
        folds, rule = _known_or_drawn_folds(sets, num_folds, seed, split_rule == "random")
        if not 0 <= fold < num_folds:
            raise ValueError(f"fold must be from 0 to {num_folds - 1}, got {fold}")
        names = _parts_of_folds(folds, fold, num_folds)
        rule = f"{rule}, test fold {fold} of {num_folds}, validation fold {(fold + 1) % num_folds}"
    parts: dict[str, Cases] = {name: [] for name in PARTS}
    for case, part, out in zip(cases, names, left_out, strict=True):
        part = "excluded" if out else part
        parts[part].append({key: value for key, value in case.items() if key != "fold"})
    needed = {"train": 2, "validation": 1, "test": 1}  # batch norm can't learn from a single case
    short = [f"{name} ({len(parts[name])})" for name, least in needed.items() if len(parts[name]) < least]
    if short:
        raise ValueError(f"{len(cases)} cases, split by {rule}, leave too few for {', '.join(short)}")
    rule = f"{rule}, {'lesion images only' if lesions_only else 'all classes'}"
    logger.info("split: %s: %s", rule, ", ".join(f"{len(part)} {name}" for name, part in parts.items()))
    return Split(**parts, rule=rule)


def _with_known_groups(cases: Cases) -> tuple[Cases, bool]:
    """Return the cases of one data set (for BUSI with its duplicate groups) and whether it is BUSI."""
    if not is_busi(cases):
        return cases, False
    facts = busi_facts()
    return [{**case, "group": facts[case["case_id"]]["duplicate_group"]} for case in cases], True


def _parts_of_paper(left_out: Sequence[bool], cases: Cases, sizes: Sequence[int], seed: int) -> tuple[list[str], str]:
    """Draw parts at random, with the same share of each class; return the part of each case and the rule."""
    from sklearn.model_selection import train_test_split

    kept = [index for index, out in enumerate(left_out) if not out]
    share = len(kept) / len(cases)
    test, validation = round(sizes[2] * share), round(sizes[1] * share)
    names = ["excluded"] * len(cases)
    for part, count in (("test", test), ("validation", validation)):
        classes = [cases[index]["class"] for index in kept]
        kept, drawn = train_test_split(kept, test_size=count, stratify=classes, random_state=seed)
        for index in drawn:
            names[index] = part
    for index in kept:
        names[index] = "train"
    return names, f"the paper's sizes at random by seed {seed}, {LEAKING}"


def _parts_of_folds(folds: Sequence[int], fold: int, num_folds: int) -> list[str]:
    """Return the parts of cases by their folds: fold k tests, the next one validates, others that exist train."""
    roles = dict.fromkeys(range(num_folds), "train") | {fold: "test", (fold + 1) % num_folds: "validation"}
    return [roles.get(number, "excluded") for number in folds]


def _known_or_drawn_folds(
    sets: Sequence[tuple[Cases, bool]], num_folds: int, seed: int, shuffled: bool
) -> tuple[list[int], str]:
    """Return the fold of each case, data set by data set, and where they are from, in words."""
    if num_folds < 3:
        raise ValueError(f"num_folds must be at least 3 (train, validation, test), got {num_folds}")
    folds: list[int] = []
    names: dict[str, None] = {}
    for cases, busi in sets:
        if busi or all("fold" in case for case in cases):
            name = "BUSI leak-free folds" if busi else f"{_TITLES[cases[0]['dataset']]} official folds"
            if num_folds != 5:
                raise ValueError(f"num_folds must be 5 for {name}, got {num_folds}")
            own = [int(busi_facts()[case["case_id"]]["fold"] if busi else case["fold"]) for case in cases]
        else:
            name = f"grouped stratified folds by seed {seed}"
            own = _stratified_group_folds(cases, num_folds, seed)
        if shuffled:
            name = f"random folds by seed {seed} in place of {name}, {LEAKING}"
            own = _shuffled_in_classes(own, cases, seed)
        folds += own
        names[name] = None
    return folds, " and ".join(names)


def _shuffled_in_classes(folds: Sequence[int], cases: Cases, seed: int) -> list[int]:
    """Return the folds in random order within each class; excluded cases stay where they are."""
    generator, shuffled = np.random.default_rng(seed), np.array(folds)
    for name in sorted({case["class"] for case in cases}):
        members = np.array([case["class"] == name for case in cases]) & (shuffled >= 0)
        shuffled[members] = generator.permutation(shuffled[members])
    return shuffled.tolist()


def _stratified_group_folds(cases: Sequence[dict[str, Any]], num_folds: int, seed: int) -> list[int]:
    from sklearn.model_selection import StratifiedGroupKFold

    classes = [case["class"] for case in cases]
    groups = [case["group"] for case in cases]
    if len(set(groups)) < num_folds:
        raise ValueError(f"{len(set(groups))} groups of images can't fill {num_folds} folds")
    rare = {name for name in classes if classes.count(name) < num_folds}
    if rare:
        logger.warning("fewer than %d cases of class %s: some folds have none", num_folds, ", ".join(sorted(rare)))
        classes = ["rare" if name in rare else name for name in classes]
        if classes.count("rare") < num_folds:
            classes = ["any"] * len(classes)
    folds = [0] * len(cases)
    splitter = StratifiedGroupKFold(n_splits=num_folds, shuffle=True, random_state=seed)
    for number, (_, members) in enumerate(splitter.split(cases, classes, groups)):
        for index in members:
            folds[index] = number
    return folds


def read_split_table(path: str | os.PathLike[str]) -> tuple[str, dict[str, str]]:
    """Read a `split_csv` of `split_cases`: "part" or "fold", and its value by case_id; faulty rows are all listed."""
    try:
        rows = read_table(path, ["case_id"])
    except FileNotFoundError:
        raise FileNotFoundError(f"split {path} does not exist; `hybrid-attention splits` writes one") from None
    column = next((name for name in ("part", "fold") if rows and name in rows[0]), "")
    if not column:
        raise ValueError(f"split {path} must have the columns case_id and part or fold, and a row for each case")
    expected = ", ".join(PARTS) if column == "part" else "a whole number"
    values: dict[str, str] = {}
    problems: list[str] = []
    for row in rows:
        name, value = row["case_id"], row[column].strip()
        if values.setdefault(name, value) != value:
            problems.append(f"{path}: {name}: {column} {values[name]} in one row, {value} in another")
        if value not in PARTS if column == "part" else not value.removeprefix("-").isdecimal():
            problems.append(f"{path}: {name}: {column} {value!r}, expected {expected}")
    raise_if_invalid(problems, len(rows), f"give each case one row, with {expected} as its {column}")
    return column, values


def _parts_of_table(
    path: str | os.PathLike[str], cases: Sequence[Mapping[str, Any]], fold: int
) -> tuple[list[str], str]:
    """Return the part of each case in a table, and the rule in words."""
    column, given = read_split_table(path)
    problems: list[str] = []
    owners: dict[str, Mapping[str, Any]] = {}
    for case in cases:
        name = case["case_id"]
        if name not in given:
            problems.append(f"{name}: no row")
        elif given[name] != "excluded" and not given[name].startswith("-"):
            first = owners.setdefault(case["group"], case)["case_id"]
            if given[first] != given[name]:
                problems.append(
                    f"group {case['group']} leaks: {first} is in {column} {given[first]}, {name} in {given[name]}"
                )
    raise_if_invalid(
        [f"{path}: {problem}" for problem in problems],
        len(cases),
        "give each case one row, and all cases of a group (one patient, or duplicates) the same part or fold",
    )
    others = len(set(given) - {case["case_id"] for case in cases})
    if others:
        logger.info("%s has rows for %d other cases", path, others)
    own, table = [given[case["case_id"]] for case in cases], os.path.basename(path)
    if column == "part":
        if fold != 0:
            raise ValueError(f"{path} has a column part, so fold must be 0, got {fold}; folds need a column fold")
        return own, f"the parts in {table}"
    numbers = sorted({int(value) for value in given.values() if int(value) >= 0})
    if len(numbers) < 3 or not 0 <= fold < len(numbers):
        raise ValueError(f"{path} must have at least 3 folds and fold {fold}, counted from 0; it has {numbers}")
    order = {number: index for index, number in enumerate(numbers)}
    parts = _parts_of_folds([order.get(int(value), -1) for value in own], fold, len(numbers))
    validated = numbers[(fold + 1) % len(numbers)]
    return parts, f"the folds in {table}, test fold {numbers[fold]}, validation fold {validated}"
