"""The report on degraded images: tables of each run, and figures that compare them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hybrid_attention.data.files import prepare_output_folder
from hybrid_attention.evaluation.members import open_runs
from hybrid_attention.evaluation.robustness import CLEAN, StressTest, checked_kinds, stress_test
from hybrid_attention.evaluation.summary import has_lesion
from hybrid_attention.evaluation.text import plural
from hybrid_attention.report.stress_plot import draw_examples, draw_stress, write_figure

logger = logging.getLogger(__name__)


def stress(
    runs: Sequence[str | os.PathLike[str]],
    dataset_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    part: str = "test",
    kinds: Sequence[str] | None = None,
    seed: int = 0,
    groups_csv: str | os.PathLike[str] | None = None,
    split_csv: str | os.PathLike[str] | None = None,
) -> Path:
    """Test trained networks on degraded images.

    `out/NAME/` receives `stress.csv`, `summary.json` and `summary.md` of each run, `out` the figures `stress.png` (Dice
    against strength) and `examples.png`: a case that the first network outlines well (at the upper quartile of its
    Dice), degraded, with all networks' outlines.

    Args:
        runs: folders of trainings, or `NAME=FOLDER`, one or more, named as `open_runs` does.
        dataset_dir: folder of the images, or several.
        out: folder of the report.
        part: of the split that the networks were trained with: `train`, `validation` or `test`.
        kinds: of `CORRUPTIONS`; None for all.
        seed: of the corruptions.
        groups_csv: duplicate groups of your own data, as in training.
        split_csv: your own split, as in training.

    Returns:
        The folder of the report.

    Raises:
        FileNotFoundError: a run has no weights or no record.
        ValueError: one run or name stands there twice, runs have other cases, a name can't name a folder, or a kind
            does not exist.
    """
    kinds = checked_kinds(kinds)
    trained = open_runs(runs, dataset_dir, groups_csv=groups_csv, split_csv=split_csv)
    for name in trained:
        if Path(name).is_absolute() or ".." in Path(name).parts or Path(name) == Path():
            raise ValueError(f"a run is FOLDER or NAME=FOLDER, where NAME can name a folder, got {name!r}")
    folder = prepare_output_folder(out)
    cases = {name: [case["case_id"] for case in run.cases(part)] for name, run in trained.items()}
    first = next(iter(cases))
    for name, own in cases.items():
        if own != cases[first]:
            raise ValueError(
                f"{name} and {first} have other {part} images ({len(own)} and {len(cases[first])}): "
                "test runs of one split together, others apart"
            )
    tests: dict[str, StressTest] = {}
    for name, run in trained.items():
        logger.info("%s: %s of degradation at 5 strengths", name, plural(len(kinds), "kind"))
        tests[name] = stress_test(run, part, kinds, seed)
        tests[name].write(folder / name)
    write_figure(folder / "stress.png", draw_stress({name: test.summary for name, test in tests.items()}))
    chosen = _well_outlined(tests[first])
    case = next(case for case in trained[first].cases(part) if case["case_id"] == chosen)
    write_figure(folder / "examples.png", draw_examples(trained, case, kinds, seed))
    return folder


def _well_outlined(test: StressTest) -> str:
    """Return the case at the upper quartile of Dice, or the first where no image holds a lesion."""
    clean = [row for row in test.rows if row["kind"] == CLEAN]
    lesions = [row for row in clean if has_lesion(row)]
    if not lesions:
        return str(clean[0]["case_id"])
    quartile = np.quantile([row["dice"] for row in lesions], 0.75)
    return str(min(lesions, key=lambda row: abs(row["dice"] - quartile))["case_id"])
