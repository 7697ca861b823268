"""What becomes of a table of cases when the class head may empty the masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hybrid_attention.engines.predictions import PROBABILITY_PREFIX
from hybrid_attention.evaluation.metrics import overlap_scores
from hybrid_attention.evaluation.surface import DISTANCES

_NOTHING_MARKED = {"detected_lesions": 0, "false_lesions": 0}


def emptied_rows(rows: Sequence[Mapping[str, Any]], threshold: float, normal: str = "normal") -> list[dict[str, Any]]:
    """Return the rows as they would be if images that look normal got an empty mask.

    It is what an evaluation with `normal_threshold` gives, computed from one without.

    Args:
        rows: one a case, with `tp`, `fp`, `fn`, `tn` and the class probabilities, as `CaseScores` writes them.
        threshold: probability of the class without lesion from which on a mask is emptied.
        normal: name of that class.

    Returns:
        New rows.

    Raises:
        ValueError: the rows hold no probability of that class.
    """
    column = PROBABILITY_PREFIX + normal
    if any(column not in row for row in rows):
        raise ValueError(f"the table has no column {column}: the network doesn't tell normal images")
    return [_emptied(row) if row[column] >= threshold else dict(row) for row in rows]


def _emptied(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = {"tp": 0, "fp": 0, "fn": row["tp"] + row["fn"], "tn": row["fp"] + row["tn"]}
    scores = {name: value for name, value in overlap_scores(counts).items() if name in row}
    distances = {name: math.nan for name in DISTANCES if name in row}
    found = {name: value for name, value in _NOTHING_MARKED.items() if name in row}
    return {**row, **counts, **scores, **distances, **found}
