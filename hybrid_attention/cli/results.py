"""Commands on trained networks and evaluations: compare, merge, stress, calibrate."""

from __future__ import annotations

import argparse
from typing import Any


def add_commands(commands: Any) -> None:
    """Add the commands to those of an argument parser."""
    compare = commands.add_parser("compare", help="compare evaluation runs: tables, figures and an HTML page")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="folder with per_case.csv, or NAME=FOLDER")
    compare.add_argument("--out", required=True, help="folder for the report")
    compare.add_argument("--intersection", action="store_true", help="compare only the cases that all runs share")
    compare.add_argument("--reference", metavar="NAME", help="test all other runs against this one, not all pairs")
    compare.add_argument("--score", default="dice", help="score for tests and figures (default: %(default)s)")
    compare.add_argument(
        "--cases", nargs="+", default=(), metavar="CASE", help="cases of the grid (default: best, median and worst)"
    )
    compare.set_defaults(run=_compare)

    merge = commands.add_parser("merge", help="merge the test folds of a cross-validation into one run")
    merge.add_argument("folds", nargs="+", metavar="FOLD", help="folder of one fold, with per_case.csv")
    merge.add_argument("--out", required=True, help="folder for the merged run")
    merge.set_defaults(run=_merge, show_log=True)

    stress = commands.add_parser("stress", help="evaluate trained networks on degraded images")
    stress.add_argument("runs", nargs="+", metavar="RUN", help="folder of a trained run, or NAME=FOLDER")
    stress.add_argument("--dataset_dir", required=True, nargs="+", help="one or several folders of images")
    stress.add_argument("--out", required=True, help="folder for the report")
    stress.add_argument("--groups_csv", help="CSV file of duplicate groups, as in training")
    stress.add_argument("--split_csv", help="CSV file of the split, as in training")
    stress.add_argument(
        "--part",
        default="test",
        choices=("train", "validation", "test"),
        help="part of the split (default: %(default)s)",
    )
    stress.add_argument(
        "--kinds",
        nargs="+",
        metavar="KIND",
        help="degradations: speckle, blur, gain, contrast, downscale, text, callipers (default: all)",
    )
    stress.add_argument("--seed", type=int, default=0, help="seed of the degradations")
    stress.set_defaults(run=_stress, show_log=True)

    calibrate = commands.add_parser(
        "calibrate", help="choose threshold, temperature and test-time augmentation on validation images"
    )
    calibrate.add_argument("runs", nargs="+", metavar="RUN", help="folder of a trained run, or NAME=FOLDER")
    calibrate.add_argument("--dataset_dir", required=True, nargs="+", help="one or several folders of images")
    calibrate.add_argument("--out", required=True, help="folder for tables, figure and pictures")
    calibrate.add_argument("--groups_csv", help="CSV file of duplicate groups, as in training")
    calibrate.add_argument("--split_csv", help="CSV file of the split, as in training")
    calibrate.set_defaults(run=_calibrate, show_log=True)


def _compare(options: argparse.Namespace) -> None:
    from hybrid_attention.report import compare

    page = compare(options.runs, options.out, options.intersection, options.reference, options.score, options.cases)
    print(f"report: {page}")


def _merge(options: argparse.Namespace) -> None:
    from hybrid_attention.evaluation import merge_folds

    merge_folds(options.folds, options.out)


def _stress(options: argparse.Namespace) -> None:
    from hybrid_attention.report import stress

    folder = stress(
        options.runs,
        options.dataset_dir,
        options.out,
        options.part,
        options.kinds,
        options.seed,
        options.groups_csv,
        options.split_csv,
    )
    print(f"tables and figures: {folder}")


def _calibrate(options: argparse.Namespace) -> None:
    from hybrid_attention.evaluation import calibrate
    from hybrid_attention.explain import write_uncertainty_pictures
    from hybrid_attention.report import write_calibration_figure

    tables = {"groups_csv": options.groups_csv, "split_csv": options.split_csv}
    result = calibrate(options.runs, options.dataset_dir, options.out, **tables)
    write_calibration_figure(result, options.out)
    count = write_uncertainty_pictures(result, options.out)
    print(f"{result.text}\n{count} pictures, tables and calibration.png in {options.out}")
