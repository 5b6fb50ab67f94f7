"""Worst case and stability gap: metrics of scores that were taken inside tasks, after some optimizer steps.

A[n, j] is the score on the tests of task j at a time n: at a row of the matrix, where it is a[i, j], or between two
rows (`StepRow`). De Lange et al. 2023, "Continual evaluation for lifelong learning", arXiv 2205.13452, section 3:

    min_acc              mean_{j<T} min_{n after row j} A[n, j]    "min-ACC", at the end of the stream
    worst_case_accuracy  a[T, T] / T + (1 - 1/T) min_acc           "WC-ACC", at the end of the stream
    stability_gap        mean_{2<=i<=T} mean_{j<i} (min(a[i-1, j], a[i, j]) - min_{n in i} A[n, j])

The last is our number for what their curves show: how far old tasks fall inside a task *below both its ends*, and so
recover by themselves. `n in i` are the times from row i-1 to row i, both included, so it is never negative. All three
need times inside every task after the first; the rarer these are, the more of a gap they miss. The paper evaluates
after every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from cmt_cli.core.result import StepRow
from cmt_cli.evaluation.score_grid import MissingScoreError, ScoreGrid


def min_acc(a: ScoreGrid, *, steps: Sequence[StepRow]) -> float:
    """Return the mean over old tasks of the lowest score after the task was learned."""
    last = a.several()
    inside = [_inside(a, steps, i) for i in range(2, last + 1)]
    return fmean(
        min(min(a[i, j], *(time[j] for time in inside[i - 2])) for i in range(j + 1, last + 1)) for j in range(1, last)
    )


def worst_case_accuracy(a: ScoreGrid, *, steps: Sequence[StepRow]) -> float:
    """Return the newest task's score and `min_acc`, weighed by their numbers of tasks."""
    share = 1 / a.several()
    return share * a[a.num_tasks, a.num_tasks] + (1 - share) * min_acc(a, steps=steps)


def stability_gap(a: ScoreGrid, *, steps: Sequence[StepRow]) -> float:
    """Return how far old tasks fall inside a task below both its ends."""
    gaps = []
    for i in range(2, a.several() + 1):
        times = _inside(a, steps, i)
        ends = {j: min(a[i - 1, j], a[i, j]) for j in range(1, i)}
        gaps.append(fmean(end - min(end, *(time[j] for time in times)) for j, end in ends.items()))
    return fmean(gaps)


def _inside(a: ScoreGrid, steps: Sequence[StepRow], task: int) -> list[dict[int, float]]:
    """Return the scores of all earlier tasks at each time inside one task."""
    if not steps:
        raise MissingScoreError("no test was evaluated inside a task; evaluator.every_steps=n does so every n steps")
    times = [step for step in steps if step.task == task - 1]
    if not times:
        raise MissingScoreError(f"no test was evaluated inside task {task}: it has no gradient steps, or too few")
    where = f"inside task {task}"
    return [{j: a.mean(time.scores, j, f"{where} after step {time.step}") for j in range(1, task)} for time in times]
