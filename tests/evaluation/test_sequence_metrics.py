"""Every metric on a 3 x 3 matrix by hand, and against an independent implementation on random matrices."""

from collections.abc import Sequence

import numpy as np
import pytest

from cmt_cli.core.result import ScoreMatrix, StepRow
from cmt_cli.evaluation.sequence_metrics import (
    FORMULAS,
    NO_BASELINE,
    Baseline,
    baseline,
    probe_drops,
    retention_curve,
    sequence_metrics,
)

Row = Sequence[float | None]
ROWS = (
    (0.1, 0.2, 0.0),  # before the first task
    (0.8, 0.3, 0.1),
    (0.6, 0.7, 0.2),
    (0.4, 0.75, 0.9),
)
SINGLE = Baseline((0.9, 0.6, 0.8))
JOINT = Baseline((0.85, 0.8, 0.95))
STEPS = (  # twice inside the second task, once inside the third
    StepRow(1, 2, (0.3, 0.5, None)),
    StepRow(1, 4, (0.5, 0.6, None)),
    StepRow(2, 2, (0.5, 0.2, 0.4)),
)


def matrix(rows: Sequence[Row] = ROWS, learned_at: Sequence[int | None] = (0, 1, 2)) -> ScoreMatrix:
    tests = tuple(f"task-{i}" for i in range(len(learned_at)))
    return ScoreMatrix("em", tests, tuple(learned_at), tuple(map(tuple, rows)))


def values(
    scores: ScoreMatrix,
    single_task: Baseline = NO_BASELINE,
    joint: Baseline = NO_BASELINE,
    steps: Sequence[StepRow] = (),
) -> dict[str, float | None]:
    metrics = sequence_metrics(scores, single_task=single_task, joint=joint, steps=steps)
    return {name: metric.value for name, metric in metrics.items()}


def test_three_tasks_by_hand() -> None:
    assert values(matrix(), single_task=SINGLE, joint=JOINT, steps=STEPS) == {
        "aa": pytest.approx((0.4 + 0.75 + 0.9) / 3),
        "aia": pytest.approx((0.8 + (0.6 + 0.7) / 2 + (0.4 + 0.75 + 0.9) / 3) / 3),
        "fgt": pytest.approx(((0.8 - 0.4) + (0.7 - 0.75)) / 2),
        "fgt_all_rows": pytest.approx(((0.8 - 0.4) + (0.75 - 0.75)) / 2),
        "bwt": pytest.approx(((0.4 - 0.8) + (0.75 - 0.7)) / 2),
        "fwd_zero_shot": pytest.approx(((0.3 - 0.2) + (0.2 - 0.0)) / 2),
        "fwd_single_task": pytest.approx(((0.7 - 0.6) + (0.9 - 0.8)) / 2),
        "intransigence": pytest.approx(((0.85 - 0.8) + (0.8 - 0.7) + (0.95 - 0.9)) / 3),
        "relative_gain": pytest.approx((0.4 / 0.9 + 0.75 / 0.6) / 2),
        "retention": pytest.approx(0.4 / 0.8),
        "min_acc": pytest.approx((0.3 + 0.2) / 2),
        "worst_case_accuracy": pytest.approx(0.9 / 3 + 2 / 3 * 0.25),
        "stability_gap": pytest.approx(((0.6 - 0.3) + ((0.4 - 0.4) + (0.7 - 0.2)) / 2) / 2),
    }


def test_every_metric_names_its_formula() -> None:
    metrics = sequence_metrics(matrix())
    assert {name: metric.formula for name, metric in metrics.items()} == FORMULAS


def test_the_retention_curve_follows_the_first_tasks_tests() -> None:
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
def test_an_independent_implementation_agrees(num_tasks: int) -> None:
    a = np.random.default_rng(num_tasks).uniform(0.05, 1.0, (num_tasks + 1, num_tasks))
    ours = values(matrix(a.tolist(), tuple(range(num_tasks))))
    for name, expected in by_numpy(a).items():
        assert ours[name] == pytest.approx(expected)


def test_a_tasks_tests_are_averaged_and_probes_left_out() -> None:
    rows = [(a, a, b, c, 0.123) for a, b, c in ROWS]
    assert values(matrix(rows, (0, 0, 1, 2, None))) == pytest.approx(values(matrix()), nan_ok=True)


