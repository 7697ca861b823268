"""From predictions to per-case tables and summaries with intervals."""

from hybrid_attention.evaluation.case_scores import CaseScores
from hybrid_attention.evaluation.metrics import confusion_counts, overlap_scores
from hybrid_attention.evaluation.statistics import bootstrap_ratio
from hybrid_attention.evaluation.summary import summarize, summary_table

__all__ = ["CaseScores", "bootstrap_ratio", "confusion_counts", "overlap_scores", "summarize", "summary_table"]
