"""Settings of the compared runs, and their differences other than the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from hybrid_attention.engines.training_record import trained_epochs
from hybrid_attention.evaluation.formatting import plural
from hybrid_attention.evaluation.metrics.segmentation import COUNTS, has_lesion
from hybrid_attention.evaluation.results import Evaluation, nested
from hybrid_attention.report.paired_runs import Comparison
from hybrid_attention.report.tables import Table

_RECIPE = ("training", "recipe")
# what should be the same in all runs, with its path in summary.json
_SAME = {
    "split": ("split",),
    "part of the split": ("part",),
    "image size": ("settings", "image_size"),
    "size of the scores": ("score_size",),
    "unit of distances": ("distance_unit",),
    "epochs": ("training", "epochs"),  # see `trained_epochs`
    "lesions_only": (*_RECIPE, "lesions_only"),
    "encoder weights": (*_RECIPE, "encoder_weights"),
    "batch size": (*_RECIPE, "batch_size"),
    "seed": (*_RECIPE, "seed"),
    "training images": ("training", "images", "training"),
    "data of the training (SHA-256)": ("training", "data_sha256", "training"),
    "data of the test (SHA-256)": ("data_sha256",),
}
_PATHS = {
    **_SAME,
    "network": (*_RECIPE, "network_def", "_target_"),
    "learning rate": (*_RECIPE, "learning_rate"),
    "precision": (*_RECIPE, "precision"),
    "flips, temperature, threshold": ("decision",),
    "best epoch": ("training", "epoch"),
    "config": ("training", "provenance", "config_files"),
    "overrides": ("training", "provenance", "overrides"),
    "commit of the training": ("training", "provenance", "commit"),
    "commit of the evaluation": ("provenance", "commit"),
    "version": ("provenance", "version"),
    "processor": ("provenance", "processor"),
    "accelerator": ("provenance", "accelerator"),
    "weights (SHA-256)": ("weights_sha256",),
}


def settings_table(comparison: Comparison) -> Table:
    """Make the table of settings, one column per run; rows that differ are highlighted."""
    rows = [("cases", *(str(len(run.cases) + comparison.left_out[run.name]) for run in comparison.runs))]
    rows += [(title, *(_text(run, title) for run in comparison.runs)) for title in _PATHS]
    several = len(comparison.runs) > 1
    highlighted = frozenset(index for index, row in enumerate(rows) if len(set(row[1:])) > 1)
    if several:
        rows = [(*row, "differs" if index in highlighted else "") for index, row in enumerate(rows)]
    return Table(
        key="settings",
        title="Settings of each run",
        header=("", *(run.name for run in comparison.runs), *([""] if several else [])),
        rows=rows,
        note="From summary.json of each run; the first ten digits of hashes and commits.",
        highlighted=highlighted,
        texts=True,
    )


def differences(comparison: Comparison) -> list[str]:
    """Describe the differences between the runs other than the network, one text per difference."""
    found = []
    for title in _SAME:
        names: dict[str, list[str]] = {}
        for run in comparison.runs:
            names.setdefault(_text(run, title), []).append(run.name)
        if len(names) > 1:
            texts = (f"{', '.join(same)}: {text}" for text, same in names.items())
            found.append(f"{title} ({'; '.join(texts)})")
    return found + _other_truths(comparison)


def common_facts(comparison: Comparison) -> str:
    """Describe in one line what the runs were evaluated on, and their epochs."""

    def common(*values: Any) -> Any:
        return values[0] if len(set(values)) == 1 else "differs, see below"

    split = common(*(run.recorded("split") or "split not recorded" for run in comparison.runs))
    part = common(*(run.recorded("part") or "test" for run in comparison.runs))
    sizes = {run.recorded("settings", "image_size") for run in comparison.runs}
    size = sizes.pop() if len(sizes) == 1 else None
    epochs = {_text(run, "epochs") for run in comparison.runs}
    trained = "epochs differ, see below" if len(epochs) > 1 else f"epochs: {epochs.pop()}"
    return f"{split}; part: {part}" + ("" if size is None else f", {size} x {size} pixels") + f"; {trained}"


def _text(run: Evaluation, title: str) -> str:
    path = _PATHS[title]
    value = _value(run.record, title)
    if value is None and run.recorded("folds"):  # settings that differ between the folds of a merged run
        values = [_value(fold, title) for fold in run.recorded("folds", "runs")]
        texts = ["not recorded" if value is None else _as_text(value, title) for value in values]
        return texts[0] if len(set(texts)) == 1 else "; ".join(texts)
    if value is None:
        outer = run.recorded(*path[:-1])
        return "none" if isinstance(outer, Mapping) and path[-1] in outer else "not recorded"
    return _as_text(value, title)


def _value(record: Mapping[str, Any], title: str) -> Any:
    return trained_epochs(record.get("training")) if title == "epochs" else nested(record, _PATHS[title])


def _as_text(value: Any, title: str) -> str:
    if isinstance(value, Mapping):
        hashed = title == "config"
        return ", ".join(f"{key} ({str(item)[:10]})" if hashed else f"{key}={item}" for key, item in value.items())
    text = str(value)
    return text[:10] if "SHA-256" in title or "commit" in title else text


def _other_truths(comparison: Comparison) -> list[str]:
    """Compare the ground truth: lesion pixels if the image sizes agree, else whether there is a lesion."""
    first, found = comparison.runs[0], []
    for run in comparison.runs[1:]:
        here, there, counts = first.cases, run.cases, list(COUNTS)
        same = np.where(
            here[counts].sum(axis=1) == there[counts].sum(axis=1),
            here["tp"] + here["fn"] == there["tp"] + there["fn"],
            has_lesion(here) == has_lesion(there),
        )
        other = there["case_id"][~same]
        if len(other):
            found.append(
                f"ground truth of {plural(len(other), 'case')} between {first.name} and {run.name} "
                f"(the first: {other.iloc[0]})"
            )
    return found
