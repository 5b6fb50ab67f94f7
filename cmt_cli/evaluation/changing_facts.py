"""Scores of questions about facts that editions of a source state again, by what became of the fact in its edition.

    current_accuracy    of changed facts: the share of answers that are right as of the question's edition
    unchanged_accuracy  the same of facts that the edition states again with their former value
    stale_rate          of changed and gone facts: the share of answers that were right in an earlier edition and are no
                        longer
    false_update_rate   of unchanged facts whose question was answered right just before its edition was learned: the
                        share that is answered wrongly after. None in rows before that, and where that row was not
                        evaluated (`evaluator.rows`)

Answers are compared as exact match compares them. A test set without such facts, as the first edition's, has no score
and does not enter means. The age of a score is the number of editions learned since the test's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from cmt_cli.core.result import Metric, ScoreMatrix
from cmt_cli.core.stream import Answer, Example, TestSet
from cmt_cli.evaluation.answer_metrics import exact_match
from cmt_cli.evaluation.scorer import Scores, references_of

if TYPE_CHECKING:
    from cmt_cli.evaluation.evaluator import TestScore

FALSE_UPDATES = "false_update_rate"
CHANGE_SCORES = ("current_accuracy", "unchanged_accuracy", "stale_rate", FALSE_UPDATES)
_MEAN = "mean over the tests that have such facts, last row"
_AGED = "mean over such tests {age} edition{s} after their own"


def about_change(example: Example, answer: Answer) -> Scores:
    """Return the scores of one answer that need no other row; nothing for a question without a `change`."""
    if not example.change:
        return {}
    right = exact_match(answer.text, references_of(example))
    was_right = exact_match(answer.text, example.earlier) if example.earlier else 0.0
    can_be_stale = example.change in ("changed", "gone")
    return {
        "current_accuracy": right if example.change == "changed" else None,
        "unchanged_accuracy": right if example.change == "unchanged" else None,
        "stale_rate": was_right * (1 - right) if can_be_stale else None,
        FALSE_UPDATES: None,
    }


def with_false_updates(
    scored: Sequence[TestScore],
    tests: Sequence[TestSet],
    row: int,
    predictions: Callable[[int], Iterable[Mapping[str, Any]]],
) -> list[TestScore]:
    """Return a row's scores with `false_update_rate`, by the `predictions` of each test's row before its task."""
    learned_at = {test.name: test.learned_at for test in tests}
    rows: dict[int, dict[tuple[str, str], float | None]] = {}
    found = []
    for score in scored:
        task = learned_at.get(score.test)
        if task is None or task >= row or FALSE_UPDATES not in score.scores:
            found.append(score)
            continue
        if task not in rows:
            rows[task] = {(p["test"], p["id"]): p["scores"].get("unchanged_accuracy") for p in predictions(task)}
        found.append(_compared(score, rows[task]))
    return found


def _compared(score: TestScore, before: Mapping[tuple[str, str], float | None]) -> TestScore:
    records, rates = [], []
    for record in score.predictions:
        if before.get((score.test, record["id"])) == 1:
            rates.append(1 - record["scores"]["unchanged_accuracy"])
            record = {**record, "scores": {**record["scores"], FALSE_UPDATES: rates[-1]}}
        records.append(record)
    rate = fmean(rates) if rates else None
    return replace(score, scores={**score.scores, FALSE_UPDATES: rate}, predictions=records)


def change_metrics(matrix: ScoreMatrix) -> dict[str, Metric]:
    """Return `aa`, the mean over the last row, and `age_0`, `age_1` and so on of one of the scores' matrices."""
    ages = by_age(matrix)
    last = [value for value in (matrix.rows[-1] if matrix.rows else ()) if value is not None]
    found = {"aa": _metric(last, _MEAN)}
    return found | {
        f"age_{age}": _metric(values, _AGED.format(age=age, s="" if age == 1 else "s")) for age, values in ages.items()
    }


def by_age(matrix: ScoreMatrix) -> dict[int, list[float]]:
    """Return the scores of a matrix by age, of the tests that have any; an age that none has reached is absent."""
    found: dict[int, list[float]] = {}
    for i, row in enumerate(matrix.rows):
        for value, task in zip(row, matrix.learned_at, strict=True):
            if value is not None and task is not None and i > task:
                found.setdefault(i - task - 1, []).append(value)
    return dict(sorted(found.items()))


def _metric(values: Sequence[float], formula: str) -> Metric:
    return Metric(fmean(values), formula) if values else Metric(None, formula, "no test has such a fact")
