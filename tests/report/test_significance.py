import dataclasses
import math

import pytest
from hybrid_attention.report import read_run
from hybrid_attention.report.matching import match_runs
from hybrid_attention.report.paired_scores import paired_scores
from hybrid_attention.report.significance import friedman, friedman_table, paired_table, why_no_tests


@pytest.fixture
def runs(make_run):
    return [read_run(make_run(name, error=error)) for name, error in (("good", 1), ("fair", 3), ("poor", 6))]


def test_pairs(runs):
    table = paired_table(match_runs(runs))
    assert [row[0] for row in table.rows] == ["good - fair", "good - poor", "fair - poor"]
    assert all(row[1].startswith("+") for row in table.rows)
    assert "Means over 6 images with lesion (left out: 2 without lesion)" in table.note
    assert "each of the 4 groups once" in table.note


def test_against_a_reference(runs):
    table = paired_table(match_runs(runs, reference="fair"))
    assert [row[0] for row in table.rows] == ["good - fair", "poor - fair"]
    assert [row[1][0] for row in table.rows] == ["+", "-"]


def test_alike_runs_do_not_differ(runs):
    table = paired_table(match_runs([runs[0], dataclasses.replace(runs[0], name="again")]))
    assert table.rows == [("good - again", "+0.0 [+0.0, +0.0]", "1.000", "1.000")]


def test_friedman_ranks(runs):
    comparison = match_runs(runs[::-1])
    test = friedman(comparison)
    table = friedman_table(comparison, test)
    assert [row[:2] for row in table.rows] == [("poor", "3.00"), ("fair", "2.00"), ("good", "1.00")]
    assert table.rows[0][2] == ""  # against itself
    assert table.rows[0][4] == table.rows[2][2] != ""
    assert "chi-square 8.00" in table.note  # 4 groups, 3 runs, always in one order: 12·4/(3·4)·2


def test_two_runs_have_no_friedman_test(runs):
    assert friedman(match_runs(runs[:2])) is None


def test_why_there_are_no_tests(runs, make_run):
    assert why_no_tests(match_runs(runs[:1])) == "One run only: there is nothing to test it against."
    one_case = [read_run(make_run(name, cases=1)) for name in ("a", "b")]
    assert "two groups of images with a lesion, there are 1" in why_no_tests(match_runs(one_case))
    assert paired_table(match_runs(one_case)) is None
    assert why_no_tests(match_runs(runs)) == ""


def test_undefined_scores_are_left_out_and_counted(runs):
    rows = [dict(row) for row in runs[1].rows]
    rows[0]["precision"] = math.nan
    comparison = match_runs([runs[0], dataclasses.replace(runs[1], rows=rows)], score="precision")
    paired = paired_scores(comparison)
    assert (len(paired.groups), paired.undefined, paired.without_lesion) == (5, 1, 2)
    assert "1 undefined in a run" in paired_table(comparison).note
