"""From predictions to per-case tables, summaries by named convention, curves and tests."""

from hybrid_attention.evaluation.calibration import PixelCalibration
from hybrid_attention.evaluation.case_scores import CaseScores
from hybrid_attention.evaluation.classification import classification_scores
from hybrid_attention.evaluation.comparison import (
    FriedmanTest,
    PairedTest,
    friedman_test,
    paired_accuracy_tests,
    paired_tests,
)
from hybrid_attention.evaluation.folds import merge_folds
from hybrid_attention.evaluation.lesions import lesion_detection
from hybrid_attention.evaluation.metrics import confusion_counts, overlap_scores
from hybrid_attention.evaluation.pictures import picture_path
from hybrid_attention.evaluation.reliability import Reliability, reliability
from hybrid_attention.evaluation.risk_coverage import RiskCoverage, risk_coverage
from hybrid_attention.evaluation.robustness import StressTest, stress_test
from hybrid_attention.evaluation.roc import PixelRoc
from hybrid_attention.evaluation.statistics import bootstrap_ratio, bootstrap_statistic
from hybrid_attention.evaluation.summary import CONVENTIONS, scores_by_convention, summarize
from hybrid_attention.evaluation.summary_table import summary_table
from hybrid_attention.evaluation.surface import surface_distances
from hybrid_attention.evaluation.temperature import fit_temperature
from hybrid_attention.evaluation.threshold import ThresholdChoice, choose_threshold
from hybrid_attention.evaluation.uncertainty import confidence_scores, mutual_information

__all__ = [
    "CONVENTIONS",
    "CaseScores",
    "FriedmanTest",
    "PairedTest",
    "PixelCalibration",
    "PixelRoc",
    "Reliability",
    "RiskCoverage",
    "StressTest",
    "ThresholdChoice",
    "bootstrap_ratio",
    "bootstrap_statistic",
    "choose_threshold",
    "classification_scores",
    "confidence_scores",
    "confusion_counts",
    "fit_temperature",
    "friedman_test",
    "lesion_detection",
    "merge_folds",
    "mutual_information",
    "overlap_scores",
    "paired_accuracy_tests",
    "paired_tests",
    "picture_path",
    "reliability",
    "risk_coverage",
    "scores_by_convention",
    "stress_test",
    "summarize",
    "summary_table",
    "surface_distances",
]
