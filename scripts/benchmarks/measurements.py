"""Measure the lesions of a data set with known pathology, by their true masks and by predicted ones.

    python scripts/benchmarks/measurements.py BUSBRA --out docs/results/measurements_bus_bra.csv

Predicted are the images of the test fold, which `hybrid_lite` was not trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hybrid_attention
import numpy as np
import pandas as pd
from hybrid_attention.data import datalist, split_cases
from hybrid_attention.data.images import read_image
from hybrid_attention.data.masks import merged_mask, read_mask
from hybrid_attention.evaluation.results import write_table
from hybrid_attention.prediction.result import Result

MEASURES = (
    *("width_to_height", "circularity", "ellipse_overlap", "margin_roughness", "echo_ratio", "posterior_echo_ratio"),
    *("computed_orientation", "computed_shape"),
)


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="folder of the data set")
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    write_table(options.out, pd.DataFrame(measured(options.data)))


def measured(folder: str) -> Iterator[dict[str, Any]]:
    """Yield a row per true mask and per predicted one."""
    cases = datalist(folder)
    for case in cases:
        truth = merged_mask([read_mask(path) for path in case["label"]])
        yield _row(case, "true", Result(read_image(case["image"]), truth > 0, np.zeros(truth.shape, np.float32)))
    unseen = split_cases(cases, 0, 5).test
    results = hybrid_attention.load_model().predict_many([case["image"] for case in unseen])
    for case, result in zip(unseen, results, strict=True):
        if result.mask.any():
            yield _row(case, "predicted", result)


def _row(case: dict[str, Any], masks: str, result: Result) -> dict[str, Any]:
    known = {"masks": masks, **{name: case[name] for name in ("case_id", "group", "class")}}
    return known | {name: result.measurements[name] for name in MEASURES}


if __name__ == "__main__":
    main()
