"""Scores of facts that change: who is right, who is late, and who changes what did not."""

from __future__ import annotations

from typing import Any

import pytest

from cmt_cli.core.result import ScoreMatrix
from cmt_cli.core.stream import Answer, Change, Example, TestSet
from cmt_cli.evaluation.changing_facts import about_change, by_age, change_metrics, with_false_updates
from cmt_cli.evaluation.evaluator import TestScore
from cmt_cli.evaluation.sequence_curves import curves
from tests.evaluation.predictors import TablePredictor, evaluate


def asked(name: str, change: Change, answer: str, *earlier: str) -> Example:
    return Example(name, f"{name}?", f" {answer}", (answer,), change=change, earlier=earlier)


@pytest.mark.parametrize(
    ("change", "text", "current", "unchanged", "stale"),
    [
        ("changed", "the Bo Lee", 1, None, 0),
        ("changed", "ANN ROE", 0, None, 1),
        ("changed", "Cy Dee", 0, None, 0),
        ("gone", "Ann Roe", None, None, 1),
        ("unchanged", "Bo Lee", None, 1, None),
        ("unchanged", "Ann Roe", None, 0, None),
        ("new", "Bo Lee", None, None, None),
    ],
)
def test_an_answer_is_right_late_or_neither(
    change: Change, text: str, current: float | None, unchanged: float | None, stale: float | None
) -> None:
    scores = about_change(asked("q", change, "Bo Lee", "Ann Roe"), Answer(text))
    assert (scores["current_accuracy"], scores["unchanged_accuracy"], scores["stale_rate"]) == (
        current,
        unchanged,
        stale,
    )


def test_other_questions_have_no_such_scores() -> None:
    (score,) = evaluate(TablePredictor({"q": "x"}), [TestSet("t", [Example("q", "q", " x")], "em", 0)])
    assert "stale_rate" not in score.scores and "change" not in score.predictions[0]


TESTS = [
    TestSet("first", [asked("a", "new", "1"), asked("b", "new", "2")], "em", 0),
    TestSet(
        "second",
        [
            asked("c", "unchanged", "1"),
            asked("d", "unchanged", "2"),
            asked("e", "unchanged", "3"),
            asked("f", "changed", "5", "4"),
        ],
        "em",
        1,
    ),
]
ANSWERS = {"a?": "1", "b?": "2", "c?": "1", "d?": "2", "e?": "9", "f?": "4"}


def rows(*said: dict[str, str]) -> list[list[TestScore]]:
    """Return the scores of rows that follow each other, each with the answers so far but for those that it changes."""
    answers = dict(ANSWERS)
    found: list[list[TestScore]] = []
    for row, changed in enumerate(said):
        answers |= changed
        scored = evaluate(TablePredictor(answers), TESTS, row=row)
        found.append(with_false_updates(scored, TESTS, row, lambda i: _records(found[i])))
    return found


def _records(scores: list[TestScore]) -> list[dict[str, Any]]:
    return [record for score in scores for record in score.predictions]


def test_a_false_update_spoils_what_was_right_before() -> None:
    # Right in row 1, before the second task: c and d. Row 2 spoils d; e was wrong before, f is no unchanged fact.
    *_, row_1, row_2 = rows({}, {}, {"d?": "8", "e?": "3", "f?": "5"})
    assert row_1[1].scores["false_update_rate"] is None
    assert row_2[1].scores["false_update_rate"] == 0.5
    assert {r["id"]: r["scores"]["false_update_rate"] for r in row_2[1].predictions} == {
        "c": 0,
        "d": 1,
        "e": None,
        "f": None,
    }
    assert row_2[1].scores["current_accuracy"] == 1 and row_2[1].scores["unchanged_accuracy"] == pytest.approx(2 / 3)
    assert row_1[1].scores["stale_rate"] == 1


def test_a_first_edition_has_no_rates() -> None:
    last = rows({}, {})[-1][0]
    assert last.scores["em"] == 1
    assert [last.scores[name] for name in ("current_accuracy", "stale_rate", "false_update_rate")] == [None] * 3


MATRIX = ScoreMatrix(
    "stale_rate",
    ("a", "b", "c"),
    (0, 1, 2),
    ((None, 0.9, 0.9), (None, 0.8, 0.9), (None, 0.4, 0.7), (None, 0.2, 0.6)),
)


def test_ages_are_counted_from_a_tests_own_edition() -> None:
    # Age 0: b after 2 tasks 0.4, c after 3 tasks 0.6. Age 1: b after 3 tasks 0.2.
    assert by_age(MATRIX) == {0: [0.4, 0.6], 1: [0.2]}
    metrics = {name: metric.value for name, metric in change_metrics(MATRIX).items()}
    assert metrics == {"aa": pytest.approx(0.4), "age_0": 0.5, "age_1": 0.2}


def test_curves_leave_out_a_task_without_the_score() -> None:
    found = curves(MATRIX)
    assert found["by_age"] == [(0, 0.5), (1, 0.2), (2, None)]
    assert found["so_far"] == [(1, None), (2, 0.4), (3, pytest.approx(0.4))]


def test_a_score_that_nothing_has_says_why() -> None:
    nothing = ScoreMatrix("stale_rate", ("a",), (0,), ((None,), (None,)))
    found = change_metrics(nothing)
    assert set(found) == {"aa"} and found["aa"].value is None and found["aa"].reason
