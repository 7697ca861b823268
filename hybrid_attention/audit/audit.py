"""The leakage audit: which images of a folder are near-duplicates, and how much they leak in a split."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hybrid_attention.audit.contact_sheet import SheetGroup, contact_pages
from hybrid_attention.audit.features import Picture, describe, opencv
from hybrid_attention.audit.leakage import random_leakage, read_split, split_leakage
from hybrid_attention.audit.matching import Copy, find_near_duplicates, group_numbers
from hybrid_attention.data.checks import DataError, raise_if_invalid
from hybrid_attention.data.datasets.busi import PUBLISHED_FOLDER, is_synthetic
from hybrid_attention.data.files import (
    atomic_path,
    files_below,
    prepare_output_folder,
    remove_partial_files,
    write_csv,
    write_json,
)
from hybrid_attention.data.images import natural_order, read_grey
from hybrid_attention.data.listing import image_files
from tqdm import tqdm

_PAGE = "contact_sheet_{:03d}.png"
_HINT = "replace these files (download them again), or remove them from the folder"


@dataclass(frozen=True)
class AuditResult:
    """Results of the audit of a folder."""

    folder: Path
    image_ids: list[str]  # `folder/name.png`, relative to the audited folder
    same_frame_groups: list[int]  # one number per image; equal for images of the same frame
    duplicate_groups: list[int]  # likewise; equal for images of the same or neighbouring frames
    copies: list[Copy]  # the pairs that form the groups
    random_splits: dict[str, dict[str, dict[str, float]]]  # of `random_leakage`
    split: dict[str, dict[str, float | None]] | None  # of `split_leakage`; None if no split was given
    split_counts: dict[str, int]  # images by part of the split, with "not in the split" for those it does not name
    synthetic: bool  # whether the folder contains phantoms

    def facts(self) -> dict[str, Any]:
        """Return the content of `summary.json`: counts and fractions (0..1)."""
        return {
            "synthetic_data": self.synthetic,
            "images": len(self.image_ids),
            "pairs": dict(Counter(copy.kind for copy in self.copies)),
            "mirrored_pairs": sum(copy.mirrored for copy in self.copies),
            "same_frame": self._grouped(self.same_frame_groups),
            "duplicate": self._grouped(self.duplicate_groups),
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
        for key, what in (("same_frame", "the same frame"), ("duplicate", "the same or a neighbouring frame")):
            group = facts[key]
            lines.append(
                f"- {what}: {group['images']} images ({group['share']:.1%}) in {group['groups']} group(s), the largest "
                f"of {group['largest']}; {group['across_folders']} group(s) lie in more than one folder"
            )
        kinds = {kind.replace("_", " "): count for kind, count in facts["pairs"].items()}
        pairs = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
        lines += [f"- pairs: {pairs}; {facts['mirrored_pairs']} of them mirrored", ""]
        lines += ["| split | images | same-frame duplicates | near-duplicates |", "|---|---|---|---|"]
        for split, leak in self.random_splits.items():
            shares = [f"{leak[key]['mean']:.1%} ± {leak[key]['sd']:.1%}" for key in ("same_frame", "duplicate")]
            lines.append(
                f"| random {split}, test in train | {leak['duplicate']['images']} | {shares[0]} | {shares[1]} |"
            )
        for name, shares_by_kind in (self.split or {}).items():
            part = name.split("_in_")[0]
            same, near = (shares_by_kind[key] for key in ("same_frame", "duplicate"))
            if same is not None and near is not None:
                judged = self.split_counts[part]
                lines.append(f"| given, {name.replace('_', ' ')} | {judged} | {same:.1%} | {near:.1%} |")
        if not self.random_splits:
            lines.append("| random | too few images | | |")
        lines += ["", "Groups are lower bounds: other views of one patient are not found."]
        return "\n".join(lines) + "\n"

    def _grouped(self, groups: Sequence[int]) -> dict[str, Any]:
        members = [names for names in _members(self.image_ids, groups).values() if len(names) > 1]
        across = [names for names in members if len({os.path.dirname(name) for name in names}) > 1]
        images = sum(len(names) for names in members)
        return {
            "groups": len(members),
            "images": images,
            "share": images / len(self.image_ids),
            "largest": max((len(names) for names in members), default=1),
            "across_folders": len(across),
            "images_across_folders": sum(len(names) for names in across),
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
    similarity transform (`features.shortlist`); grey values and speckle of the overlap (`matching.compare`). Names and
    classes are not used. Other views of the same patient are not found, nor are near-duplicates on which a screen's
    frame and text have more keypoints than the tissue, so crop screenshots first.

    The results in `out` are `groups.csv` (image_id, same_frame_group, duplicate_group; one row per image; can be used
    as `groups_csv` of `busi_datalist`), `pairs.csv` (each pair with its scores), `summary.json`, `summary.md` and
    `contact_sheet_001.png` and so on (groups with neighbouring frames first, then the largest; they show the images, so
    store them as the images must be stored). All files are written at the end, by rename; another run replaces them.

    On BUSI (780 images) the pairs of one frame in `busi_cases.csv` are found with a recall of 0.995 and a precision of
    1. Time grows with the square of the number of images (see `shortlist`), memory linearly: about 0.4 MB per image.

    Args:
        folder: images of the formats of `data.images`, in folders of any depth (or the folder with the published
            `Dataset_BUSI_with_GT`). Files named as masks (`NAME_mask.png`, `NAME_mask_1.png`), hidden ones, thumbnails,
            recycle bins and `out` are skipped; masks in a separate folder would be taken for images, so give the
            folder of the images.
        out: folder for the results; created if it is missing.
        split_csv: a split to check, with the columns `case_id` and `part`, as `hybrid-attention splits` writes it.
        seed: of the random splits.
        progress: show bars.

    Raises:
        ImportError: OpenCV is not installed.
        FileNotFoundError: the folder or the split does not exist.
        DataError: no image in the folder, unreadable images, or a split with unknown images; all are listed.
        ValueError: the split lacks a column, or has no images for training or testing; `out` is the folder itself.
    """
    opencv()
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
    parts = read_split(split_csv, image_ids) if split_csv is not None else None
    out = prepare_output_folder(out)
    pictures, copies = _read(paths, progress)
    distinct = [index for index, picture in enumerate(pictures) if picture is not None]
    for copy in find_near_duplicates([picture for picture in pictures if picture is not None], progress):
        copies.append(Copy(distinct[copy.first], distinct[copy.second], copy.kind, copy.mirrored, copy.scores))
    copies.sort(key=lambda copy: (copy.first, copy.second))
    same_frame = group_numbers(len(paths), [copy for copy in copies if copy.kind != "near_frame"])
    duplicates = group_numbers(len(paths), copies)
    by_frame, by_copy = (dict(zip(image_ids, groups, strict=True)) for groups in (same_frame, duplicates))
    counts = Counter((parts or {}).get(name, "not in the split") for name in image_ids)
    result = AuditResult(
        folder=root.resolve(),
        image_ids=image_ids,
        same_frame_groups=same_frame,
        duplicate_groups=duplicates,
        copies=copies,
        random_splits=random_leakage(by_frame, by_copy, seed),
        split=split_leakage(by_frame, by_copy, parts) if parts is not None else None,
        split_counts=dict(counts) if parts is not None else {},
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


def _read(paths: Sequence[Path], progress: bool) -> tuple[list[Picture | None], list[Copy]]:
    """Read all images.

    Returns:
        The pictures, None for those identical to an earlier one; and a pair for each of these.
    """

    def read(path: Path) -> tuple[str, str, Picture] | str:
        try:
            grey = read_grey(path)
        except ValueError as error:
            return f"{path}: {error}"
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        pixels = hashlib.sha256(f"{grey.shape}".encode() + grey.astype(np.float32).tobytes()).hexdigest()
        return content, pixels, describe(grey)

    problems: list[str] = []
    pictures: list[Picture | None] = []
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
            first = seen.setdefault(pixels, index)
            seen.setdefault(content, first)
            pictures.append(picture if first == index else None)
    raise_if_invalid(problems, len(paths), _HINT)
    return pictures, copies


def _members(names: Sequence[Any], groups: Sequence[int]) -> dict[int, list[Any]]:
    members: dict[int, list[Any]] = {}
    for name, group in zip(names, groups, strict=True):
        members.setdefault(group, []).append(name)
    return members


def _write(result: AuditResult, pictures: Sequence[Picture | None], out: Path) -> None:
    number = 0
    for number, page in enumerate(contact_pages(_sheet(result, pictures)), 1):
        with atomic_path(out / _PAGE.format(number)) as temporary:
            page.save(temporary, format="png")
    for stale in out.glob("contact_sheet_*.png"):
        if stale.name > _PAGE.format(number):
            stale.unlink()
    write_csv(out / "pairs.csv", _pair_rows(result), _PAIR_COLUMNS)
    rows = [
        {"image_id": name, "same_frame_group": frame, "duplicate_group": group}
        for name, frame, group in zip(result.image_ids, result.same_frame_groups, result.duplicate_groups, strict=True)
    ]
    write_csv(out / "groups.csv", rows, list(rows[0]))
    with atomic_path(out / "summary.md") as temporary:
        temporary.write_text(result.summary(), encoding="utf-8")
    write_json(out / "summary.json", result.facts())
    remove_partial_files(out)


_SCORES = ("inliers", "scale", "rotation", "overlap", "correlation", "speckle_correlation", "block_correlation")
_PAIR_COLUMNS = ["first", "second", "kind", "mirrored", *_SCORES]


def _pair_rows(result: AuditResult) -> Iterator[Mapping[str, Any]]:
    """Yield one row per pair; the scores of identical images are empty."""
    for copy in result.copies:
        yield {
            "first": result.image_ids[copy.first],
            "second": result.image_ids[copy.second],
            "kind": copy.kind,
            "mirrored": int(copy.mirrored),
            **({name: round(getattr(copy.scores, name), 4) for name in _SCORES} if copy.scores else {}),
        }


def _sheet(result: AuditResult, pictures: Sequence[Picture | None]) -> list[SheetGroup]:
    """Return the groups for the contact sheet; uncertain ones, with neighbouring frames, come first."""
    twin = {copy.second: copy.first for copy in result.copies if copy.kind.startswith("identical")}
    pairs = _members(result.copies, [result.duplicate_groups[copy.first] for copy in result.copies])
    indices = _members(range(len(result.image_ids)), result.duplicate_groups)

    def weakest(group: int) -> float:
        return min((copy.scores.block_correlation for copy in pairs[group] if copy.scores), default=1.0)

    def doubt(group: int) -> tuple[bool, int, float]:
        certain = all(copy.kind != "near_frame" for copy in pairs[group])
        return certain, -len(indices[group]), weakest(group)

    sheet = []
    for group in sorted(pairs, key=doubt):
        members = indices[group]
        frames = {
            frame: number for number, frame in enumerate(sorted({result.same_frame_groups[i] for i in members}), 1)
        }
        images = [pictures[twin.get(index, index)] for index in members]
        what = "same frame" if len(frames) == 1 else f"{len(frames)} frames"
        sheet.append(
            SheetGroup(
                f"Group {group}: {len(members)} images, {what}, weakest speckle agreement {weakest(group):.2f}",
                [picture.pixels for picture in images if picture is not None],
                [result.image_ids[index] for index in members],
                [_note(index, frames[result.same_frame_groups[index]], result, twin) for index in members],
            )
        )
    return sheet


def _note(index: int, frame: int, result: AuditResult, twin: Mapping[int, int]) -> str:
    if index in twin:
        return f"frame {frame}, identical to {result.image_ids[twin[index]]}"
    return f"frame {frame}"
