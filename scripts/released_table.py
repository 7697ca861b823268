"""The table of the weights that come with the repository, for `results_table.py`."""

from __future__ import annotations

from pathlib import Path

from hybrid_attention.evaluation.text import markdown_grid, percent, score_interval
from hybrid_attention.report import read_run
from hybrid_attention.report.paired_scores import class_scores

# by bundle, the evaluation of its weights on all images of the test fold, by its folder under docs/results
RELEASED = {
    "hybrid_lite": "hybrid_lite/released_on_busi",
    "hybrid": "normal_images_fold0_128/han_for_masks",
    "mtl_oca": "normal_images_fold0_128/hybrid_multi_task_from_masks",
}


def released_table(results: Path) -> str:
    """Lay out what the weights are worth on images that they have not seen.

    Args:
        results: the folder docs/results.

    Returns:
        Markdown.
    """
    rows = []
    for bundle, folder in RELEASED.items():
        run = read_run(f"{bundle}={results / folder}")
        dice, classes = run.summary["lesion_only"]["dice"], class_scores(run)
        cells = [score_interval(classes[name]) if classes else "none" for name in ("accuracy", "macro_auc")]
        marked = percent(run.summary["false_positive_rate_without_lesion"])
        rows.append((f"`{bundle}`", score_interval(dice), percent(dice["median"]), marked, *cells))
    images, lesions = run.recorded("cases"), run.recorded("lesion_cases")
    header = (
        "weights of",
        f"Dice, {lesions} images with lesion",
        "median",
        f"false positives, {images - lesions} normal images",
        "class accuracy",
        "macro AUC",
    )
    return markdown_grid(header, rows)
