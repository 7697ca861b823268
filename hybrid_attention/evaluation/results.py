"""Files of an evaluation: table of cases, summary, curves and pictures."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hybrid_attention.data.files import atomic_path, write_csv, write_json
from hybrid_attention.data.grey import stretched
from hybrid_attention.data.reading import strip_suffix
from hybrid_attention.evaluation.formatting import is_defined, plural
from hybrid_attention.evaluation.metrics.classification import predicted_classes
from hybrid_attention.evaluation.metrics.overlap import COUNTS, SCORES, overlap_scores
from hybrid_attention.evaluation.summary import summarize, summary_table
from hybrid_attention.transforms import Overlay
from PIL import Image

PICTURES = ("images", "truths", "masks", "probabilities", "overlays", "gradcam")
# next to the heat maps: cases without one because nothing is predicted in them
LEFT_OUT = "left_out.json"
# files of curves, and the numbers in the record that say that the evaluation wrote them
CURVES = {"roc": ("pixel_roc", "auc"), "calibration": ("calibration", "ece")}
_TEXTS = ("case_id", "dataset", "class", "group", "predicted_class")
_REQUIRED = (*_TEXTS[:1], *_TEXTS[2:4], *(name for name in SCORES if name != "f1"), *COUNTS)
_ROUNDING = 2e-6  # of the tables, which hold six digits
_SAME = 1e-9


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one trained network.

    Args:
        name: title in tables and figures.
        folder: folder it was read from.
        cases: content of `per_case.csv`, one row per case.
        record: content of `summary.json`.
        summary: summary computed from `cases`.
        roc: points of the pixel ROC curve, or None.
        calibration: bins of the reliability curve, or None.
    """

    name: str
    folder: Path
    cases: pd.DataFrame
    record: dict[str, Any]
    summary: dict[str, Any]
    roc: pd.DataFrame | None = None
    calibration: pd.DataFrame | None = None

    @property
    def classes(self) -> list[str]:
        """Predicted classes; empty for a network without a class head."""
        return predicted_classes(self.cases)

    def recorded(self, *keys: str) -> Any:
        """Return a value of the record by its path of keys; None if missing."""
        return nested(self.record, keys)

    def select(self, case_ids: Sequence[str]) -> Evaluation:
        """Return the evaluation restricted to some cases, in this order.

        Args:
            case_ids: cases to keep. If some are left out, the summary is recomputed, and the curves, which cover all
                cases, are dropped.
        """
        cases = self.cases.set_index("case_id", drop=False).loc[list(case_ids)].reset_index(drop=True)
        if len(cases) == len(self.cases):
            return dataclasses.replace(self, cases=cases)
        record = {**self.record, "pixel_roc": None, "calibration": None}
        return Evaluation(self.name, self.folder, cases, record, summarize(cases))


def read_evaluation(run: str | os.PathLike[str]) -> Evaluation:
    """Read an evaluation and compute its summary from its cases.

    Args:
        run: folder with `per_case.csv` and `summary.json`, or `NAME=FOLDER`. The default name is that of the folder,
            or of its parent if the folder is called "evaluation".

    Raises:
        ValueError: a file is missing or can't be read, a case appears twice, or the scores don't match the pixel
            counts: the files were edited or belong to different evaluations.
    """
    name, place = name_and_place(run)
    folder = Path(place)
    if not folder.is_dir():
        raise ValueError(f"no folder {place!r}; a run is the folder of an evaluation, with per_case.csv in it")
    if not (folder / "per_case.csv").is_file():
        inner = folder / "evaluation" / "per_case.csv"
        hint = f"did you mean {inner.parent}?" if inner.is_file() else "a run is the folder of an evaluation"
        raise ValueError(f"no per_case.csv in {folder}; {hint}")
    cases = _read_cases(folder / "per_case.csv")
    record = read_record(folder / "summary.json")
    summary = summarize(cases)
    for difference in _differences(summary, record):
        raise ValueError(f"{folder}/summary.json does not match per_case.csv ({difference}); evaluate again")
    whole = folder.resolve()
    curves = {  # a curve without its number in the record is of an earlier evaluation into the same folder
        curve: read_csv(folder / f"{curve}.csv")
        for curve, (key, number) in CURVES.items()
        if is_defined((record.get(key) or {}).get(number)) and (folder / f"{curve}.csv").is_file()
    }
    name = name or (whole.parent.name if whole.name == "evaluation" else whole.name)
    return Evaluation(name, folder, cases, record, summary, **curves)


