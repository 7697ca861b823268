"""What trained runs give beyond a plain prediction: averages, threshold, temperature, knowledge of their failures."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hybrid_attention.data.files import atomic_path, prepare_output_folder, write_csv, write_json
from hybrid_attention.data.hashing import data_digest
from hybrid_attention.engines.provenance import provenance
from hybrid_attention.engines.trained_run import TrainedRun
from hybrid_attention.engines.weight_files import weights_digest
from hybrid_attention.evaluation.members import (
    MemberPredictions,
    open_runs,
    predict_members,
    seconds_per_image,
    shared_cases,
)
from hybrid_attention.evaluation.reliability_tables import case_rows, reliability_text, risk_rows, variant_rows
from hybrid_attention.evaluation.risk_coverage import risk_coverage_scores
from hybrid_attention.evaluation.variants import VariantScores, score_variant, variants_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reliability:
    """What was found, for tables, figures and pictures.

    Args:
        scores: of each variant.
        plain: name of the single run, as is, of the best validation Dice, which the others are compared with.
        best: name of the variant of the best validation Dice at its own threshold.
        best_single: the same among those of a single run, which inference can repeat.
        test: predictions of the test cases.
        summary: what `summary.json` holds.
    """

    scores: dict[str, VariantScores]
    plain: str
    best: str
    best_single: str
    test: MemberPredictions
    summary: dict[str, Any]

    @property
    def text(self) -> str:
        """What `summary.md` holds."""
        return reliability_text(self.summary)


def reliability(
    runs: Sequence[str | os.PathLike[str]],
    dataset_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    device: torch.device | str | None = None,
    groups_csv: str | os.PathLike[str] | None = None,
    split_csv: str | os.PathLike[str] | None = None,
) -> Reliability:
    """Predict validation and test cases in all variants, choose on validation, score on test, and write the tables.

    `variants.csv`: Dice, threshold, temperature and calibration of each variant. `cases.csv`: Dice and confidence
    of each test case. `risk_coverage.csv`: the curves of the plain and the best variant. `summary.json` and
    `summary.md`. `decision.json`: threshold, temperature and flips of the best variant of a single run, an overlay on
    the configs for inference and evaluation of the bundle that the run was trained with.

    Args:
        runs: folders of trained runs, weight files, or `NAME=FOLDER`; several are an ensemble, too.
        dataset_dir: folder of the images, or several.
        folder: where the files go.
        device: where the networks run; None for a GPU if there is one.
        groups_csv: duplicate groups of your own data, as in training.
        split_csv: your own split, as in training.

    Returns:
        Scores, predictions of the test cases, and what the files hold.

    Raises:
        FileNotFoundError: a run has no weights or no record.
        ValueError: runs don't share cases or image size, or were trained on them; or no case has a lesion.
    """
    folder = prepare_output_folder(folder)
    opened = open_runs(runs, dataset_dir, device, groups_csv, split_csv)
    parts = {}
    for part in ("validation", "test"):
        parts[part] = predict_members(opened, shared_cases(opened, part))
        logger.info("%d %s images predicted", len(parts[part].cases), part)
    validation, test = parts["validation"], parts["test"]
    if not test.target.any():
        raise ValueError(f"none of the {len(test.cases)} test images has a lesion, so that there is no Dice")
    seconds = _seconds(opened, validation)
    scores = {
        variant.name: score_variant(variant, validation, test, sum(seconds[run, variant.flips] for run in variant.runs))
        for variant in variants_of(list(opened))
    }
    plain = _best([one for one in scores.values() if one.variant.flips == ((),) and len(one.variant.runs) == 1], False)
    best, best_single = _best(scores.values()), _best([one for one in scores.values() if len(one.variant.runs) == 1])
    chosen = scores[best_single]
    decision = {
        "threshold": chosen.choice.threshold,
        "temperature": chosen.temperature,
        "flips": [list(flip) for flip in chosen.variant.flips],
    }
    groups: list[Hashable] = [case["group"] for case in test.cases]
    variants = variant_rows(scores, plain, groups)
    summary = {
        "synthetic_data": any(case.get("synthetic", False) for case in test.cases),
        "split": {
            key: next(iter(opened.values())).recipe.get(key)
            for key in ("fold", "num_folds", "split_seed", "lesions_only")
        },
        "cases": {
            part: {"images": len(one.cases), "with_lesion": int(one.target.flatten(1).any(1).sum())}
            for part, one in parts.items()
        },
        "runs": {name: _run_record(run) for name, run in opened.items()},
        "threads": torch.get_num_threads(),
        "plain": plain,
        "best": best,
        "decision": {"run": chosen.variant.runs[0], "variant": best_single, **decision},
        "variants": variants,
        "confidence": {name: _confidence(scores[name], groups) for name in dict.fromkeys((plain, best))},
        "data_sha256": {part: data_digest(one.cases) for part, one in parts.items()},
        "provenance": provenance(),
    }
    result = Reliability(scores, plain, best, best_single, test, summary)
    _write(folder, result, decision)
    return result


def _seconds(opened: Mapping[str, TrainedRun], validation: MemberPredictions) -> dict[tuple[str, Any], float]:
    kinds = dict.fromkeys(variant.flips for variant in variants_of(list(opened)))
    return {
        (name, flips): seconds_per_image(run, validation.cases, flips)
        for name, run in opened.items()
        for flips in kinds
    }


def _best(scores: Any, at_threshold: bool = True) -> str:
    """Name the variant of the highest validation Dice; of several the quickest."""

    def rank(one: VariantScores) -> tuple[float, float]:
        return -(one.choice.dice if at_threshold else one.validation_dice), one.seconds

    return min(scores, key=rank).variant.name


def _run_record(run: TrainedRun) -> dict[str, Any]:
    recipe, network = run.recipe, run.recipe.get("network_def")
    return {
        "network": network.get("_target_") if isinstance(network, Mapping) else network,
        **{key: recipe.get(key) for key in ("image_size", "epochs", "seed", "precision")},
        "weights_sha256": weights_digest(run.weights),
    }


def _confidence(scores: VariantScores, groups: Sequence[Hashable]) -> dict[str, Any]:
    """Score each confidence of a variant on the test images with a lesion."""
    lesions = scores.lesion_cases
    risks = (1 - scores.chosen_dice[lesions]).tolist()
    return {
        name: {
            **risk_coverage_scores(
                [scores.confidence[case][name] for case in lesions], risks, [groups[case] for case in lesions]
            ),
            "mean_confidence": float(np.mean([scores.confidence[case][name] for case in lesions])),
        }
        for name in scores.confidence[0]
    }


def _write(folder: Path, result: Reliability, decision: Mapping[str, Any]) -> None:
    variants = result.summary["variants"]
    write_csv(folder / "variants.csv", variants, list(variants[0]))
    cases = case_rows(result.scores, result.test.cases)
    write_csv(folder / "cases.csv", cases, list(cases[0]))
    curves = [row for name in dict.fromkeys((result.plain, result.best)) for row in risk_rows(result.scores[name])]
    write_csv(folder / "risk_coverage.csv", curves, list(curves[0]))
    write_json(folder / "summary.json", result.summary)
    write_json(folder / "decision.json", decision)
    with atomic_path(folder / "summary.md") as temporary:
        temporary.write_text(result.text, encoding="utf-8")
