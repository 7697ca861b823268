"""Lists of runs: executed, resumed, summed up."""

from hybrid_attention.experiments.collect import collect, report
from hybrid_attention.experiments.execution import Runner
from hybrid_attention.experiments.overview import overview
from hybrid_attention.experiments.plan import Plan, read_plan

__all__ = ["Plan", "Runner", "collect", "overview", "read_plan", "report"]