def nested(record: Any, keys: Sequence[str]) -> Any:
    """Return a value of nested dictionaries by its path of keys; None if missing."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def name_and_place(run: str | os.PathLike[str]) -> tuple[str, str]:
    """Split `NAME=FOLDER`.

    Args:
        run: as given. An existing path that contains "=" is taken as a path without a name.

    Returns:
        The name, empty where none is given, and the folder.

    Raises:
        ValueError: the name or the folder is empty.
    """
    text = os.fspath(run)
    if "=" not in text or Path(text).exists():
        return "", text
    name, _, place = text.partition("=")
    if not name.strip() or not place:
        raise ValueError(f"a run is FOLDER or NAME=FOLDER, got {text!r}")
    return name.strip(), place


def read_record(path: Path) -> dict[str, Any]:
    """Read `summary.json`.

    Raises:
        ValueError: it is missing, or not the record of an evaluation.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no {path.name} in {path.parent}, the record of the evaluation") from None
    except ValueError as error:
        raise ValueError(f"{path} can't be read: {error}") from None
    if not isinstance(record, dict) or "synthetic_data" not in record:
        raise ValueError(f"{path} is not the record of an evaluation: it has no synthetic_data, true or false")
    return record


def read_csv(path: Path, texts: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table that this package wrote; its numbers come back unchanged.

    Args:
        path: of the file.
        texts: columns that hold text, whatever it looks like.

    Raises:
        ValueError: it is not such a table.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except ValueError as error:
        raise ValueError(f"{path} can't be read: {error}") from None
    return table.apply(lambda cells: cells if cells.name in texts else _typed(cells))


def write_evaluation(folder: Path, cases: pd.DataFrame, summary: Mapping[str, Any]) -> str:
    """Write `per_case.csv`, `summary.json` and `summary.md`.

    Args:
        folder: of the evaluation.
        cases: a row per case.
        summary: with `synthetic_data`, `part`, `split` and what `summarize` gives.

    Returns:
        The text of `summary.md`: warnings, if any, the split and the scores.
    """
    warnings = []
    if summary["synthetic_data"]:
        warnings.append("SYNTHETIC DATA (computed phantoms): these numbers say nothing about patients")
    if summary["part"] != "test":
        part = summary["part"].upper()
        warnings.append(f"{part} IMAGES: these numbers say nothing about unseen images")
    text = "\n\n".join([*warnings, summary["split"], summary_table(summary)]) + "\n"
    write_table(folder / "per_case.csv", cases)
    write_json(folder / "summary.json", summary)
    write_text(folder / "summary.md", text)
    return text


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV by rename, so that `read_csv` gives the same numbers."""
    write_csv(path, table.to_dict("records"), list(table))


def write_text(path: Path, text: str) -> None:
    """Write a text by rename."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _typed(cells: pd.Series) -> pd.Series:
    """Return whole numbers, numbers or texts; pandas' own parser of numbers is not exact in all versions."""
    for kind in (int, float):
        try:
            return cells.astype(kind)
        except ValueError:
            continue
    return cells


def _read_cases(path: Path) -> pd.DataFrame:
    cases = read_csv(path, _TEXTS)
    missing = [name for name in _REQUIRED if name not in cases]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(cases)}")
    if cases.empty:
        raise ValueError(f"{path} holds no case")
    twice = cases["case_id"][cases["case_id"].duplicated()]
    if len(twice):
        raise ValueError(f"{path} holds {plural(len(twice), 'case')} twice, the first: {twice.iloc[0]}")
    if "f1" not in cases:  # one number under two names; older files have the first
        cases["f1"] = cases["dice"]
    for name, scores in overlap_scores(cases).items():
        wrong = ~np.isclose(cases[name], scores, rtol=0, atol=_ROUNDING, equal_nan=True)
        if wrong.any():
            row = int(wrong.argmax())
            case, value = cases["case_id"][row], cases[name][row]
            raise ValueError(f"{path}: {name} of {case} is {value}, but its pixel counts give {scores[row]:.6f}")
    return cases


