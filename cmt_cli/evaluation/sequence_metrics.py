"""Continual-learning metrics as pure functions of one score matrix; a metric that lacks a cell is None with a reason.

a[i, j] is the score on the tests of task j after i tasks (mean over the task's test sets), j = 1..T; row 0 is the model
before the first task, so a[0, j] = b[j]. s[j] and m[j] are the a[j, j] of the baseline runs of method `single_task`
(a model trained on task j alone) and `joint` (one trained on tasks 1..j together). Higher is better. General probes
(tests without a task) enter `probe_drops` only.

    aa                   mean_j a[T, j]
    aia                  mean_i mean_{j<=i} a[i, j]
    fgt                  mean_{j<T} (max_{j<=i<=T-1} a[i, j] - a[T, j])    Chaudhry et al. 2018, arXiv 1801.10112
    fgt_all_rows         the same with i <= T, hence never negative        the convention of several code bases
    bwt                  mean_{j<T} (a[T, j] - a[j, j])                    Lopez-Paz & Ranzato 2017, arXiv 1706.08840
    fwd_zero_shot        mean_{j>=2} (a[j-1, j] - a[0, j])                 Lopez-Paz & Ranzato 2017
    fwd_single_task      mean_{j>=2} (a[j, j] - s[j])                      Wang et al. 2023, arXiv 2302.00487
    intransigence        mean_j (m[j] - a[j, j])                           Chaudhry et al. 2018
    relative_gain        mean_{j<T} a[T, j] / s[j]                         InsCL, Wang et al. 2024, arXiv 2403.11435
    retention            a[T, 1] / a[1, 1]                                 the end of the first task's retention curve;
                         None where a[1, 1] is not above chance: a ratio of two floors says nothing about memory

and min_acc, worst_case_accuracy, stability_gap of `evaluation/stability.py`, which need scores inside tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from cmt_cli.core.exceptions import counted
from cmt_cli.core.result import Metric, ScoreMatrix, StepRow
from cmt_cli.evaluation.chance import Chance
from cmt_cli.evaluation.score_grid import MissingScoreError, ScoreGrid, metric, num_tasks, row_of
from cmt_cli.evaluation.stability import min_acc, stability_gap, worst_case_accuracy

FORMULAS = {
    "aa": "mean_j a[T,j]",
    "aia": "mean_i mean_{j<=i} a[i,j]",
    "fgt": "mean_{j<T} (max_{j<=i<=T-1} a[i,j] - a[T,j])",
    "fgt_all_rows": "mean_{j<T} (max_{j<=i<=T} a[i,j] - a[T,j])",
    "bwt": "mean_{j<T} (a[T,j] - a[j,j])",
    "fwd_zero_shot": "mean_{j>=2} (a[j-1,j] - a[0,j])",
    "fwd_single_task": "mean_{j>=2} (a[j,j] - s[j])",
    "intransigence": "mean_j (m[j] - a[j,j])",
    "relative_gain": "mean_{j<T} a[T,j] / s[j]",
    "retention": "a[T,1] / a[1,1]",
    "min_acc": "mean_{j<T} min_{n after row j} A[n,j]",
    "worst_case_accuracy": "a[T,T] / T + (1 - 1/T) min_acc",
    "stability_gap": "mean_{i>=2} mean_{j<i} (min(a[i-1,j], a[i,j]) - min_{n in i} A[n,j])",
}
PROBE_DROP = "probe_drop"
PROBE_FORMULA = "a[0,p] - a[T,p] of a general probe p"
PROBES_FORMULA = "mean_p (a[0,p] - a[T,p]) over the general probes p"


@dataclass(frozen=True, slots=True)
class Baseline:
    """The scores a[j, j] of a baseline run by task, None where one is missing; `reason` says why there are none."""

    scores: tuple[float | None, ...] = ()
    reason: str = "needs a baseline run"


NO_BASELINE = Baseline()


def sequence_metrics(
    matrix: ScoreMatrix,
    *,
    single_task: Baseline = NO_BASELINE,
    joint: Baseline = NO_BASELINE,
    steps: Sequence[StepRow] = (),
    chance: Chance | None = None,
    undefined: Mapping[str, str] | None = None,
) -> dict[str, Metric]:
    """Return every metric of `FORMULAS` by name.

    `single_task` holds s[j], `joint` m[j]; `steps` are the times inside tasks; `chance` is that of the first
    task, None where the score has none; `undefined` names metrics that have no meaning for the stream, with the reason.
    """
    functions: dict[str, Callable[[ScoreGrid], float]] = {
        "aa": _aa,
        "aia": _aia,
        "fgt": partial(_forgetting, with_last_row=False),
        "fgt_all_rows": partial(_forgetting, with_last_row=True),
        "bwt": _bwt,
        "fwd_zero_shot": _fwd_zero_shot,
        "fwd_single_task": partial(_fwd_single_task, baseline=single_task),
        "intransigence": partial(_intransigence, baseline=joint),
        "relative_gain": partial(_relative_gain, baseline=single_task),
        "retention": partial(_retention, chance=chance),
        "min_acc": partial(min_acc, steps=steps),
        "worst_case_accuracy": partial(worst_case_accuracy, steps=steps),
        "stability_gap": partial(stability_gap, steps=steps),
    }
    metrics = {name: _metric(matrix, name, function) for name, function in functions.items()}
    return metrics | {name: Metric(None, FORMULAS[name], reason) for name, reason in (undefined or {}).items()}


def probe_drops(matrix: ScoreMatrix) -> dict[str, Metric]:
    """Return how much the general probes lost from row 0 to the last row: each one's drop, and their mean.

    A probe's column holds its own metric. The names are `probe_drop` and `probe_drop[<test>]`.
    """
    probes = {test: k for k, test in enumerate(matrix.tests) if matrix.learned_at[k] is None}
    drops = {f"{PROBE_DROP}[{test}]": metric(PROBE_FORMULA, partial(_drop, matrix, k)) for test, k in probes.items()}
    values = [drop.value for drop in drops.values() if drop.value is not None]
    if not drops:
        mean = Metric(None, PROBES_FORMULA, "the stream has no general probe, a test without a task")
    elif len(values) < len(drops):
        mean = Metric(None, PROBES_FORMULA, next(drop.reason for drop in drops.values() if drop.value is None))
    else:
        mean = Metric(fmean(values), PROBES_FORMULA)
    return {PROBE_DROP: mean, **drops}


def baseline(matrix: ScoreMatrix | None, name: str) -> Baseline:
    """Return the a[j, j] of a baseline run's matrix; `name` is the run's, for the reasons."""
    if matrix is None:
        return Baseline(reason=f"the baseline run {name} has no such score")
    scores = [_value(matrix, partial(_diagonal, task=j)) for j in range(1, num_tasks(matrix) + 1)]
    return Baseline(tuple(scores), f"the baseline run {name} has no score")


def retention_curve(matrix: ScoreMatrix, task: int = 0) -> list[float | None]:
    """Return a[i, j] / a[j, j] for the tests of one task (index from 0) after it and after each later task.

    An entry is None where a cell is missing or the score right after the task is 0.
    """
    rows = range(task + 1, len(matrix.rows))
    return [_value(matrix, partial(_ratio, row=row, task=task + 1)) for row in rows]


def _aa(a: ScoreGrid) -> float:
    return fmean(a[a.num_tasks, j] for j in range(1, a.num_tasks + 1))


def _aia(a: ScoreGrid) -> float:
    return fmean(fmean(a[i, j] for j in range(1, i + 1)) for i in range(1, a.num_tasks + 1))


def _forgetting(a: ScoreGrid, *, with_last_row: bool) -> float:
    last = a.several()
    end = last + 1 if with_last_row else last
    return fmean(max(a[i, j] for i in range(j, end)) - a[last, j] for j in range(1, last))


def _bwt(a: ScoreGrid) -> float:
    last = a.several()
    return fmean(a[last, j] - a[j, j] for j in range(1, last))


def _fwd_zero_shot(a: ScoreGrid) -> float:
    return fmean(a[j - 1, j] - a[0, j] for j in range(2, a.several() + 1))


def _fwd_single_task(a: ScoreGrid, *, baseline: Baseline) -> float:
    last = a.several()
    return fmean(a[j, j] - _of(baseline, a, j) for j in range(2, last + 1))


def _intransigence(a: ScoreGrid, *, baseline: Baseline) -> float:
    return fmean(_of(baseline, a, j) - a[j, j] for j in range(1, a.num_tasks + 1))


def _relative_gain(a: ScoreGrid, *, baseline: Baseline) -> float:
    last = a.several()
    upper = [_of(baseline, a, j) for j in range(1, last)]
    if 0 in upper:
        raise MissingScoreError(f"the single-task score of task {upper.index(0) + 1} is 0")
    return fmean(a[last, j] / bound for j, bound in enumerate(upper, start=1))


def _of(baseline: Baseline, a: ScoreGrid, task: int) -> float:
    if not baseline.scores:
        raise MissingScoreError(baseline.reason)
    if len(baseline.scores) != a.num_tasks:
        raise MissingScoreError(f"needs {counted(a.num_tasks, 'baseline score')}, not {len(baseline.scores)}")
    score = baseline.scores[task - 1]
    if score is None:
        raise MissingScoreError(f"{baseline.reason} of task {task} right after it")
    return score


def _diagonal(a: ScoreGrid, *, task: int) -> float:
    return a[task, task]


def _drop(matrix: ScoreMatrix, column: int) -> float:
    before, after = (_probe(matrix, row, column) for row in (0, num_tasks(matrix)))
    return before - after


def _probe(matrix: ScoreMatrix, row: int, column: int) -> float:
    score = row_of(matrix, row)[column]
    if score is None:
        raise MissingScoreError(f"the probe {matrix.tests[column]} was not scored in row {row}")
    return score


def _retention(a: ScoreGrid, *, chance: Chance | None) -> float:
    retained = _ratio(a, row=a.several(), task=1)
    if chance is not None and not chance.is_below(a[1, 1]):
        raise MissingScoreError(
            f"the score right after task 1, {a[1, 1]:.3f}, is not above chance: the best single answer or a guess "
            f"scores {chance.score:.3f} on its {counted(chance.num_questions, 'question')}"
        )
    return retained


def _ratio(a: ScoreGrid, *, row: int, task: int) -> float:
    right_after = a[task, task]
    if right_after == 0:
        raise MissingScoreError(f"the score right after task {task} is 0")
    return a[row, task] / right_after


def _metric(matrix: ScoreMatrix, name: str, function: Callable[[ScoreGrid], float]) -> Metric:
    return metric(FORMULAS[name], lambda: function(ScoreGrid(matrix)))


def _value(matrix: ScoreMatrix, function: Callable[[ScoreGrid], float]) -> float | None:
    return metric("", lambda: function(ScoreGrid(matrix))).value
