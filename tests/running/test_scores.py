"""Cells become a matrix of the tests, and a series of what was scored over all learned tasks together."""

from __future__ import annotations

import csv
from pathlib import Path

from cmt_cli.core.result import SEEN
from cmt_cli.core.stream import TestSet
from cmt_cli.running.scores import Cells, matrices, read_cells, seen_rows, write_cells

TESTS = [TestSet("a", (), "em", 0), TestSet("b", (), "em", 1)]
CELLS: dict[int, dict[str, dict[str, float | None]]] = {
    0: {"a": {"em": 0.0}, "b": {"em": 0.1}, SEEN: {"em_seen": None}},
    1: {"a": {"em": 0.5}, "b": {"em": 0.2}, SEEN: {"em_seen": 0.5}},
}


def test_scores_over_all_learned_tasks_are_no_column() -> None:
    found = matrices(CELLS, TESTS, num_rows=2)
    assert list(found) == ["em"]
    assert found["em"].tests == ("a", "b") and found["em"].rows == ((0.0, 0.1), (0.5, 0.2))


def test_scores_over_all_learned_tasks_are_a_series() -> None:
    assert seen_rows(CELLS, num_rows=3) == {"em_seen": (None, 0.5, None)}
    assert seen_rows({0: {"a": {"em": 0.0}}}, num_rows=1) == {}


def test_formulas_are_marked_and_read_back(tmp_path: Path) -> None:
    tests = ["=1+1", "+a", "-b", "@c", "\td", "\re", "'=f", "''-g", "'h", "-0.5", "+3e-2", "plain", "\uff1di", ""]
    cells: Cells = {0: {test: {"em": -0.5, "=m": 1.0} for test in tests}}
    write_cells(tmp_path / "scores.csv", cells)
    assert read_cells(tmp_path / "scores.csv") == cells
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[1] for row in rows[1::2]] == [
        *("'=1+1", "'+a", "'-b", "'@c", "'\td", "'\re", "''=f", "'''-g", "'h", "-0.5", "+3e-2", "plain", "'\uff1di", "")
    ]
    assert {row[2:][0] for row in rows[2::2]} == {"'=m"} and rows[1][3] == "-0.5"
