"""Evaluations of drawn discs."""

from tests.evaluation.drawn_runs import make_run, written  # noqa: F401
