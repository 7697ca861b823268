"""The tables of `hybrid-attention reliability`, for machines and for readers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from hybrid_attention.evaluation.record import is_defined
from hybrid_attention.evaluation.risk_coverage import RiskCoverage, risk_coverage
from hybrid_attention.evaluation.statistics import bootstrap_ratio
from hybrid_attention.evaluation.text import markdown_grid, number, percent, percent_interval
from hybrid_attention.evaluation.uncertainty import CONFIDENCES
from hybrid_attention.evaluation.variants import VariantScores

Row = dict[str, Any]


def variant_rows(scores: Mapping[str, VariantScores], plain: str, groups: Sequence[Hashable]) -> list[Row]:
    """Lay the variants out, one a row.

    Args:
        scores: by name.
        plain: name of the one that the others are compared with.
        groups: of the test cases.

    Returns:
        Dice as means over the lesion images; `_low` and `_high` of 95 % intervals by bootstrap over groups;
        `difference` to the plain variant at threshold 0.5, `threshold_gain` over the same variant at 0.5.
    """
    rows = []
    for name, one in scores.items():
        rows.append(
            {
                "variant": name,
                "passes": len(one.variant.runs) * len(one.variant.flips),
                "seconds_per_image": round(one.seconds, 4),
                "validation_dice": one.validation_dice,
                **_interval("test_dice", one.test_dice, groups),
                **_interval("difference", one.test_dice - scores[plain].test_dice, groups),
                "threshold": one.choice.threshold,
                "validation_dice_at_threshold": one.choice.dice,
                **_interval("test_dice_at_threshold", one.chosen_dice, groups),
                **_interval("threshold_gain", one.chosen_dice - one.test_dice, groups),
                "temperature": one.temperature,
                "no_temperature": one.no_temperature or "",
                "ece": one.before.expected_error(),
                "ece_scaled": one.after.expected_error(),
                "marked_without_lesion": one.marked_without_lesion[0] if one.marked_without_lesion else math.nan,
                "marked_without_lesion_at_threshold": (
                    one.marked_without_lesion[1] if one.marked_without_lesion else math.nan
                ),
            }
        )
    return rows


def _interval(name: str, values: np.ndarray, groups: Sequence[Hashable]) -> Row:
    lesions = np.flatnonzero(~np.isnan(values)).tolist()
    mean, low, high = bootstrap_ratio(values[lesions].tolist(), [1.0] * len(lesions), [groups[one] for one in lesions])
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def case_rows(scores: Mapping[str, VariantScores], cases: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Lay Dice and confidence of each test case out, variant by variant; NaN where there is none.

    Args:
        scores: by name.
        cases: the test cases.
    """
    return [
        {
            "variant": name,
            **{key: case[key] for key in ("case_id", "class", "group")},
            "dice": float(one.chosen_dice[index]),
            "marked_pixels": int(one.mask[index].sum()),
            **{column: one.confidence[index].get(column, math.nan) for column in CONFIDENCES},
        }
        for name, one in scores.items()
        for index, case in enumerate(cases)
    ]


def risk_curves(scores: VariantScores) -> dict[str, RiskCoverage]:
    """Return the risk–coverage curve of each confidence of a variant, over the test images with a lesion.

    Args:
        scores: of the variant.
    """
    lesions = scores.lesion_cases
    risks = (1 - scores.chosen_dice[lesions]).tolist()
    return {
        name: risk_coverage([scores.confidence[case][name] for case in lesions], risks) for name in scores.confidence[0]
    }


def perfect_curve(scores: VariantScores) -> RiskCoverage:
    """Return the curve of the order by the Dice itself.

    Args:
        scores: of a variant.
    """
    dice = scores.chosen_dice[scores.lesion_cases]
    return risk_coverage(dice.tolist(), (1 - dice).tolist())


def risk_rows(scores: VariantScores) -> list[Row]:
    """Lay the risk–coverage curves of a variant out, with those of the perfect and of a random order.

    Args:
        scores: of the variant.
    """
    perfect = perfect_curve(scores)
    count = len(perfect.risk)
    curves = {name: curve.risk for name, curve in risk_curves(scores).items()}
    curves |= {"perfect": perfect.risk, "random": [perfect.random] * count}
    return [
        {"variant": scores.variant.name, "order": name, "kept": kept, "coverage": kept / count, "risk": risk}
        for name, curve in curves.items()
        for kept, risk in enumerate(curve, start=1)
    ]


