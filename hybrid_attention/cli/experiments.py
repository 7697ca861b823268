"""Commands on runs: train and evaluate a list of them, compare, merge, stress, calibrate."""

from __future__ import annotations

import argparse
from typing import Any


def add_commands(commands: Any) -> None:
    """Add the commands to those of an argument parser."""
    experiments = commands.add_parser("experiments", help="train and evaluate a list of runs; run again to continue")
    experiments.add_argument("list", metavar="LIST", help="YAML file with the runs")
    experiments.add_argument("--dataset_dir", nargs="+", help="one or several folders of images")
    experiments.add_argument("--out", required=True, metavar="RUNS", help="results go to RUNS/LIST/RUN/seed_S/fold_F")
    experiments.add_argument("--only", nargs="+", metavar="NAME", default=[], help="only these runs of the list")
    experiments.add_argument("--minutes", type=float, help="stop after this time with exit status 3")
    experiments.add_argument(
        "--dry_run", action="store_true", help="only show state, time left and commands of each run"
    )
    experiments.add_argument("--collect", metavar="FOLDER", help="only copy tables of finished runs to FOLDER/LIST/RUN")
    experiments.add_argument(
        "--report", metavar="FOLDER", help="only write a report of finished runs, FOLDER/LIST/report.html"
    )
    experiments.set_defaults(run=_experiments)

    compare = commands.add_parser("compare", help="compare evaluation runs: tables, figures and an HTML page")
    compare.add_argument("runs", nargs="+", metavar="RUN", help="folder with per_case.csv, or NAME=FOLDER")
    compare.add_argument("--out", required=True, help="folder for the report")
    compare.add_argument("--intersection", action="store_true", help="compare only the cases that all runs have")
    compare.add_argument("--reference", metavar="NAME", help="test all other runs against this one, not all pairs")
    compare.add_argument("--score", default="dice", help="score for tests and figures (default: %(default)s)")
    compare.add_argument(
        "--cases", nargs="+", default=(), metavar="CASE", help="cases to draw (default: best, median and worst)"
    )
    compare.set_defaults(run=_compare)

    merge = commands.add_parser("merge", help="merge the test folds of a cross-validation into one run")
    merge.add_argument("folds", nargs="+", metavar="FOLD", help="folder of one fold, with per_case.csv")
    merge.add_argument("--out", required=True, help="folder for the merged run")
    merge.set_defaults(run=_merge, show_log=True)

    stress = commands.add_parser("stress", help="evaluate trained networks on degraded images")
    stress.add_argument("runs", nargs="+", metavar="RUN", help="folder of a trained run, or NAME=FOLDER")
    stress.add_argument("--out", required=True, help="folder for the report")
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
    calibrate.add_argument("--out", required=True, help="folder for tables, figures and inference_settings.json")
    calibrate.set_defaults(run=_calibrate, show_log=True)

    for command in (stress, calibrate):
        command.add_argument("--dataset_dir", required=True, nargs="+", help="one or several folders of images")
        command.add_argument("--groups_csv", help="CSV file of duplicate groups, as in training")
        command.add_argument("--split_csv", help="CSV file of the split, as in training")


def _experiments(options: argparse.Namespace) -> int:
    from hybrid_attention.experiments import collect, read_runs, run_all

    if options.dry_run and (options.collect or options.report):
        raise ValueError("--dry_run shows what would be run; use it without --collect and --report")
    runs = read_runs(options.list, options.out, options.only, options.dataset_dir or ())
    if options.collect or options.report:
        for path in collect(runs, options.collect, options.report):
            print(path)
        return 0
    if not options.dataset_dir:
        raise ValueError("--dataset_dir is missing: give the folder of the images")
    if options.dry_run:
        _describe(runs)
        return 0
    return run_all(runs, options.minutes)


def _describe(runs: list[Any]) -> None:
    """Print state, remaining time and commands of the runs; the time is that of the first run that has begun."""
    import shlex
    from datetime import timedelta
    from statistics import mean

    begun = next((run.epoch_seconds() for run in runs if run.epoch_seconds()), None)
    for run in runs:
        epochs = run.epoch_seconds()
        line = f"{run.label}: {run.progress()}, {len(epochs)} of {run.epochs} epochs"
        if begun and "training" in run.steps_left():
            left = mean(epochs or begun) * (run.epochs - len(epochs))
            line += f", about {timedelta(seconds=round(left))} left"
        print(line, *(f"  {shlex.join(run.command(step))}" for step in run.steps_left()), sep="\n")
    print(f"commands are for the folder {runs[0].root}")


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
