"""Choose threshold, temperature and test-time augmentation of trained runs; measure how well they know their errors."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from hybrid_attention.data.hashing import data_digest
from hybrid_attention.data.writing import prepare_output_folder, write_json
from hybrid_attention.engines.trained_run import TrainedRun
from hybrid_attention.engines.training_record import provenance, trained_epochs
from hybrid_attention.engines.weights import weights_digest
from hybrid_attention.evaluation.ensemble import (
    AS_IS,
    EnsemblePredictions,
    VariantScores,
    open_runs,
    predict_ensemble,
    score_variant,
    seconds_per_image,
    shared_cases,
    variants_of,
)
from hybrid_attention.evaluation.formatting import is_defined, markdown_grid, number, percent, percent_interval
from hybrid_attention.evaluation.results import warnings_of, write_table, write_text
from hybrid_attention.evaluation.statistics import bootstrap_mean
from hybrid_attention.evaluation.uncertainty import CONFIDENCES, RiskCoverage, risk_coverage, risk_coverage_scores

SETTINGS = "inference_settings.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """Result of `calibrate`.

    Args:
        scores: by variant.
        plain: reference variant: the single run without augmentation with the best validation Dice.
        best: variant with the best validation Dice at its own threshold.
        test: predictions of the test cases.
        summary: content of `summary.json`.
    """

    scores: dict[str, VariantScores]
    plain: str
    best: str
    test: EnsemblePredictions
    summary: dict[str, Any]

    @property
    def text(self) -> str:
        """Content of `summary.md`."""
        return _text(self.summary)


def calibrate(
    runs: Sequence[str | os.PathLike[str]],
    dataset_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    device: torch.device | str | None = None,
    groups_csv: str | os.PathLike[str] | None = None,
    split_csv: str | os.PathLike[str] | None = None,
) -> Calibration:
    """Choose threshold, temperature and flips on the validation images, score them on the test images, write tables.

    Writes `variants.csv` (Dice, threshold, temperature and calibration of each variant), `cases.csv` (Dice and
    confidence of each test case), `risk_coverage.csv` (curves of the reference and the best variant), `summary.json`,
    `summary.md` and `inference_settings.json` (threshold, temperature and flips of the best single run, a config
    overlay for inference and evaluation with its bundle).

    Args:
        runs: folders of trained runs, weight files, or `NAME=FOLDER`; several are also evaluated as an ensemble.
        dataset_dir: folder of the images, or several.
        folder: output folder.
        device: None for a GPU if there is one.
        groups_csv: duplicate groups of your own data, as in training.
        split_csv: your own split, as in training.

    Raises:
        FileNotFoundError: a run has no weights or no record.
        ValueError: the runs differ in cases or image size, were trained on the cases, or no case has a lesion.
    """
    folder = prepare_output_folder(folder)
    opened = open_runs(runs, dataset_dir, device, groups_csv, split_csv)
    parts = {}
    for part in ("validation", "test"):
        parts[part] = predict_ensemble(opened, shared_cases(opened, part))
        logger.info("%d %s images predicted", len(parts[part].cases), part)
    validation, test = parts["validation"], parts["test"]
    if not test.target.any():
        raise ValueError(f"none of the {len(test.cases)} test images has a lesion: Dice is undefined")
    variants = variants_of(list(opened))
    seconds = {
        (name, flips): seconds_per_image(run, validation.cases, flips)
        for name, run in opened.items()
        for flips in dict.fromkeys(variant.flips for variant in variants)
    }
    scores = {
        one.name: score_variant(one, validation, test, sum(seconds[run, one.flips] for run in one.runs))
        for one in variants
    }
    single = [one for one in scores.values() if len(one.variant.runs) == 1]
    plain = min(
        (one for one in single if one.variant.flips == (AS_IS,)), key=lambda one: (-one.validation_dice, one.seconds)
    ).variant.name
    best, chosen = _best(scores.values()).variant.name, _best(single)
    settings = {
        "threshold": chosen.choice.threshold,
        "temperature": chosen.temperature,
        "flips": [list(flip) for flip in chosen.variant.flips],
    }
    groups: list[Hashable] = [case["group"] for case in test.cases]
    table, shown = _variant_table(scores, plain, groups), dict.fromkeys((plain, best))
    recipe = next(iter(opened.values())).recipe
    summary = {
        "synthetic_data": any(case.get("synthetic", False) for case in test.cases),
        "split": {key: recipe.get(key) for key in ("fold", "num_folds", "split_seed", "lesions_only")},
        "cases": {
            part: {"images": len(one.cases), "with_lesion": int(one.target.flatten(1).any(1).sum())}
            for part, one in parts.items()
        },
        "runs": {name: _run_record(run) for name, run in opened.items()},
        "threads": torch.get_num_threads(),
        "plain": plain,
        "best": best,
        "inference_settings": {"run": chosen.variant.runs[0], "variant": chosen.variant.name, **settings},
        "variants": table.to_dict("records"),
        "confidence": {name: _confidence(scores[name], groups) for name in shown},
        "data_sha256": {part: data_digest(one.cases) for part, one in parts.items()},
        "provenance": provenance(),
    }
    result = Calibration(scores, plain, best, test, summary)
    write_table(folder / "variants.csv", table)
    write_table(folder / "cases.csv", _case_table(scores, test.cases))
    write_table(folder / "risk_coverage.csv", pd.concat([_risk_table(scores[name]) for name in shown]))
    write_json(folder / "summary.json", summary)
    write_json(folder / SETTINGS, settings)
    write_text(folder / "summary.md", result.text)
    return result


def risk_curves(scores: VariantScores) -> dict[str, RiskCoverage]:
    """Return the risk–coverage curves of the test images with a lesion by confidence; `perfect` ranks by the Dice."""
    lesions = scores.lesion_cases
    dice = scores.chosen_dice[lesions]
    confidences = {name: [scores.confidence[case][name] for case in lesions] for name in scores.confidence[0]}
    confidences["perfect"] = dice.tolist()
    return {name: risk_coverage(confidence, (1 - dice).tolist()) for name, confidence in confidences.items()}


def _best(scores: Iterable[VariantScores]) -> VariantScores:
    """Return the variant with the highest validation Dice at its own threshold; the fastest in a tie."""
    return min(scores, key=lambda one: (-one.choice.dice, one.seconds))


def _run_record(run: TrainedRun) -> dict[str, Any]:
    recipe, network = run.recipe, run.recipe.get("network_def")
    return {
        "network": network.get("_target_") if isinstance(network, Mapping) else network,
        "epochs": trained_epochs(run.training),
        **{key: recipe.get(key) for key in ("image_size", "seed", "precision")},
        "weights_sha256": weights_digest(run.weights),
    }


def _variant_table(scores: Mapping[str, VariantScores], plain: str, groups: Sequence[Hashable]) -> pd.DataFrame:
    """Make the table of variants; `difference` is to the reference variant, `threshold_gain` to threshold 0.5."""

    def interval(name: str, values: np.ndarray) -> dict[str, float]:
        lesions = np.flatnonzero(~np.isnan(values)).tolist()
        mean, low, high = bootstrap_mean(values[lesions], [groups[one] for one in lesions])
        return {name: mean, f"{name}_low": low, f"{name}_high": high}

    rows = []
    for name, one in scores.items():
        at_default, at_chosen = one.false_positives or (math.nan, math.nan)
        rows.append(
            {
                "variant": name,
                "passes": len(one.variant.runs) * len(one.variant.flips),
                "seconds_per_image": round(one.seconds, 4),
                "validation_dice": one.validation_dice,
                **interval("test_dice", one.test_dice),
                **interval("difference", one.test_dice - scores[plain].test_dice),
                "threshold": one.choice.threshold,
                "validation_dice_at_threshold": one.choice.dice,
                **interval("test_dice_at_threshold", one.chosen_dice),
                **interval("threshold_gain", one.chosen_dice - one.test_dice),
                "temperature": one.temperature,
                "no_temperature": one.no_temperature or "",
                "ece": one.before.expected_error(),
                "ece_scaled": one.after.expected_error(),
                "false_positive_rate_without_lesion": at_default,
                "false_positive_rate_without_lesion_at_threshold": at_chosen,
            }
        )
    return pd.DataFrame(rows)


def _case_table(scores: Mapping[str, VariantScores], cases: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Make the table of Dice and confidence per variant and test case; NaN where undefined."""
    rows = [
        {
            "variant": name,
            **{key: case[key] for key in ("case_id", "class", "group")},
            "dice": float(one.chosen_dice[index]),
            "predicted_pixels": int(one.mask[index].sum()),
            **{column: one.confidence[index].get(column, math.nan) for column in CONFIDENCES},
        }
        for name, one in scores.items()
        for index, case in enumerate(cases)
    ]
    return pd.DataFrame(rows)


