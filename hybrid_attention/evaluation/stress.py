"""Robustness of a trained network: scores under each kind and strength of degradation."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from hybrid_attention.data.hashing import data_digest
from hybrid_attention.data.writing import prepare_output_folder, write_json
from hybrid_attention.engines.trained_model import Prediction, TrainedModel
from hybrid_attention.engines.training_record import provenance
from hybrid_attention.engines.weights import weights_digest
from hybrid_attention.evaluation.formatting import markdown_rows, plural, score_interval
from hybrid_attention.evaluation.metrics.segmentation import confusion_counts, has_lesion, overlap_scores
from hybrid_attention.evaluation.results import warnings_of, write_table, write_text
from hybrid_attention.evaluation.statistics import bootstrap_mean
from hybrid_attention.transforms.corruptions import CORRUPTIONS, STRENGTHS, Corruptd

CLEAN = "clean"
FALSE_POSITIVES = "false_positive_rate_without_lesion"

logger = logging.getLogger(__name__)


def stress_test(
    run: TrainedModel,
    folder: str | os.PathLike[str],
    part: str = "test",
    kinds: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Evaluate a network without and with each kind and strength of degradation.

    Images are degraded before they are scaled and resized for the network. Degradations depend only on seed and case,
    so they are the same for all networks. Writes `stress.csv`, `summary.json` and `summary.md` to the folder.

    Args:
        run: the trained network.
        folder: output folder.
        part: part of its split: `train`, `validation` or `test`.
        kinds: keys of `CORRUPTIONS`; None for all.
        seed: of the degradations.

    Returns:
        The table of cases, one row per kind, strength and case: `kind`, `strength`, `case_id`, `class`, `group`, the
        scores of `overlap_scores` and the pixel counts; kind `clean` with strength 0 is the undegraded image. And the
        result of `stress_summary`, with provenance.
    """
    cases = run.cases(part)
    if not cases:
        raise ValueError(f"the {part} part of the split of {run.weights} has no case")
    runs: list[tuple[str, int, Corruptd | None]] = [(CLEAN, 0, None)]
    runs += [(kind, one, Corruptd("image", kind, one, seed)) for kind in checked_kinds(kinds) for one in STRENGTHS]
    blocks: list[pd.DataFrame] = []
    for kind, strength, disturbance in runs:
        predictions = run.predict(cases, disturbance=disturbance)
        blocks.append(pd.DataFrame([_row(kind, strength, prediction) for prediction in predictions]))
        dice = score_interval(_scores(blocks[-1])["dice"])
        logger.info("%d of %d: %s %d, Dice %s %%", len(blocks), len(runs), kind, strength, dice)
    scored = pd.concat(blocks, ignore_index=True)
    summary = {
        "synthetic_data": any(case.get("synthetic", False) for case in cases),
        "part": part,
        "seed": seed,
        **stress_summary(scored),
        "data_sha256": data_digest(cases),
        "weights_sha256": weights_digest(run.weights),
        "training": run.training,
        "provenance": provenance(),
    }
    folder = prepare_output_folder(folder)
    write_table(folder / "stress.csv", scored)
    write_json(folder / "summary.json", summary)
    write_text(folder / "summary.md", stress_table(summary))
    return scored, summary


def checked_kinds(kinds: Sequence[str] | None) -> list[str]:
    """Return the requested kinds of degradation; None for all."""
    names = list(CORRUPTIONS) if kinds is None else list(kinds)
    if not names or len(set(names)) < len(names) or not set(names) <= set(CORRUPTIONS):
        raise ValueError(f"kinds must be some of {', '.join(CORRUPTIONS)}, each once, got {', '.join(names) or 'none'}")
    return names


def stress_summary(cases: pd.DataFrame) -> dict[str, Any]:
    """Summarize the table of cases of a `stress_test` by kind and strength.

    Returns:
        `cases`, `lesion_cases`, `clean` and `kinds`: for each kind its `unit` and a list of `strengths`. `clean` and
        each strength hold `dice`, the mean over lesion images, and `false_positive_rate_without_lesion`, the share of
        normal images in which something is predicted (None if there are no such images). The strengths also hold
        `strength`, `level` (in `unit`) and `dice_difference`, the paired difference to the undegraded images. Each
        score has `mean`, `low` and `high` (95 % bootstrap interval over groups).
    """
    blocks = dict(list(cases.groupby(["kind", "strength"], sort=False)))
    clean = blocks.pop((CLEAN, 0))
    kinds: dict[str, Any] = {}
    for (kind, strength), block in blocks.items():
        entry = kinds.setdefault(kind, {"unit": CORRUPTIONS[kind].unit, "strengths": []})
        difference = block["dice"] - clean["dice"].to_numpy()
        scores = {**_scores(block), "dice_difference": _interval(difference, block["group"], has_lesion(block))}
        level = list(CORRUPTIONS[kind].levels[strength - 1])
        entry["strengths"].append({"strength": int(strength), "level": level, **scores})
    lesions = int(has_lesion(clean).sum())
    return {"cases": len(clean), "lesion_cases": lesions, "clean": _scores(clean), "kinds": kinds}


def stress_table(summary: Mapping[str, Any]) -> str:
    """Format the summary of a stress test, with `part` and `synthetic_data`, as a Markdown table."""
    normal = summary["cases"] > summary["lesion_cases"]
    clean: dict[str, Any] = {**summary["clean"], "strength": 0, "level": []}
    entries = [(CLEAN, clean), *((kind, one) for kind, of in summary["kinds"].items() for one in of["strengths"])]
    rows = [
        {
            "kind": kind,
            "strength": str(one["strength"]),
            "level": ", ".join(f"{number:.3g}" for number in one["level"]),
            "Dice (%)": score_interval(one["dice"]),
            "Dice difference (points)": "" if kind == CLEAN else score_interval(one["dice_difference"], signed=True),
            **({"false-positive rate on normal images (%)": score_interval(one[FALSE_POSITIVES])} if normal else {}),
        }
        for kind, one in entries
    ]
    notes = [
        *(f"{warning}." for warning in warnings_of(summary)),
        f"{plural(summary['cases'], 'image')} of the {summary['part']} part, {summary['lesion_cases']} with lesion. "
        "Dice: mean over images with lesion; difference: to the same images without degradation. 95 % intervals by "
        "bootstrap over duplicate groups.",
        *(f"Level of {kind}: {entry['unit']}." for kind, entry in summary["kinds"].items()),
    ]
    return "\n\n".join(["# Degraded images", "\n".join(f"* {note}" for note in notes), markdown_rows(rows)]) + "\n"


def _row(kind: str, strength: int, prediction: Prediction) -> dict[str, Any]:
    case = prediction.case
    counts = confusion_counts((prediction.probability >= 0.5).float(), prediction.target)
    return {
        "kind": kind,
        "strength": strength,
        **{name: case[name] for name in ("case_id", "class", "group")},
        **{name: round(value, 6) for name, value in overlap_scores(counts).items()},
        **counts,
    }


def _scores(cases: pd.DataFrame) -> dict[str, dict[str, float] | None]:
    lesion = has_lesion(cases)
    return {
        "dice": _interval(cases["dice"], cases["group"], lesion),
        FALSE_POSITIVES: _interval((cases["fp"] > 0).astype(float), cases["group"], ~lesion),
    }


def _interval(values: pd.Series, groups: pd.Series, kept: pd.Series) -> dict[str, float] | None:
    """Return the mean over the kept cases; None if there are none."""
    if not kept.any():
        return None
    return dict(zip(("mean", "low", "high"), bootstrap_mean(values[kept], groups[kept]), strict=True))
