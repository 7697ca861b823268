"""Evaluations of drawn discs."""

from tests.evaluation.drawn_runs import edit, make_run, record_edit, written  # noqa: F401
