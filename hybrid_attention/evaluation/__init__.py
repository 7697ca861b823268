"""Evaluation: scores per case, summaries by convention, confidence intervals, statistical tests, calibration.

The metrics are in `hybrid_attention.evaluation.metrics`.
"""

from hybrid_attention.evaluation.calibrate import calibrate
from hybrid_attention.evaluation.case_scores import CaseScores
from hybrid_attention.evaluation.cross_validation import merge_folds
from hybrid_attention.evaluation.metrics.classification import classification_scores
from hybrid_attention.evaluation.metrics.segmentation import (
    confusion_counts,
    lesion_detection,
    overlap_scores,
    surface_distances,
)
from hybrid_attention.evaluation.results import Evaluation, read_evaluation
from hybrid_attention.evaluation.statistics import bootstrap_ratio, friedman_test, paired_tests
from hybrid_attention.evaluation.stress import stress_test
from hybrid_attention.evaluation.summary import CONVENTIONS, summarize

__all__ = [
    "CONVENTIONS",
    "CaseScores",
    "Evaluation",
    "bootstrap_ratio",
    "calibrate",
    "classification_scores",
    "confusion_counts",
    "friedman_test",
    "lesion_detection",
    "merge_folds",
    "overlap_scores",
    "paired_tests",
    "read_evaluation",
    "stress_test",
    "summarize",
    "surface_distances",
]
