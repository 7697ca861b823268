"""Choose threshold, temperature and test-time augmentation of trained runs; measure how well they know their errors."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from hybrid_attention.data.hashing import data_digest
from hybrid_attention.data.writing import prepare_output_folder, write_json
from hybrid_attention.engines.trained_model import TrainedModel
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
from hybrid_attention.evaluation.formatting import is_defined, markdown_rows, number, percent, percent_interval
from hybrid_attention.evaluation.results import warnings_of, write_table, write_text
from hybrid_attention.evaluation.statistics import bootstrap_mean
from hybrid_attention.evaluation.uncertainty import CONFIDENCES, risk_curve, risk_scores

SETTINGS = "inference_settings.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """Result of `calibrate`: scores by variant, predictions of the test cases, and the content of `summary.json`.

    `plain` is the reference variant, the single run without augmentation with the best validation Dice; `best` that
    with the best validation Dice at its own threshold.
    """

    scores: dict[str, VariantScores]
    plain: str
    best: str
    test: EnsemblePredictions
    summary: dict[str, Any]
    text: str  # content of `summary.md`


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

    Several runs are also evaluated as an ensemble. The other arguments are those of `open_runs`.

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
    seconds = cache(lambda name, flips: seconds_per_image(opened[name], validation.cases, flips))
    scores = {
        one.name: score_variant(one, validation, test, sum(seconds(run, one.flips) for run in one.runs))
        for one in variants_of(list(opened))
    }
    single = [one for one in scores.values() if len(one.variant.runs) == 1]
    plain = min(
        (one for one in single if one.variant.flips == (AS_IS,)), key=lambda one: (-one.validation_dice, one.seconds)
    ).variant.name
    # the fastest in a tie
    best, chosen = (min(some, key=lambda one: (-one.choice.dice, one.seconds)) for some in (scores.values(), single))
    settings = {
        "threshold": chosen.choice.threshold,
        "temperature": chosen.temperature,
        "flips": [list(flip) for flip in chosen.variant.flips],
    }
    table, shown = _variant_table(scores, plain), dict.fromkeys((plain, best.variant.name))
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
        "best": best.variant.name,
        "inference_settings": {"run": chosen.variant.runs[0], "variant": chosen.variant.name, **settings},
        "variants": table.to_dict("records"),
        "confidence": {name: _confidence(scores[name]) for name in shown},
        "data_sha256": {part: data_digest(one.cases) for part, one in parts.items()},
        "provenance": provenance(),
    }
    write_table(folder / "variants.csv", table)
    columns = ["variant", "case_id", "class", "group", "dice", "predicted_pixels", *CONFIDENCES]
    cases = pd.concat([one.cases.assign(variant=name) for name, one in scores.items()])
    write_table(folder / "cases.csv", cases.reindex(columns=columns))
    write_table(folder / "risk_coverage.csv", pd.concat([_risk_table(scores[name]) for name in shown]))
    write_json(folder / "summary.json", summary)
    write_json(folder / SETTINGS, settings)
    text = _text(summary)
    write_text(folder / "summary.md", text)
    return Calibration(scores, plain, best.variant.name, test, summary, text)


def risk_curves(scores: VariantScores) -> dict[str, np.ndarray]:
    """Return the risk–coverage curves of the test images with a lesion by confidence; `perfect` ranks by the Dice."""
    lesions = scores.lesions
    order = {**{name: lesions[name] for name in scores.confidences}, "perfect": lesions["dice"]}
    return {name: risk_curve(confidence, 1 - lesions["dice"]) for name, confidence in order.items()}


def _run_record(run: TrainedModel) -> dict[str, Any]:
    recipe, network = run.recipe, run.recipe.get("network_def")
    return {
        "network": network.get("_target_") if isinstance(network, Mapping) else network,
        "epochs": trained_epochs(run.training),
        **{key: recipe.get(key) for key in ("image_size", "seed", "precision")},
        "weights_sha256": weights_digest(run.weights),
    }


def _variant_table(scores: Mapping[str, VariantScores], plain: str) -> pd.DataFrame:
    """Make the table of variants; `difference` is to the reference variant, `threshold_gain` to threshold 0.5."""

    def interval(name: str, values: pd.Series, groups: pd.Series) -> dict[str, float]:
        known = values.notna()
        mean, low, high = bootstrap_mean(values[known], groups[known])
        return {name: mean, f"{name}_low": low, f"{name}_high": high}

    def found(pixels: pd.Series) -> float:
        return float((pixels > 0).mean()) if len(pixels) else math.nan

    rows = []
    for name, one in scores.items():
        cases, normal = one.cases, one.cases[one.cases["dice"].isna()]
        default, chosen, groups = cases["dice_at_default"], cases["dice"], cases["group"]
        rows.append(
            {
                "variant": name,
                "passes": len(one.variant.runs) * len(one.variant.flips),
                "seconds_per_image": round(one.seconds, 4),
                "validation_dice": one.validation_dice,
                **interval("test_dice", default, groups),
                **interval("difference", default - scores[plain].cases["dice_at_default"], groups),
                "threshold": one.choice.threshold,
                "validation_dice_at_threshold": one.choice.dice,
                **interval("test_dice_at_threshold", chosen, groups),
                **interval("threshold_gain", chosen - default, groups),
                "temperature": one.temperature,
                "no_temperature": one.no_temperature or "",
                "ece": one.before.expected_error(),
                "ece_scaled": one.after.expected_error(),
                "false_positive_rate_without_lesion": found(normal["pixels_at_default"]),
                "false_positive_rate_without_lesion_at_threshold": found(normal["predicted_pixels"]),
            }
        )
    return pd.DataFrame(rows)


def _risk_table(scores: VariantScores) -> pd.DataFrame:
    """Make the table of a variant's risk–coverage curves, with those of a perfect and a random ranking."""
    curves = risk_curves(scores)
    count = len(curves["perfect"])
    curves["random"] = np.full(count, (1 - scores.lesions["dice"]).mean())
    kept = np.arange(1, count + 1)
    columns = {"variant": scores.variant.name, "kept": kept, "coverage": kept / count}
    table = pd.concat([pd.DataFrame({**columns, "order": name, "risk": risk}) for name, risk in curves.items()])
    return table[["variant", "order", "kept", "coverage", "risk"]]


