"""Curves of one score matrix: what is known so far, what is forgotten so far, and scores by age.

a[i, j] is the score on task j after i tasks, as in `sequence_metrics.py`. A task to which the score does not apply, so
that no row has any for it, is left out of the means.

    so_far[i]       mean_{j<=i} a[i, j]                                        i = 1..T
    forgotten[i]    mean_{j<i} (max_{j<=l<=i-1} a[l, j] - a[i, j])             i = 2..T; its end is FGT
    by_age[d]       mean_j a[j + d, j] over the tasks that reach age d         d = 0..T-1
    learning_accuracy  mean_j a[j, j]: how well a task is learned when it is learned, the plasticity of a run
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from cmt_cli.core.result import Metric, ScoreMatrix
from cmt_cli.evaluation.score_grid import MissingScoreError, ScoreGrid, metric

CURVES = ("so_far", "by_age", "forgotten")
LEARNING_ACCURACY = "mean_j a[j,j]"
Curve = list[tuple[int, float | None]]


def curves(matrix: ScoreMatrix) -> dict[str, Curve]:
    """Return a run's curves by name; a point is None where a cell that it needs is missing."""
    try:
        grid = ScoreGrid(matrix)
    except MissingScoreError:
        return {name: [] for name in CURVES}
    last = grid.num_tasks
    tasks = grid.scored_tasks()

    def so_far(i: int) -> float:
        return _mean([grid[i, j] for j in tasks if j <= i])

    def forgotten(i: int) -> float:
        return _mean([max(grid[k, j] for k in range(j, i)) - grid[i, j] for j in tasks if j < i])

    def by_age(age: int) -> float:
        return _mean([grid[j + age, j] for j in tasks if j <= last - age])

    return {
        "so_far": [(i, _value(so_far, i)) for i in range(1, last + 1)],
        "by_age": [(d, _value(by_age, d)) for d in range(last)],
        "forgotten": [(i, _value(forgotten, i)) for i in range(2, last + 1)],
    }


def learning_accuracy(matrix: ScoreMatrix) -> Metric:
    """Return mean_j a[j, j], or None with the reason."""

    def mean() -> float:
        grid = ScoreGrid(matrix)
        return fmean(grid[j, j] for j in range(1, grid.num_tasks + 1))

    return metric(LEARNING_ACCURACY, mean)


def _mean(values: list[float]) -> float:
    if not values:
        raise MissingScoreError("no task has such a score")
    return fmean(values)


def _value(function: Callable[[int], float], at: int) -> float | None:
    return metric("", lambda: function(at)).value
