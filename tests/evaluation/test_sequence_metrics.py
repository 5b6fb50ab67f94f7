"""Every metric on a 3 x 3 matrix by hand, and against an independent implementation on random matrices."""

import numpy as np
import pytest

from cmt_cli.core.result import ScoreMatrix
from cmt_cli.evaluation.sequence_metrics import FORMULAS, retention_curve, sequence_metrics

ROWS = (
    (0.1, 0.2, 0.0),  # before the first task
    (0.8, 0.3, 0.1),
    (0.6, 0.7, 0.2),
    (0.4, 0.75, 0.9),
)


def matrix(rows=ROWS, learned_at=(0, 1, 2)) -> ScoreMatrix:
    return ScoreMatrix("em", tuple(f"task-{i}" for i in range(len(learned_at))), learned_at, tuple(map(tuple, rows)))


def values(scores: ScoreMatrix, **references: object) -> dict[str, float | None]:
    return {name: metric.value for name, metric in sequence_metrics(scores, **references).items()}


def test_three_tasks_by_hand():
    assert values(matrix(), single_task=[0.9, 0.6, 0.8]) == {
        "aa": pytest.approx((0.4 + 0.75 + 0.9) / 3),
        "aia": pytest.approx((0.8 + (0.6 + 0.7) / 2 + (0.4 + 0.75 + 0.9) / 3) / 3),
        "fgt": pytest.approx(((0.8 - 0.4) + (0.7 - 0.75)) / 2),
        "fgt_all_rows": pytest.approx(((0.8 - 0.4) + (0.75 - 0.75)) / 2),
        "bwt": pytest.approx(((0.4 - 0.8) + (0.75 - 0.7)) / 2),
        "fwd_zero_shot": pytest.approx(((0.3 - 0.2) + (0.2 - 0.0)) / 2),
        "fwd_single_task": pytest.approx(((0.7 - 0.6) + (0.9 - 0.8)) / 2),
        "retention": pytest.approx(0.4 / 0.8),
    }


def test_every_metric_names_its_formula():
    metrics = sequence_metrics(matrix())
    assert {name: metric.formula for name, metric in metrics.items()} == FORMULAS


def test_the_retention_curve_follows_the_first_tasks_tests():
    assert retention_curve(matrix()) == pytest.approx([1.0, 0.6 / 0.8, 0.4 / 0.8])
    assert retention_curve(matrix(), task=1) == pytest.approx([1.0, 0.75 / 0.7])


def by_numpy(a: np.ndarray) -> dict[str, float]:
    """a [T + 1, T]."""
    t = a.shape[1]
    seen = np.tril(np.ones((t, t)))
    after = a[1:]
    masked = np.where(seen > 0, after, -np.inf)
    forgetting = masked[:-1].max(axis=0)[:-1] - after[-1, :-1]
    return {
        "aa": after[-1].mean(),
        "aia": ((after * seen).sum(axis=1) / np.arange(1, t + 1)).mean(),
        "fgt": forgetting.mean(),
        "fgt_all_rows": (masked.max(axis=0) - after[-1])[:-1].mean(),
        "bwt": (after[-1] - np.diag(after))[:-1].mean(),
        "fwd_zero_shot": (np.diag(a)[1:] - a[0, 1:]).mean(),
        "retention": after[-1, 0] / after[0, 0],
    }


@pytest.mark.parametrize("num_tasks", [2, 3, 7])
def test_an_independent_implementation_agrees(num_tasks):
    a = np.random.default_rng(num_tasks).uniform(0.05, 1.0, (num_tasks + 1, num_tasks))
    ours = values(matrix(a.tolist(), tuple(range(num_tasks))))
    for name, expected in by_numpy(a).items():
        assert ours[name] == pytest.approx(expected)


def test_several_tests_of_a_task_are_averaged_and_probes_left_out():
    rows = [(a, a, b, c, 0.123) for a, b, c in ROWS]
    assert values(matrix(rows, (0, 0, 1, 2, None))) == pytest.approx(values(matrix()), nan_ok=True)


def test_a_missing_cell_takes_only_the_metrics_that_need_it():
    lower = [[None if row <= task else ROWS[row][task] for task in range(3)] for row in range(4)]
    metrics = sequence_metrics(matrix(lower))
    expected = values(matrix()) | {"fwd_zero_shot": None}
    assert {name: metric.value for name, metric in metrics.items()} == pytest.approx(expected)
    assert metrics["fwd_zero_shot"].reason == "the tests of task 2 were not scored in row 1"
    assert metrics["fwd_single_task"].reason == "needs one reference run for each task"


def test_reasons_are_given_for_runs_that_have_no_answer_yet():
    unfinished = sequence_metrics(matrix(ROWS[:2]))
    assert unfinished["aa"].value is None
    assert unfinished["aa"].reason == "the run has not reached row 3 of 3"
    one_task = sequence_metrics(matrix([[0.1], [0.5]], (0,)))
    assert one_task["aa"].value == 0.5
    assert one_task["fgt"].reason == "needs at least two tasks"
    probes = sequence_metrics(matrix([[0.1], [0.5]], (None,)))
    assert probes["aa"].reason == "no test set belongs to a task"
    zero = sequence_metrics(matrix([[0.0, 0.0], [0.0, 0.1], [0.2, 0.3]], (0, 1)))
    assert zero["retention"].value is None
    assert zero["retention"].reason == "the score right after task 1 is 0"
    assert sequence_metrics(matrix(), single_task=[0.5, None, 0.5])["fwd_single_task"].reason is not None
