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
from hybrid_attention.data.grey import stretched
from hybrid_attention.data.names import strip_suffix
from hybrid_attention.data.writing import atomic_path, write_csv, write_json
from hybrid_attention.evaluation.formatting import is_defined
from hybrid_attention.evaluation.metrics.classification import predicted_classes
from hybrid_attention.evaluation.metrics.segmentation import COUNTS, SCORES
from hybrid_attention.evaluation.summary import summarize, summary_table
from hybrid_attention.prediction.overlay import draw_overlay
from PIL import Image

# next to the heat maps: cases without one because nothing is predicted in them
LEFT_OUT = "left_out.json"
# files of curves, and the numbers in the record that say that the evaluation wrote them
CURVES = {"roc": ("pixel_roc", "auc"), "calibration": ("calibration", "ece")}
_TEXTS = ("case_id", "dataset", "class", "group", "predicted_class")
_REQUIRED = ("case_id", "class", "group", *(name for name in SCORES if name != "f1"), *COUNTS)


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one trained network."""

    name: str  # in tables and figures
    folder: Path
    cases: pd.DataFrame  # content of `per_case.csv`, one row per case
    record: dict[str, Any]  # content of `summary.json`
    summary: dict[str, Any]  # computed from `cases`
    roc: pd.DataFrame | None = None  # points of the curve of all pixels
    calibration: pd.DataFrame | None = None  # bins of the reliability curve

    @property
    def classes(self) -> list[str]:
        """Classes that the network predicts; empty for a network without class head."""
        return predicted_classes(self.cases)

    @property
    def part(self) -> str:
        """Part of the split; older records without one are of the test part."""
        return self.recorded("part") or "test"

    def recorded(self, *keys: str) -> Any:
        """Return a value of the record by its path of keys; None if missing."""
        return nested(self.record, keys)

    def select(self, case_ids: Sequence[str]) -> Evaluation:
        """Return the evaluation restricted to some cases, in this order.

        If some are left out, the summary is computed again, and the curves, which cover all cases, are dropped.
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
        ValueError: a file is missing, the table lacks columns, or `summary.json` does not match it: the files were
            edited or belong to different evaluations.
    """
    name, place = name_and_place(run)
    folder = Path(place)
    if not folder.is_dir():
        raise ValueError(f"no folder {place!r}; a run is the folder of an evaluation, with per_case.csv in it")
    if not (folder / "per_case.csv").is_file():
        inner = folder / "evaluation" / "per_case.csv"
        hint = f"did you mean {inner.parent}?" if inner.is_file() else "a run is the folder of an evaluation"
        raise ValueError(f"no per_case.csv in {folder}; {hint}")
    cases = read_csv(folder / "per_case.csv", _TEXTS)
    missing = [name for name in _REQUIRED if name not in cases]
    if missing:
        raise ValueError(f"{folder}/per_case.csv has no columns {', '.join(missing)}; it has {', '.join(cases)}")
    if "f1" not in cases:  # in older files
        cases["f1"] = cases["dice"]
    record, summary = read_record(folder / "summary.json"), summarize(cases)
    for difference in _differences(summary, record):
        raise ValueError(f"{folder}/summary.json does not match per_case.csv ({difference}); evaluate again")
    curves = {  # a curve without its number in the record is of an earlier evaluation into the same folder
        curve: read_csv(folder / f"{curve}.csv")
        for curve, path in CURVES.items()
        if is_defined(nested(record, path)) and (folder / f"{curve}.csv").is_file()
    }
    whole = folder.resolve()
    name = name or (whole.parent.name if whole.name == "evaluation" else whole.name)
    return Evaluation(name, folder, cases, record, summary, **curves)


def nested(record: Any, keys: Sequence[str]) -> Any:
    """Return a value of nested dictionaries by its path of keys; None if missing."""
    for key in keys:
        record = record.get(key) if isinstance(record, dict) else None
    return record


def name_and_place(run: str | os.PathLike[str]) -> tuple[str, str]:
    """Split `NAME=FOLDER`; the name is empty for a folder alone, also for an existing one with "=" in its name."""
    text = os.fspath(run)
    if "=" not in text or Path(text).exists():
        return "", text
    name, _, place = text.partition("=")
    if not name.strip() or not place:
        raise ValueError(f"a run is FOLDER or NAME=FOLDER, got {text!r}")
    return name.strip(), place


def read_record(path: Path) -> dict[str, Any]:
    """Read a `summary.json`."""
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def read_csv(path: Path, texts: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table written by `write_table`, with the columns that hold `texts`, even if they look like numbers."""
    kinds = dict.fromkeys(texts, str)
    return pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values="nan")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, by rename."""
    write_csv(path, table.to_dict("records"), list(table))


def write_text(path: Path, text: str) -> None:
    """Write a text, by rename."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_evaluation(folder: Path, cases: pd.DataFrame, summary: Mapping[str, Any]) -> str:
    """Write `per_case.csv`, `summary.json` and `summary.md`, and return the text of the last.

    The summary is that of `summarize`, with `synthetic_data`, `part` and `split`.
    """
    text = "\n\n".join([*warnings_of(summary), summary["split"], summary_table(summary)]) + "\n"
    write_table(folder / "per_case.csv", cases)
    write_json(folder / "summary.json", summary)
    write_text(folder / "summary.md", text)
    return text