def _confidence(scores: VariantScores) -> dict[str, Any]:
    """Score each confidence of a variant on the test images with a lesion."""
    lesions = scores.lesions
    return {
        name: {
            **risk_scores(lesions[name], 1 - lesions["dice"], lesions["group"].tolist()),
            "mean_confidence": float(np.mean(lesions[name].to_numpy())),
        }
        for name in scores.confidences
    }


def calibration_tables(summary: Mapping[str, Any]) -> str:
    """Format the `summary.json` of a calibration as tables of the variants and of failure prediction, in Markdown."""

    def interval(row: Mapping[str, Any], name: str, signed: bool = False) -> str:
        return percent_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], signed)

    variants = [
        {
            "prediction": row["variant"],
            "s/image": number(row["seconds_per_image"], 2),
            "Dice, validation": percent(row["validation_dice"]),
            "Dice, test, at 0.5": interval(row, "test_dice"),
            "difference": "" if row["variant"] == summary["plain"] else interval(row, "difference", True),
            "threshold": number(row["threshold"], 2),
            "Dice, test, at threshold": interval(row, "test_dice_at_threshold"),
            "gain by threshold": interval(row, "threshold_gain", True),
            "temperature": number(row["temperature"], 2),
            "ECE": number(row["ece"], 4),
            "ECE, scaled": number(row["ece_scaled"], 4),
        }
        for row in summary["variants"]
    ]
    confidences = [
        {
            "prediction": variant,
            "confidence": name.replace("_", " "),
            "AURC": percent_interval(**one["aurc"]),
            "E-AURC": percent_interval(**one["e_aurc"]),
            "rank correlation": number(one["rank_correlation"], 2),
        }
        for variant, scores in summary["confidence"].items()
        for name, one in scores.items()
    ]
    first = next(iter(next(iter(summary["confidence"].values())).values()))
    orders = f"AURC of a random ranking: {percent(first['random'])}; of a perfect ranking: {percent(first['perfect'])}."
    return f"{markdown_rows(variants)}\n\n{markdown_rows(confidences)}\n\n{orders}"


def _text(summary: Mapping[str, Any]) -> str:
    cases, settings, split = summary["cases"], summary["inference_settings"], summary["split"]
    seen = ", ".join(f"{one['images']} {part} images ({one['with_lesion']} with lesion)" for part, one in cases.items())
    parts = [
        *warnings_of(summary),
        f"Test fold {split['fold']} of {split['num_folds']}: {seen}. Temperature and threshold are chosen on the "
        "validation images, which were also used to select each run's epoch. Dice in percent: mean over the lesion "
        f"images, 95 % interval by bootstrap over duplicate groups; differences to {summary['plain']}. Seconds on "
        f"{summary['provenance']['processor']}, including reading. AURC: area under the risk-coverage curve, where the "
        "risk is 1 - Dice, in percent.",
        calibration_tables(summary),
        "\n".join(f"* {name.replace('_', ' ')}: {meaning}" for name, meaning in CONFIDENCES.items()),
    ]
    columns = {
        "at 0.5": "false_positive_rate_without_lesion",
        "at the chosen threshold": "false_positive_rate_without_lesion_at_threshold",
    }
    if is_defined(summary["variants"][0][columns["at 0.5"]]):
        rates = [
            {"prediction": row["variant"], **{title: percent(row[name]) for title, name in columns.items()}}
            for row in summary["variants"]
        ]
        parts.append(f"False-positive rate on normal images (%):\n\n{markdown_rows(rates)}")
    parts += [f"{row['variant']}: {row['no_temperature']}" for row in summary["variants"] if row["no_temperature"]]
    whose = "" if len(summary["runs"]) > 1 else f" of {settings['run']}"
    parts += [
        f"Best on validation at its own threshold: {summary['best']}. For inference (`{SETTINGS}`): "
        f"{settings['variant']}{whose}, threshold {settings['threshold']}, temperature "
        f"{settings['temperature']}, flips {settings['flips']}.",
        f"Pictures in `uncertainty/` ({summary['best']}): outline of the mask in yellow and of the ground truth in "
        "green; entropy per pixel and, for averaged predictions, their disagreement, from 0 to 1 bit.",
    ]
    return "\n\n".join(parts) + "\n"
