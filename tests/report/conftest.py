"""Evaluations of drawn discs."""

from tests.drawn_runs import edit, make_run, record_edit, written  # noqa: F401