def warnings_of(summary: Mapping[str, Any]) -> list[str]:
    """Return warnings if the numbers of a summary, by its `synthetic_data` and `part`, do not measure quality."""
    warnings = []
    if summary["synthetic_data"]:
        warnings.append("SYNTHETIC DATA (computed phantoms): these numbers say nothing about patients")
    if (summary.get("part") or "test") != "test":
        warnings.append(f"{summary['part'].upper()} IMAGES: these numbers say nothing about unseen images")
    return warnings


def _differences(computed: Mapping[str, Any], recorded: Mapping[str, Any], path: str = "") -> list[str]:
    """Name the numbers of both summaries that differ; undefined (NaN, null) equals undefined."""
    found = []
    for key in computed.keys() & recorded.keys():
        here, there, place = computed[key], recorded[key], f"{path}{key}"
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            found += _differences(here, there, f"{place}.")
        elif isinstance(here, int | float | None) and isinstance(there, int | float | None):
            same = math.isclose(here or 0, there or 0, rel_tol=1e-9, abs_tol=1e-9)
            if is_defined(here) != is_defined(there) or (is_defined(here) and not same):
                found.append(f"{place}: {there} instead of {here}")
    return sorted(found)


def picture_path(folder: str | os.PathLike[str], kind: str, case_id: str) -> Path:
    """Return the path of the picture of a case: `FOLDER/KIND/CASE.png`, for frame 3 of a loop `FOLDER/KIND/LOOP#3.png`.

    The kind is `images`, `truths`, `masks`, `probabilities`, `overlays` or `gradcam`.
    """
    return Path(folder) / kind / f"{strip_suffix(case_id)}.png"


def write_picture(folder: str | os.PathLike[str], kind: str, case_id: str, picture: np.ndarray) -> None:
    """Write a picture of a case, uint8 of shape (H, W) or (H, W, 3), by rename; see `picture_path`."""
    with atomic_path(picture_path(folder, kind, case_id)) as temporary:
        Image.fromarray(picture).save(temporary)


def write_pictures(
    folder: str | os.PathLike[str],
    case_id: str,
    image: torch.Tensor,
    prediction: torch.Tensor,
    truth: torch.Tensor,
    probability: torch.Tensor | None = None,
) -> None:
    """Write image, ground truth, mask, probability map and overlay of a case, all of shape (H, W).

    Masks hold 0 and 255, probabilities 0 to 255 for 0 to 1; the grey values of the image are stretched to 0 to 255. A
    heat map of an earlier evaluation is removed.
    """
    picture_path(folder, "gradcam", case_id).unlink(missing_ok=True)
    fractions: dict[str, np.ndarray] = {
        "images": stretched(np.asarray(image, dtype=np.float32)) / 255,
        "truths": np.asarray(truth) > 0.5,
        "masks": np.asarray(prediction) > 0.5,
    }
    if probability is not None:
        fractions["probabilities"] = np.asarray(probability, dtype=np.float32)
    for kind, fraction in fractions.items():
        write_picture(folder, kind, case_id, (fraction * 255.0).round().astype(np.uint8))
    write_picture(folder, "overlays", case_id, draw_overlay(image, prediction, truth))
