"""How a trained network bears degraded images: every case again under each kind and strength, and what it costs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hybrid_attention.data.files import atomic_path, prepare_output_folder, write_csv, write_json
from hybrid_attention.data.hashing import data_digest
from hybrid_attention.engines.provenance import provenance
from hybrid_attention.engines.trained_run import Prediction, TrainedRun
from hybrid_attention.engines.weight_files import weights_digest
from hybrid_attention.evaluation.metrics import confusion_counts, overlap_scores
from hybrid_attention.evaluation.statistics import bootstrap_ratio
from hybrid_attention.evaluation.summary import has_lesion
from hybrid_attention.evaluation.text import UNDEFINED, markdown_grid, percent_interval, plural, score_interval
from hybrid_attention.transforms.corruptions import CORRUPTIONS, STRENGTHS, Corruptd

CLEAN = "clean"
FALSE_POSITIVES = "false_positive_rate_without_lesion"

Rows = Sequence[Mapping[str, Any]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StressTest:
    """What a network made of degraded images.

    Args:
        rows: one a kind, strength and case: `kind`, `strength`, `case_id`, `class`, `group`, the scores of
            `overlap_scores` and the pixel counts. Strength 0 of kind `clean` is the image as it is.
        summary: see `stress_summary`; with the record of where the numbers come from.
    """

    rows: list[dict[str, Any]]
    summary: dict[str, Any]

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write `stress.csv`, `summary.json` and `summary.md`.

        Args:
            folder: made if it is missing.
        """
        folder = prepare_output_folder(folder)
        write_csv(folder / "stress.csv", self.rows, list(self.rows[0]))
        write_json(folder / "summary.json", self.summary)
        with atomic_path(folder / "summary.md") as temporary:
            temporary.write_text(stress_table(self.summary), encoding="utf-8")


def stress_test(run: TrainedRun, part: str = "test", kinds: Sequence[str] | None = None, seed: int = 0) -> StressTest:
    """Predict and score the cases of a part of the split as they are and under each kind and strength of degradation.

    The image file is degraded, before it is scaled and resized for the network. Degradations are the same for all
    networks: they follow from seed and case.

    Args:
        run: the trained network.
        part: `train`, `validation` or `test`.
        kinds: of `CORRUPTIONS`; None for all.
        seed: of the corruptions.

    Returns:
        Rows and summary.

    Raises:
        ValueError: a kind does not exist or is named twice, or the part has no case.
    """
    kinds = checked_kinds(kinds)
    disturbances = [
        (kind, strength, Corruptd("image", kind, strength, seed)) for kind in kinds for strength in STRENGTHS
    ]
    cases = run.cases(part)
    if not cases:
        raise ValueError(f"the {part} part of the split of {run.weights} has no case")
    rows: list[dict[str, Any]] = []
    for number, (kind, strength, disturbance) in enumerate([(CLEAN, 0, None), *disturbances]):
        scored = [_row(kind, strength, prediction) for prediction in run.predict(cases, disturbance=disturbance)]
        rows += scored
        dice = score_interval(_mean(scored, "dice"))
        logger.info("%d of %d: %s %d, Dice %s %%", number + 1, len(disturbances) + 1, kind, strength, dice)
    summary = {
        "synthetic_data": any(case.get("synthetic", False) for case in cases),
        "part": part,
        "seed": seed,
        **stress_summary(rows),
        "data_sha256": data_digest(cases),
        "weights_sha256": weights_digest(run.weights),
        "training": run.training,
        "provenance": provenance(),
    }
    return StressTest(rows, summary)


def checked_kinds(kinds: Sequence[str] | None) -> list[str]:
    """Return the kinds that are asked for, all for None.

    Raises:
        ValueError: a kind does not exist or is named twice, or there is none.
    """
    names = list(CORRUPTIONS) if kinds is None else list(kinds)
    if not names or len(set(names)) < len(names) or not set(names) <= set(CORRUPTIONS):
        raise ValueError(f"kinds must be some of {', '.join(CORRUPTIONS)}, each once, got {', '.join(names) or 'none'}")
    return names


