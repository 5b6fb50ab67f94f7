"""Curves of a matrix of three tasks, computed by hand."""

from __future__ import annotations

import pytest

from cmt_cli.core.result import ScoreMatrix
from cmt_cli.evaluation.sequence_curves import curves, learning_accuracy
from cmt_cli.evaluation.sequence_metrics import sequence_metrics
from cmt_cli.reporting.curves import band, mean_matrix

ROWS = ((0.0, 0.0, 0.1), (0.9, 0.1, 0.1), (0.6, 0.8, 0.2), (0.5, 0.7, 0.9))


def matrix(rows: object = ROWS, learned_at: tuple[int | None, ...] = (0, 1, 2)) -> ScoreMatrix:
    return ScoreMatrix("em", ("a", "b", "c"), learned_at, rows)  # type: ignore[arg-type]


def test_curves_of_a_run() -> None:
    found = {
        name: [(x, None if y is None else round(y, 6)) for x, y in points] for name, points in curves(matrix()).items()
    }
    assert found["so_far"] == [(1, 0.9), (2, 0.7), (3, 0.7)]
    assert found["by_age"] == [(0, round((0.9 + 0.8 + 0.9) / 3, 6)), (1, 0.65), (2, 0.5)]
    assert found["forgotten"] == [(2, 0.3), (3, 0.25)]


def test_the_curve_of_forgetting_ends_at_fgt() -> None:
    assert curves(matrix())["forgotten"][-1][1] == pytest.approx(sequence_metrics(matrix())["fgt"].value)


def test_a_missing_cell_leaves_out_points_needing_it() -> None:
    rows = (ROWS[0], ROWS[1], (None, 0.8, 0.2), ROWS[3])
    assert [y for _, y in curves(matrix(rows))["so_far"]] == [0.9, None, pytest.approx(0.7)]
    assert learning_accuracy(matrix(rows)).value == pytest.approx((0.9 + 0.8 + 0.9) / 3)
    lost = learning_accuracy(matrix((ROWS[0], (None, 0.1, 0.1), *ROWS[2:])))
    assert lost.value is None and lost.reason == "the tests of task 1 were not scored in row 1"


def test_a_stream_of_probes_only_has_no_curves() -> None:
    assert not any(curves(matrix(learned_at=(None, None, None))).values())


def test_bands_have_mean_and_sample_deviation_of_known_values() -> None:
    assert band([[(1, 0.2), (2, 0.5)], [(1, 0.4), (2, None)]]) == [
        (1, pytest.approx(0.3), pytest.approx(0.02**0.5)),
        (2, 0.5, 0.0),
    ]


def test_only_matrices_of_equal_task_order_are_averaged() -> None:
    other = matrix(tuple(tuple(None if v == 0.5 else v + 0.1 for v in row) for row in ROWS))
    mean = mean_matrix([matrix(), other])
    assert mean is not None and mean.rows[1] == pytest.approx((0.95, 0.15, 0.15)) and mean.rows[3][0] == 0.5
    assert mean_matrix([matrix(), matrix(learned_at=(1, 0, 2))]) is None
