"""The cells of a score matrix as metrics use them: a[i, j] by row and task, with a reason for each that is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from cmt_cli.core.result import Metric, ScoreMatrix


class MissingScoreError(Exception):
    """A metric cannot be computed; the message is the reason."""


class ScoreGrid:
    """a[i, j] for i in 0..T and j in 1..T, the mean over the tests of task j; raises MissingScoreError without one."""

    def __init__(self, matrix: ScoreMatrix) -> None:
        """Raise MissingScoreError where no test set belongs to a task."""
        self.num_tasks = num_tasks(matrix)
        self._matrix = matrix
        self._columns = [[k for k, task in enumerate(matrix.learned_at) if task == j] for j in range(self.num_tasks)]
        if not any(self._columns):
            raise MissingScoreError("no test set belongs to a task")

    def __getitem__(self, cell: tuple[int, int]) -> float:
        """Return a[row, task]."""
        row, task = cell
        return self.mean(row_of(self._matrix, row), task, f"in row {row}")

    def mean(self, scores: Sequence[float | None], task: int, when: str) -> float:
        """Return the mean over a task's columns of scores by column; `when` is for the reason."""
        columns = self._columns[task - 1]
        if not columns:
            raise MissingScoreError(f"task {task} has no test set")
        known = [score for k in columns if (score := scores[k]) is not None]
        if len(known) < len(columns):
            raise MissingScoreError(f"the tests of task {task} were not scored {when}")
        return fmean(known)

    def scored_tasks(self) -> list[int]:
        """Return the tasks to which the score applies: all but those that were learned and evaluated without any.

        A rate of changed facts has no value in an edition in which nothing changed.
        """
        rows = self._matrix.rows
        return [
            task
            for task, columns in enumerate(self._columns, start=1)
            if len(rows) <= task or not columns or any(row[k] is not None for row in rows for k in columns)
        ]

    def several(self) -> int:
        """Return T; raise MissingScoreError where it is 1."""
        if self.num_tasks < 2:
            raise MissingScoreError("needs at least two tasks")
        return self.num_tasks


def num_tasks(matrix: ScoreMatrix) -> int:
    """Return T, also for a run that has not reached its last row."""
    learned = [task for task in matrix.learned_at if task is not None]
    return max(len(matrix.rows) - 1, max(learned, default=-1) + 1)


def row_of(matrix: ScoreMatrix, row: int) -> Sequence[float | None]:
    """Return a row; raise MissingScoreError where the run has not reached it."""
    if row >= len(matrix.rows):
        raise MissingScoreError(f"the run has not reached row {row} of {num_tasks(matrix)}")
    return matrix.rows[row]


def metric(formula: str, function: Callable[[], float]) -> Metric:
    """Return a function's number, or None with the reason."""
    try:
        return Metric(function(), formula)
    except MissingScoreError as missing:
        return Metric(None, formula, str(missing))
