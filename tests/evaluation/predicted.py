"""Predictions of runs that were never trained: discs, and predictions with known errors."""

import torch
from hybrid_attention.evaluation.calibrate import Calibration
from hybrid_attention.evaluation.ensemble import FLIPS, EnsemblePredictions, score_variant, variants_of


def discs(cases=6, size=32, sharpness=1.0, runs=("net",), normal=(), shift=1.0, first=0, missed=True):
    """Discs of growing radius. Each pass draws them `shift` pixels further aside, so that passes disagree at the edge.

    The logit of a pixel is its distance from the drawn edge times `sharpness`. If `missed`, the last case has no
    prediction.
    """
    across, depth = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    target, probability = [], {(run, flip): [] for run in runs for flip in FLIPS}
    for case in range(cases):
        radius = 4.0 + case
        centre = size / 2 - 2
        distance = ((across - centre) ** 2 + (depth - centre) ** 2).sqrt()
        target.append((distance <= radius).float() * (case not in normal))
        for number, key in enumerate(probability):
            aside = ((across - centre - shift * number) ** 2 + (depth - centre) ** 2).sqrt()
            logit = sharpness * (radius + 0.25 - aside) if case < cases - missed else torch.full_like(distance, -5.0)
            probability[key].append(logit.sigmoid())
    return EnsemblePredictions(
        cases=[
            {
                "case_id": f"benign/benign ({first + case}).png",
                "class": "benign",
                "group": str((first + case) // 2),
                "synthetic": True,
            }
            for case in range(cases)
        ],
        images=torch.rand(cases, size, size, generator=torch.Generator().manual_seed(0)),
        target=torch.stack(target),
        probability={key: torch.stack(planes) for key, planes in probability.items()},
    )


def found(runs=("net",), best="mirror", **settings):
    """What `calibrate` gives, for figures and pictures."""
    validation, test = discs(runs=runs, first=100, **settings), discs(runs=runs, **settings)
    scores = {one.name: score_variant(one, validation, test, 0.1) for one in variants_of(runs)}
    summary = {"synthetic_data": True, "cases": {"validation": {"with_lesion": 6}}}
    return Calibration(scores, "as is", best, test, summary, "")
