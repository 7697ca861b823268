"""The command that trains and evaluates a list of runs."""

from __future__ import annotations

import argparse
from typing import Any


def add_commands(commands: Any) -> None:
    """Add the commands to those of an argument parser."""
    experiments = commands.add_parser("experiments", help="train and evaluate a list of runs; repeat to continue")
    experiments.add_argument("list", metavar="LIST", help="YAML file with the runs")
    experiments.add_argument("--dataset_dir", nargs="+", help="one or several folders of images")
    experiments.add_argument("--out", required=True, metavar="RUNS", help="results go to RUNS/LIST/RUN/seed_S/fold_F")
    experiments.add_argument("--only", nargs="+", metavar="NAME", default=[], help="use only these runs of the list")
    experiments.add_argument("--minutes", type=float, help="stop after this time with exit status 3")
    experiments.add_argument(
        "--dry_run", action="store_true", help="only show state, time left and commands of each run"
    )
    experiments.add_argument("--collect", metavar="FOLDER", help="only copy tables of finished runs to FOLDER/LIST/RUN")
    experiments.add_argument(
        "--report", metavar="FOLDER", help="only write a report of finished runs, FOLDER/LIST/report.html"
    )
    experiments.set_defaults(run=_experiments)


def _experiments(options: argparse.Namespace) -> int:
    from hybrid_attention.experiments import collect, read_runs, run_all

    if options.dry_run and (options.collect or options.report):
        raise ValueError("--dry_run shows what would be run; use it without --collect and --report")
    runs = read_runs(options.list, options.out, options.only)
    if options.collect or options.report:
        for path in collect(runs, options.collect, options.report):
            print(path)
        return 0
    if not options.dataset_dir:
        raise ValueError("--dataset_dir is missing: give the folder of the images")
    if options.dry_run:
        _describe(runs, options.dataset_dir)
        return 0
    return run_all(runs, options.dataset_dir, options.minutes)


def _describe(runs: list[Any], images: list[str]) -> None:
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
        print(line, *(f"  {shlex.join(run.command(step, images))}" for step in run.steps_left()), sep="\n")
    print(f"commands are for the folder {runs[0].root}")