def test_a_missing_cell_removes_only_metrics_needing_it() -> None:
    lower = [[None if row <= task else ROWS[row][task] for task in range(3)] for row in range(4)]
    metrics = sequence_metrics(matrix(lower))
    expected = values(matrix()) | {"fwd_zero_shot": None}
    assert {name: metric.value for name, metric in metrics.items()} == pytest.approx(expected)
    assert metrics["fwd_zero_shot"].reason == "the tests of task 2 were not scored in row 1"
    assert metrics["fwd_single_task"].reason == "needs a baseline run"
    reason = metrics["min_acc"].reason
    assert reason is not None and reason.endswith("evaluator.every_steps=n does so every n steps")


def test_metrics_without_a_value_give_a_reason() -> None:
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
    partly = sequence_metrics(matrix(), single_task=Baseline((0.5, None, 0.5), "the run s has no score"))
    assert partly["fwd_single_task"].reason == "the run s has no score of task 2 right after it"


def test_a_relative_gain_over_nothing_is_no_number() -> None:
    metrics = sequence_metrics(matrix(), single_task=Baseline((0.5, 0.0, 0.5)))
    assert metrics["relative_gain"].value is None
    assert metrics["relative_gain"].reason == "the single-task score of task 2 is 0"
    assert metrics["fwd_single_task"].value == pytest.approx(((0.7 - 0.0) + (0.9 - 0.5)) / 2)


def test_a_reference_is_the_diagonal_of_its_own_matrix() -> None:
    assert baseline(matrix(), "joint-toy").scores == (0.8, 0.7, 0.9)
    only_last = [(None,) * 3] * 3 + [ROWS[3]]
    assert baseline(matrix(only_last), "joint-toy") == Baseline(
        (None, None, 0.9), "the baseline run joint-toy has no score"
    )
    itself = sequence_metrics(matrix(), single_task=baseline(matrix(), "it"), joint=baseline(matrix(), "it"))
    assert itself["fwd_single_task"].value == itself["intransigence"].value == 0
    other = sequence_metrics(matrix(), joint=Baseline((0.5, 0.5)))
    assert other["intransigence"].reason == "needs 3 baseline scores, not 2"


def test_a_stream_can_declare_a_metric_undefined() -> None:
    metric = sequence_metrics(matrix(), undefined={"fwd_zero_shot": "new labels"})["fwd_zero_shot"]
    assert (metric.value, metric.reason, metric.formula) == (None, "new labels", FORMULAS["fwd_zero_shot"])


def test_tasks_not_evaluated_during_learning_have_no_worst_case() -> None:
    metrics = sequence_metrics(matrix(), steps=STEPS[:2])
    for name in ("min_acc", "worst_case_accuracy", "stability_gap"):
        assert metrics[name].reason == "no test was evaluated inside task 3: it has no gradient steps, or too few"
    unscored = sequence_metrics(matrix(), steps=(*STEPS[:2], StepRow(2, 2, (0.5, None, 0.4))))
    assert unscored["min_acc"].reason == "the tests of task 2 were not scored inside task 3 after step 2"


def test_the_stability_gap_is_what_recovers_inside_a_task() -> None:
    monotone = [StepRow(1, 1, (0.7, 0.4, None)), StepRow(2, 1, (0.5, 0.72, 0.3))]  # between both ends of each task
    assert values(matrix(), steps=monotone)["stability_gap"] == 0
    assert values(matrix(), steps=monotone)["min_acc"] == pytest.approx((0.4 + 0.72) / 2)


def test_general_probes_have_a_drop_each_and_a_mean() -> None:
    rows: list[Row] = [(a, b, c, 0.9 - i / 10, 0.5) for i, (a, b, c) in enumerate(ROWS)]
    drops = probe_drops(matrix(rows, (0, 1, 2, None, None)))
    assert {name: drop.value for name, drop in drops.items()} == {
        "probe_drop": pytest.approx((0.3 + 0.0) / 2),
        "probe_drop[task-3]": pytest.approx(0.3),
        "probe_drop[task-4]": pytest.approx(0.0),
    }
    assert probe_drops(matrix())["probe_drop"].reason == "the stream has no general probe, a test without a task"
    unfinished = probe_drops(matrix(rows[:2], (0, 1, 2, None, None)))
    assert unfinished["probe_drop"].reason == "the run has not reached row 3 of 3"
    rows[0] = (*rows[0][:3], None, 0.5)
    assert probe_drops(matrix(rows, (0, 1, 2, None, None)))["probe_drop"].reason == (
        "the probe task-3 was not scored in row 0"
    )