def stress_summary(rows: Rows) -> dict[str, Any]:
    """Summarize the rows of a stress test by kind and strength.

    Args:
        rows: see `StressTest`.

    Returns:
        `cases`, `lesion_cases`, `clean` and `kinds`: by kind `unit` and `strengths`, a list. `clean` and each of the
        strengths hold `dice`, its mean over lesion images, and `false_positive_rate_without_lesion`, the share of
        images without lesion in which something is marked, None where there are none. The strengths hold `strength`,
        `level` (the numbers in `unit`) and `dice_difference` too: what the degradation changes, image by image. Each
        has `mean`, `low` and `high` of the 95 % bootstrap interval over groups.

    Raises:
        ValueError: images as they are are missing, or a kind and strength is of other cases than they.
    """
    blocks: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        blocks.setdefault((row["kind"], row["strength"]), []).append(row)
    clean = blocks.pop((CLEAN, 0), None)
    if clean is None:
        raise ValueError(f"no row of kind {CLEAN!r} and strength 0, which the others are compared with")
    kinds: dict[str, Any] = {}
    for (kind, strength), block in blocks.items():
        if [row["case_id"] for row in block] != [row["case_id"] for row in clean]:
            raise ValueError(f"the cases of {kind} {strength} are others than those of the images as they are")
        entry = kinds.setdefault(kind, {"unit": CORRUPTIONS[kind].unit, "strengths": []})
        pairs = [{**row, "difference": row["dice"] - before["dice"]} for row, before in zip(block, clean, strict=True)]
        scores = {**_scores(block), "dice_difference": _mean(pairs, "difference")}
        level = list(CORRUPTIONS[kind].levels[strength - 1])
        entry["strengths"].append({"strength": strength, "level": level, **scores})
    return {"cases": len(clean), "lesion_cases": sum(map(has_lesion, clean)), "clean": _scores(clean), "kinds": kinds}


def stress_table(summary: Mapping[str, Any]) -> str:
    """Lay the summary of a stress test out as a Markdown table.

    Args:
        summary: of `stress_summary`, with `part` and `synthetic_data`.

    Returns:
        Title, notes, and a line a kind and strength.
    """
    normal = summary["cases"] - summary["lesion_cases"]
    header = ["kind", "strength", "level", "Dice (%)", "change of Dice (points)"]
    blocks = [(CLEAN, {**summary["clean"], "strength": 0, "level": []})]
    blocks += [(kind, entry) for kind, of_kind in summary["kinds"].items() for entry in of_kind["strengths"]]
    lines = []
    for kind, entry in blocks:
        level = ", ".join(f"{number:.3g}" for number in entry["level"])
        line = [kind, str(entry["strength"]), level, score_interval(entry["dice"])]
        line.append(_signed(entry["dice_difference"]) if "dice_difference" in entry else "")
        lines.append([*line, score_interval(entry[FALSE_POSITIVES])] if normal else line)
    notes = [
        f"{plural(summary['cases'], 'image')} of the {summary['part']} part, {summary['lesion_cases']} with lesion. "
        "Dice is the mean over images with lesion; the change is against the same images as they are. Intervals: 95 %, "
        "bootstrap over duplicate groups.",
        *(f"Level of {kind}: {entry['unit']}." for kind, entry in summary["kinds"].items()),
    ]
    if summary["part"] != "test":
        part = summary["part"].upper()
        notes.insert(0, f"{part} IMAGES: these numbers say nothing on images that the network never saw.")
    if summary["synthetic_data"]:
        notes.insert(0, "SYNTHETIC DATA (computed phantoms): these numbers say nothing on patients.")
    header += ["something marked in images without lesion (%)"] if normal else []
    text = "\n".join(f"* {note}" for note in notes)
    return f"# Degraded images\n\n{text}\n\n{markdown_grid(header, lines)}\n"


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


def _scores(rows: Rows) -> dict[str, dict[str, float] | None]:
    marked = [{**row, "marked": float(row["fp"] > 0)} for row in rows if not has_lesion(row)]
    return {"dice": _mean(rows, "dice"), FALSE_POSITIVES: _interval(marked, "marked") if marked else None}


def _mean(rows: Rows, name: str) -> dict[str, float] | None:
    """Return the mean of a score over images with lesion, None where there are none."""
    lesions = [row for row in rows if has_lesion(row)]
    return _interval(lesions, name) if lesions else None


def _interval(rows: Rows, name: str) -> dict[str, float]:
    groups = [row["group"] for row in rows]
    mean, low, high = bootstrap_ratio([row[name] for row in rows], [1.0] * len(rows), groups)
    return {"mean": mean, "low": low, "high": high}


def _signed(score: Mapping[str, float] | None) -> str:
    return UNDEFINED if score is None else percent_interval(score["mean"], score["low"], score["high"], signed=True)
