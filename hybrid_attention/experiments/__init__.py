"""Lists of trainings: expanded, run and resumed, their tables collected."""

from hybrid_attention.experiments.runner import Runner, collect, finished_groups, overview, report
from hybrid_attention.experiments.runs import Run, bundle_command, read_runs, shell_line

__all__ = [
    "Run",
    "Runner",
    "bundle_command",
    "collect",
    "finished_groups",
    "overview",
    "read_runs",
    "report",
    "shell_line",
]
