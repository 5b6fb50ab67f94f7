"""Continual-learning metrics as pure functions of one score matrix; a metric that lacks a cell is None with a reason.

a[i, j] is the score on the tests of task j after i tasks (mean over the task's test sets), j = 1..T; row 0 is the model
before the first task, so a[0, j] = b[j]; s[j] is the score of a model trained on task j alone. General probes (tests
without a task) do not enter. Higher is better.

    aa               mean_j a[T, j]
    aia              mean_i mean_{j<=i} a[i, j]
    fgt              mean_{j<T} (max_{j<=i<=T-1} a[i, j] - a[T, j])     Chaudhry et al. 2018, arXiv 1801.10112
    fgt_all_rows     the same with i <= T, hence never negative         the convention of several code bases
    bwt              mean_{j<T} (a[T, j] - a[j, j])                     Lopez-Paz & Ranzato 2017, arXiv 1706.08840
    fwd_zero_shot    mean_{j>=2} (a[j-1, j] - a[0, j])                  Lopez-Paz & Ranzato 2017
    fwd_single_task  mean_{j>=2} (a[j, j] - s[j])                       needs reference runs
    retention        a[T, 1] / a[1, 1]                                  the end of the retention curve of the first task
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean

from cmt_cli.core.result import Metric, ScoreMatrix

FORMULAS = {
    "aa": "mean_j a[T,j]",
    "aia": "mean_i mean_{j<=i} a[i,j]",
    "fgt": "mean_{j<T} (max_{j<=i<=T-1} a[i,j] - a[T,j])",
    "fgt_all_rows": "mean_{j<T} (max_{j<=i<=T} a[i,j] - a[T,j])",
    "bwt": "mean_{j<T} (a[T,j] - a[j,j])",
    "fwd_zero_shot": "mean_{j>=2} (a[j-1,j] - a[0,j])",
    "fwd_single_task": "mean_{j>=2} (a[j,j] - s[j])",
    "retention": "a[T,1] / a[1,1]",
}


class _MissingError(Exception):
    """A metric cannot be computed; the message is the reason."""


class _Grid:
    # a[i, j] for i in 0..T and j in 1..T; raises _MissingError where there is no score.

    def __init__(self, matrix: ScoreMatrix) -> None:
        learned = [task for task in matrix.learned_at if task is not None]
        self.num_tasks = max(len(matrix.rows) - 1, max(learned, default=-1) + 1)
        self._matrix = matrix
        self._columns = [[k for k, task in enumerate(matrix.learned_at) if task == j] for j in range(self.num_tasks)]
        if not learned:
            raise _MissingError("no test set belongs to a task")

    def __getitem__(self, cell: tuple[int, int]) -> float:
        row, task = cell
        columns = self._columns[task - 1]
        if not columns:
            raise _MissingError(f"task {task} has no test set")
        if row >= len(self._matrix.rows):
            raise _MissingError(f"the run has not reached row {row} of {self.num_tasks}")
        scores = [self._matrix.rows[row][k] for k in columns]
        known = [score for score in scores if score is not None]
        if len(known) < len(scores):
            raise _MissingError(f"the tests of task {task} were not scored in row {row}")
        return fmean(known)


def sequence_metrics(matrix: ScoreMatrix, *, single_task: Sequence[float | None] | None = None) -> dict[str, Metric]:
    """Return every metric of this module by name; `single_task` holds s[j] for each task, from reference runs."""
    functions: dict[str, Callable[[_Grid], float]] = {
        "aa": _aa,
        "aia": _aia,
        "fgt": partial(_forgetting, with_last_row=False),
        "fgt_all_rows": partial(_forgetting, with_last_row=True),
        "bwt": _bwt,
        "fwd_zero_shot": _fwd_zero_shot,
        "fwd_single_task": partial(_fwd_single_task, single_task=single_task),
        "retention": _retention,
    }
    return {name: _metric(matrix, name, function) for name, function in functions.items()}


def retention_curve(matrix: ScoreMatrix, task: int = 0) -> list[float | None]:
    """Return a[i, j] / a[j, j] for the tests of one task (index from 0) after it and after each later task.

    An entry is None where a cell is missing or the score right after the task is 0.
    """
    rows = range(task + 1, len(matrix.rows))
    return [_value(matrix, partial(_ratio, row=row, task=task + 1)) for row in rows]


def _aa(a: _Grid) -> float:
    return fmean(a[a.num_tasks, j] for j in range(1, a.num_tasks + 1))


def _aia(a: _Grid) -> float:
    return fmean(fmean(a[i, j] for j in range(1, i + 1)) for i in range(1, a.num_tasks + 1))


def _forgetting(a: _Grid, *, with_last_row: bool) -> float:
    last = _several(a)
    end = last + 1 if with_last_row else last
    return fmean(max(a[i, j] for i in range(j, end)) - a[last, j] for j in range(1, last))


def _bwt(a: _Grid) -> float:
    last = _several(a)
    return fmean(a[last, j] - a[j, j] for j in range(1, last))


def _fwd_zero_shot(a: _Grid) -> float:
    return fmean(a[j - 1, j] - a[0, j] for j in range(2, _several(a) + 1))


def _fwd_single_task(a: _Grid, *, single_task: Sequence[float | None] | None) -> float:
    last = _several(a)
    if single_task is None:
        raise _MissingError("needs one reference run for each task")
    if len(single_task) != last:
        raise _MissingError(f"needs {last} reference scores, {len(single_task)} were given")
    differences = []
    for j in range(2, last + 1):
        reference = single_task[j - 1]
        if reference is None:
            raise _MissingError(f"the reference run of task {j} has no score")
        differences.append(a[j, j] - reference)
    return fmean(differences)


def _retention(a: _Grid) -> float:
    return _ratio(a, row=_several(a), task=1)


def _ratio(a: _Grid, *, row: int, task: int) -> float:
    right_after = a[task, task]
    if right_after == 0:
        raise _MissingError(f"the score right after task {task} is 0")
    return a[row, task] / right_after


def _several(a: _Grid) -> int:
    if a.num_tasks < 2:
        raise _MissingError("needs at least two tasks")
    return a.num_tasks


def _metric(matrix: ScoreMatrix, name: str, function: Callable[[_Grid], float]) -> Metric:
    try:
        return Metric(function(_Grid(matrix)), FORMULAS[name])
    except _MissingError as missing:
        return Metric(None, FORMULAS[name], str(missing))


def _value(matrix: ScoreMatrix, function: Callable[[_Grid], float]) -> float | None:
    try:
        return function(_Grid(matrix))
    except _MissingError:
        return None