def reliability_text(summary: Mapping[str, Any]) -> str:
    """Write `summary.md`.

    Args:
        summary: what `summary.json` holds.
    """
    cases, decision, split = summary["cases"], summary["decision"], summary["split"]
    parts = []
    if summary["synthetic_data"]:
        parts.append("SYNTHETIC DATA (computed phantoms): these numbers say nothing on patients")
    seen = ", ".join(f"{one['images']} {part} images ({one['with_lesion']} with lesion)" for part, one in cases.items())
    parts.append(
        f"Test fold {split['fold']} of {split['num_folds']}: {seen}. Temperature and threshold are chosen on the "
        "validation images, which chose the epoch of each run, too. Dice in percent: mean over the lesion images, 95 % "
        "interval by bootstrap over duplicate groups. "
        f"Seconds on {summary['provenance']['processor']}, reading included."
    )
    parts.append(_variants(summary))
    if is_defined(summary["variants"][0]["marked_without_lesion"]):
        parts.append(_false_marks(summary["variants"]))
    parts += [
        f"{row['variant']}: no temperature ({row['no_temperature']})"
        for row in summary["variants"]
        if row["no_temperature"]
    ]
    whose = "" if len(summary["runs"]) > 1 else f" of {decision['run']}"
    parts.append(
        f"Best on validation at its own threshold: {summary['best']}. For inference (`decision.json`): "
        f"{decision['variant']}{whose}, threshold {decision['threshold']}, temperature "
        f"{decision['temperature']}, flips {decision['flips']}."
    )
    parts += [_confidence(name, scores) for name, scores in summary["confidence"].items()]
    parts.append(
        "Pictures in `uncertainty/`: outline of the mask yellow, of the truth green; entropy of each pixel, and "
        f"disagreement of the passes if there are several, from 0 to 1 bit ({summary['best']})."
    )
    return "\n\n".join(parts) + "\n"


def _variants(summary: Mapping[str, Any]) -> str:
    header = ["variant", "s/image", "Dice, validation", "Dice, test", f"minus {summary['plain']}", "threshold"]
    header += ["Dice, test, at it", "what it brings", "temperature", "ECE", "ECE, scaled"]
    rows = []
    for row in summary["variants"]:
        rows.append(
            [
                row["variant"],
                number(row["seconds_per_image"], 3),
                percent(row["validation_dice"]),
                _cell(row, "test_dice"),
                "" if row["variant"] == summary["plain"] else _cell(row, "difference", True),
                number(row["threshold"], 2),
                _cell(row, "test_dice_at_threshold"),
                _cell(row, "threshold_gain", True),
                number(row["temperature"], 2),
                number(row["ece"], 4),
                number(row["ece_scaled"], 4),
            ]
        )
    return markdown_grid(header, rows)


def _cell(row: Mapping[str, Any], name: str, signed: bool = False) -> str:
    return percent_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], signed)


def _false_marks(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        [row["variant"], percent(row["marked_without_lesion"]), percent(row["marked_without_lesion_at_threshold"])]
        for row in rows
    ]
    return "Images without lesion in which something is marked (%):\n\n" + markdown_grid(
        ["variant", "at 0.5", "at the chosen threshold"], cells
    )


def _confidence(variant: str, scores: Mapping[str, Any]) -> str:
    first = next(iter(scores.values()))
    rows = [
        [
            name,
            CONFIDENCES[name],
            *(_area(score, key) for key in ("aurc", "e_aurc", "gain")),
            number(score["rank_correlation"], 2),
        ]
        for name, score in scores.items()
    ]
    header = ["score", "what it is", "AURC", "E-AURC", "gain over a random order", "rank correlation with Dice"]
    expected = scores["expected_dice"]["mean_confidence"]
    return (
        f"Which failures {variant} knows: mean of one minus Dice over all shares of kept test images, in percent "
        f"(random order {percent(first['random'])}, perfect order {percent(first['perfect'])}). The expected Dice is "
        f"{percent(expected)} in the mean, the true one {percent(1 - first['random'])}.\n\n"
        + markdown_grid(header, rows)
    )


def _area(score: Mapping[str, Any], key: str) -> str:
    return percent_interval(score[key]["value"], score[key]["low"], score[key]["high"])
