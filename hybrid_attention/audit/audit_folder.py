"""The leakage audit: which images of a folder are near-duplicates, and how much they leak in a split."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hybrid_attention.audit.contact_sheet import contact_pages
from hybrid_attention.audit.keypoints import Picture, describe, opencv
from hybrid_attention.audit.leakage import KINDS, random_leakage, read_split, split_leakage
from hybrid_attention.audit.near_duplicates import Copy, Scores, find_near_duplicates, group_numbers
from hybrid_attention.data.cases import DataError, raise_if_invalid
from hybrid_attention.data.datasets import PUBLISHED_FOLDER, is_synthetic
from hybrid_attention.data.folders import files_below, image_files
from hybrid_attention.data.images import read_grey
from hybrid_attention.data.names import natural_order
from hybrid_attention.data.writing import (
    atomic_path,
    prepare_output_folder,
    remove_partial_files,
    write_csv,
    write_json,
)
from tqdm import tqdm

_PAGE = "contact_sheet_{:03d}.png"
_HINT = "replace these files (download them again), or remove them from the folder"


@dataclass(frozen=True, eq=False)
class AuditResult:
    """Results of the audit of a folder."""

    folder: Path
    groups: pd.DataFrame  # by image_id, `folder/name.png`: a number in each column of `leakage.KINDS`, equal in a group
    copies: list[Copy]  # the pairs that form the groups, by the positions of their images
    random_splits: dict[str, dict[str, dict[str, float]]]  # of `random_leakage`
    split: dict[str, dict[str, float | None]] | None  # of `split_leakage`; None if no split was given
    split_counts: dict[str, int]  # images by part of the split, with "not in the split" for those it does not name
    synthetic: bool  # whether the folder contains phantoms

    @property
    def image_ids(self) -> list[str]:
        """The images, relative to the audited folder."""
        return list(self.groups.index)

    def facts(self) -> dict[str, Any]:
        """Return the content of `summary.json`: counts and fractions (0..1)."""
        return {
            "synthetic_data": self.synthetic,
            "images": len(self.groups),
            "pairs": dict(Counter(copy.kind for copy in self.copies)),
            "mirrored_pairs": sum(copy.mirrored for copy in self.copies),
            **{kind: self._grouped(kind) for kind in KINDS},
            "random_splits_test_in_train": self.random_splits,
            "split": None if self.split is None else {"images": self.split_counts, "leaks": self.split},
        }

    def summary(self) -> str:
        """Return the content of `summary.md`."""
        facts = self.facts()
        lines = [f"# Leakage audit of {self.folder.name}", ""]
        if self.synthetic:
            lines += ["SYNTHETIC DATA: phantoms; no result on them says anything about patients.", ""]
        lines.append(f"{facts['images']} images.")
        for key, what in zip(KINDS, ("the same frame", "the same or a neighbouring frame"), strict=True):
            group = facts[key]
            lines.append(
                f"- {what}: {group['images']} images ({group['share']:.1%}) in {group['groups']} group(s), the largest "
                f"of {group['largest']}; {group['across_folders']} group(s) lie in more than one folder"
            )
        pairs = [f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(facts["pairs"].items())]
        lines += [f"- pairs: {', '.join(pairs) or 'none'}; {facts['mirrored_pairs']} of them mirrored", ""]
        lines += ["| split | images | same-frame duplicates | near-duplicates |", "|---|---|---|---|"]
        for split, leak in self.random_splits.items():
            shares = " | ".join(f"{leak[kind]['mean']:.1%} ± {leak[kind]['sd']:.1%}" for kind in KINDS)
            lines.append(f"| random {split}, test in train | {leak[KINDS[0]]['images']} | {shares} |")
        for name, leaked in (self.split or {}).items():
            found = [f"{share:.1%}" for share in leaked.values() if share is not None]
            if found:
                count = self.split_counts[name.split("_in_")[0]]
                lines.append(f"| given, {name.replace('_', ' ')} | {count} | {' | '.join(found)} |")
        if not self.random_splits:
            lines.append("| random | too few images | | |")
        lines += ["", "Groups are lower bounds: other views of one patient are not found."]
        return "\n".join(lines) + "\n"

    def _grouped(self, kind: str) -> dict[str, Any]:
        members = [list(names) for names in self.groups.groupby(kind).groups.values() if len(names) > 1]
        across = [names for names in members if len(set(map(os.path.dirname, names))) > 1]
        images = sum(map(len, members))
        return {
            "groups": len(members),
            "images": images,
            "share": images / len(self.groups),
            "largest": max(map(len, members), default=1),
            "across_folders": len(across),
            "images_across_folders": sum(map(len, across)),
        }


def audit(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    split_csv: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> AuditResult:
    """Find near-duplicates in a folder of images, and measure how much they leak in a split.

    Images are compared in three steps: equal bytes of the file or of the decoded pixels; keypoints that agree on a
    similarity transform (`keypoints.shortlist`); grey values and speckle of the overlap (`near_duplicates.compare`).
    Other views of the same patient are not found, nor are near-duplicates on which a screen's frame and text have more
    keypoints than the tissue, so crop screenshots first.

    The results in `out` are `groups.csv` (image_id, same_frame_group, duplicate_group; can be used as `groups_csv` of
    `busi_datalist`), `pairs.csv` (each pair with its scores), `summary.json`, `summary.md` and `contact_sheet_001.png`
    and so on, which show the images. Another run replaces them.

    On BUSI (780 images) the pairs of one frame in `busi_cases.csv` are found with a recall of 0.995 and a precision of
    1. Time grows with the square of the number of images (see `shortlist`), memory linearly: about 0.4 MB per image.

    Args:
        folder: images in folders of any depth (or the folder with the published `Dataset_BUSI_with_GT`). Files named as
            masks (`NAME_mask.png`) and `out` are skipped; masks in a separate folder would be taken for images.
        out: folder for the results; created if it is missing.
        split_csv: a split to check, with the columns `case_id` and `part`, as `hybrid-attention splits` writes it.
        seed: of the random splits.
        progress: show bars.

    Raises:
        DataError: no image in the folder, unreadable images, or a split with unknown images; all are listed.
        ValueError: the split lacks a column, or has no images for training or testing; `out` is the folder itself.
    """
    opencv()  # or say how to install it, before any work
    root = Path(folder)
    if (root / PUBLISHED_FOLDER).is_dir():
        root = root / PUBLISHED_FOLDER
    if not root.is_dir():
        fault = "is not a folder" if root.exists() else "does not exist"
        raise FileNotFoundError(f"{root} {fault}; give a folder of ultrasound images")
    if seed < 0:
        raise ValueError(f"the seed must not be negative, got {seed}")
    if Path(out).resolve() == root.resolve():
        raise ValueError(f"the results must not be written among the images; choose another folder than {out}")
    paths = _find_images(root, Path(out))
    image_ids = [path.relative_to(root).as_posix() for path in paths]
    parts = {} if split_csv is None else read_split(split_csv, image_ids)
    out = prepare_output_folder(out)
    pictures, copies = _read(paths, progress)
    copies = sorted([*copies, *find_near_duplicates(pictures, progress)], key=lambda copy: (copy.first, copy.second))
    same_frame = [copy for copy in copies if copy.kind != "near_frame"]
    numbers = {kind: group_numbers(len(paths), own) for kind, own in zip(KINDS, (same_frame, copies), strict=True)}
    groups = pd.DataFrame(numbers, index=pd.Index(image_ids, name="image_id"))
    result = AuditResult(
        folder=root.resolve(),
        groups=groups,
        copies=copies,
        random_splits=random_leakage(groups, seed),
        split=split_leakage(groups, parts) if parts else None,
        split_counts=dict(Counter(parts.get(name, "not in the split") for name in image_ids)) if parts else {},
        synthetic=is_synthetic(root),
    )
    _write(result, pictures, out)
    return result


def _find_images(root: Path, out: Path) -> list[Path]:
    inside = out.resolve().is_relative_to(root.resolve())
    found = image_files(
        path for path in files_below(root) if not (inside and path.resolve().is_relative_to(out.resolve()))
    )
    if not found:
        raise DataError(
            f"no image in {root} (masks, which are named NAME_mask.png, don't count): is it the right folder?"
        )
    return sorted(found, key=lambda path: (path.parent.relative_to(root).as_posix(), natural_order(path)))


def _read(paths: Sequence[Path], progress: bool) -> tuple[dict[int, Picture], list[Copy]]:
    """Return the pictures by the positions of their images, and a pair for each image identical to an earlier one."""

    def read(path: Path) -> tuple[str, str, Picture] | str:
        try:
            grey = read_grey(path)
        except ValueError as error:
            return f"{path}: {error}"
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        pixels = hashlib.sha256(f"{grey.shape}".encode() + grey.astype(np.float32).tobytes()).hexdigest()
        return content, pixels, describe(grey)

    problems: list[str] = []
    pictures: dict[int, Picture] = {}
    copies: list[Copy] = []
    seen: dict[str, int] = {}
    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        for index, answer in enumerate(tqdm(pool.map(read, paths), "read", len(paths), disable=not progress)):
            if isinstance(answer, str):
                problems.append(answer)
                continue
            content, pixels, picture = answer
            if content in seen:
                copies.append(Copy(seen[content], index, "identical_file"))
            elif pixels in seen:
                copies.append(Copy(seen[pixels], index, "identical_pixels"))
            else:
                pictures[index] = picture
            seen.setdefault(content, seen.setdefault(pixels, index))
    raise_if_invalid(problems, len(paths), _HINT)
    return pictures, copies


def _write(result: AuditResult, pictures: dict[int, Picture], out: Path) -> None:
    number = 0
    for number, page in enumerate(contact_pages(result.groups, result.copies, pictures), 1):
        with atomic_path(out / _PAGE.format(number)) as temporary:
            page.save(temporary, format="png")
    for stale in out.glob("contact_sheet_*.png"):
        if stale.name > _PAGE.format(number):
            stale.unlink()
    ids = result.image_ids
    pairs = [
        {
            "first": ids[copy.first],
            "second": ids[copy.second],
            "kind": copy.kind,
            "mirrored": int(copy.mirrored),
            # empty for identical images
            **({name: round(score, 4) for name, score in asdict(copy.scores).items()} if copy.scores else {}),
        }
        for copy in result.copies
    ]
    write_csv(out / "pairs.csv", pairs, ["first", "second", "kind", "mirrored", *Scores.__dataclass_fields__])
    with atomic_path(out / "groups.csv") as temporary:
        result.groups.add_suffix("_group").to_csv(temporary)
    with atomic_path(out / "summary.md") as temporary:
        temporary.write_text(result.summary(), encoding="utf-8")
    write_json(out / "summary.json", result.facts())
    remove_partial_files(out)