def _differences(computed: Mapping[str, Any], recorded: Mapping[str, Any], path: str = "") -> list[str]:
    """Name the numbers that both summaries have and that differ; undefined (NaN, null) equals undefined."""
    found = []
    for key in computed.keys() & recorded.keys():
        here, there, place = computed[key], recorded[key], f"{path}{key}"
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            found += _differences(here, there, f"{place}.")
        elif isinstance(here, int | float | None) and isinstance(there, int | float | None):
            same = math.isclose(here or 0, there or 0, rel_tol=_SAME, abs_tol=_SAME)
            if is_defined(here) != is_defined(there) or (is_defined(here) and not same):
                found.append(f"{place}: {there} instead of {here}")
    return sorted(found)


def picture_path(folder: str | os.PathLike[str], kind: str, case_id: str) -> Path:
    """Return where the picture of a case lies.

    Args:
        folder: of the evaluation.
        kind: one of `PICTURES`.
        case_id: `folder/name.png`; subfolders are kept.

    Returns:
        `FOLDER/KIND/folder/name.png`; of the frame `folder/loop.dcm#3` it is `FOLDER/KIND/folder/loop#3.png`.

    Raises:
        ValueError: `kind` is none of `PICTURES`.
    """
    if kind not in PICTURES:
        raise ValueError(f"kind of picture must be one of {', '.join(PICTURES)}, got {kind!r}")
    return Path(folder) / kind / f"{strip_suffix(case_id)}.png"


def write_pictures(
    folder: str | os.PathLike[str],
    case_id: str,
    image: torch.Tensor,
    prediction: torch.Tensor,
    truth: torch.Tensor,
    probability: torch.Tensor | None = None,
) -> None:
    """Write the pictures of a case: image, truth, mask, probability map and overlay, each at the size of the arrays.

    Masks hold 0 and 255, probabilities 0 to 255 for 0 to 1; the grey values of the image are stretched to 0 to 255. A
    heat map of an earlier evaluation is removed.

    Args:
        folder: of the evaluation.
        case_id: `folder/name.png`.
        image: grey values of any range, (H, W).
        prediction: mask, (H, W).
        truth: mask, (H, W).
        probability: of lesion, from 0 to 1, (H, W), or None for none.
    """
    picture_path(folder, "gradcam", case_id).unlink(missing_ok=True)
    grey = np.asarray(image, dtype=np.float32)
    pictures = {
        "images": _eight_bit(stretched(grey) / 255),
        "truths": _eight_bit(np.asarray(truth) > 0.5),
        "masks": _eight_bit(np.asarray(prediction) > 0.5),
        "overlays": Overlay()(image, prediction, truth),
    }
    if probability is not None:
        pictures["probabilities"] = _eight_bit(np.asarray(probability, dtype=np.float32))
    for kind, picture in pictures.items():
        write_picture(folder, kind, case_id, picture)


def write_picture(folder: str | os.PathLike[str], kind: str, case_id: str, picture: np.ndarray) -> None:
    """Write one picture of a case by rename.

    Args:
        folder: of the evaluation.
        kind: one of `PICTURES`.
        case_id: `folder/name.png`.
        picture: uint8, (H, W) or (H, W, 3).
    """
    with atomic_path(picture_path(folder, kind, case_id)) as temporary:
        Image.fromarray(picture).save(temporary)


def _eight_bit(fraction: np.ndarray) -> np.ndarray:
    return (fraction * 255.0).round().astype(np.uint8)
