"""The command that trains and evaluates a list of runs."""

from __future__ import annotations

import argparse
from typing import Any


def add_commands(commands: Any) -> None:
    """Add the commands to those of an argument parser."""
    experiments = commands.add_parser("experiments", help="train and evaluate a list of runs; repeat to continue")
    experiments.add_argument("list", metavar="LIST", help="YAML file with the runs")
    experiments.add_argument("--dataset_dir", nargs="+", help="folder of the images, or several")
    experiments.add_argument("--out", required=True, metavar="RUNS", help="results go to RUNS/LIST/RUN/seed_S/fold_F")
    experiments.add_argument("--only", nargs="+", metavar="NAME", default=[], help="only these runs of the list")
    experiments.add_argument("--minutes", type=float, help="stop after this time with exit status 3")
    experiments.add_argument("--jobs", type=int, default=1, help="parallel runs (default: %(default)s)")
    experiments.add_argument("--threads", type=int, help="threads per run (default: physical cores / jobs)")
    experiments.add_argument("--dry_run", action="store_true", help="show state, time left and commands of each run")
    experiments.add_argument("--collect", metavar="FOLDER", help="only copy tables of finished runs to FOLDER/LIST/RUN")
    experiments.add_argument(
        "--report", metavar="FOLDER", help="only write a report of finished runs, FOLDER/LIST/report.html"
    )
    experiments.set_defaults(run=_experiments)


def _experiments(options: argparse.Namespace) -> int:
    from hybrid_attention.experiments import Runner, collect, finished_groups, overview, read_runs, report

    runs = read_runs(options.list, options.out, options.only)
    if options.collect or options.report:
        if options.dry_run:
            raise ValueError("--dry_run shows what would be run: it goes with neither --collect nor --report")
        groups, failures = finished_groups(runs)
        if options.collect:
            folders = collect(groups, options.collect)
            print(f"{runs[0].experiment}: {len(folders)} folders of tables in {options.collect}/{runs[0].experiment}")
        if options.report and (page := report(groups, options.report)):
            print(f"report: {page}")
        if failures:
            head = "these folds can't be merged, all others are written; remove a fold's folder to run it again:"
            raise ValueError("\n  ".join([head, *(f"{name}: {reason}" for name, reason in failures.items())]))
        return 0
    if not options.dataset_dir:
        raise ValueError("--dataset_dir is missing: the folder of the images")
    if options.dry_run:
        print(overview(runs, options.dataset_dir))
        return 0
    return Runner(runs, options.dataset_dir, options.minutes, options.jobs, options.threads)()