def _risk_table(scores: VariantScores) -> pd.DataFrame:
    """Make the table of a variant's risk–coverage curves, with those of a perfect and a random ranking."""
    curves = risk_curves(scores)
    risks = {name: curve.risk for name, curve in curves.items()}
    count = len(risks["perfect"])
    risks["random"] = [curves["perfect"].random] * count
    return pd.DataFrame(
        {"variant": scores.variant.name, "order": name, "kept": kept, "coverage": kept / count, "risk": value}
        for name, curve in risks.items()
        for kept, value in enumerate(curve, start=1)
    )


def _confidence(scores: VariantScores, groups: Sequence[Hashable]) -> dict[str, Any]:
    """Score each confidence of a variant on the test images with a lesion."""
    lesions = scores.lesion_cases
    risks, own_groups = (1 - scores.chosen_dice[lesions]).tolist(), [groups[case] for case in lesions]
    found = {}
    for name in scores.confidence[0]:
        values = [scores.confidence[case][name] for case in lesions]
        found[name] = {**risk_coverage_scores(values, risks, own_groups), "mean_confidence": float(np.mean(values))}
    return found


def _text(summary: Mapping[str, Any]) -> str:
    cases, settings, split = summary["cases"], summary["inference_settings"], summary["split"]
    parts = warnings_of(summary)
    seen = ", ".join(f"{one['images']} {part} images ({one['with_lesion']} with lesion)" for part, one in cases.items())
    parts.append(
        f"Test fold {split['fold']} of {split['num_folds']}: {seen}. Temperature and threshold are chosen on the "
        "validation images, which were also used to select each run's epoch. Dice in percent: mean over the lesion "
        "images, 95 % interval by bootstrap over duplicate groups. "
        f"Seconds on {summary['provenance']['processor']}, including reading."
    )
    parts.append(_variants_text(summary))
    if is_defined(summary["variants"][0]["false_positive_rate_without_lesion"]):
        header = ["variant", "at 0.5", "at the chosen threshold"]
        columns = ("false_positive_rate_without_lesion", "false_positive_rate_without_lesion_at_threshold")
        rows = [[row["variant"], *(percent(row[name]) for name in columns)] for row in summary["variants"]]
        parts.append(f"False-positive rate on normal images (%):\n\n{markdown_grid(header, rows)}")
    parts += [f"{row['variant']}: {row['no_temperature']}" for row in summary["variants"] if row["no_temperature"]]
    whose = "" if len(summary["runs"]) > 1 else f" of {settings['run']}"
    parts.append(
        f"Best on validation at its own threshold: {summary['best']}. For inference (`{SETTINGS}`): "
        f"{settings['variant']}{whose}, threshold {settings['threshold']}, temperature "
        f"{settings['temperature']}, flips {settings['flips']}."
    )
    parts += [_confidence_text(name, scores) for name, scores in summary["confidence"].items()]
    parts.append(
        f"Pictures in `uncertainty/` ({summary['best']}): outline of the mask in yellow and of the ground truth in "
        "green; entropy per pixel and, for averaged predictions, their disagreement, from 0 to 1 bit."
    )
    return "\n\n".join(parts) + "\n"


def _variants_text(summary: Mapping[str, Any]) -> str:
    def cell(row: Mapping[str, Any], name: str, signed: bool = False) -> str:
        return percent_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], signed)

    header = ["variant", "s/image", "Dice, validation", "Dice, test", f"difference to {summary['plain']}", "threshold"]
    header += ["Dice, test, at threshold", "gain by threshold", "temperature", "ECE", "ECE, scaled"]
    rows = [
        [
            row["variant"],
            number(row["seconds_per_image"], 3),
            percent(row["validation_dice"]),
            cell(row, "test_dice"),
            "" if row["variant"] == summary["plain"] else cell(row, "difference", True),
            number(row["threshold"], 2),
            cell(row, "test_dice_at_threshold"),
            cell(row, "threshold_gain", True),
            number(row["temperature"], 2),
            number(row["ece"], 4),
            number(row["ece_scaled"], 4),
        ]
        for row in summary["variants"]
    ]
    return markdown_grid(header, rows)


def _confidence_text(variant: str, scores: Mapping[str, Any]) -> str:
    first = next(iter(scores.values()))
    rows = [
        [
            name,
            CONFIDENCES[name],
            *(percent_interval(**score[key]) for key in ("aurc", "e_aurc", "gain")),
            number(score["rank_correlation"], 2),
        ]
        for name, score in scores.items()
    ]
    header = ["score", "description", "AURC", "E-AURC", "gain over a random ranking", "rank correlation with Dice"]
    return (
        f"Failure prediction of {variant}: area under the risk-coverage curve (AURC), where the risk is 1 - Dice, in "
        f"percent (random ranking {percent(first['random'])}, perfect ranking {percent(first['perfect'])}). Mean "
        f"expected Dice {percent(scores['expected_dice']['mean_confidence'])}, mean Dice "
        f"{percent(1 - first['random'])}.\n\n" + markdown_grid(header, rows)
    )
