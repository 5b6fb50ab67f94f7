"""Which metric of a task becomes its column's score, and the harness's results as scores and predictions of a run.

Metrics have the harness's names, `metric` or, of a filter, `metric,filter`. A column's score must be a fraction that is
better where it is larger, as everything about a score matrix assumes; the other metrics are kept as the harness gives
them, whatever their direction. For texts (perplexity tasks) the harness has no such metric, and the column is
`byte_probability` = 2^-bits_per_byte, the geometric mean of the probabilities of the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.evaluation.evaluator import TestScore
from cmt_cli.evaluation.scorer import Scores
from cmt_cli.probes.harness_model import question_id

BYTE_PROBABILITY, BITS_PER_BYTE = "byte_probability", "bits_per_byte"
# Of the harness's own metrics those that are better where they are larger and yet no fractions.
_NO_FRACTION = frozenset({"bleu", "chrf", "chrf++", "ter", "mcc", "likelihood", "bypass", BITS_PER_BYTE})


@dataclass(frozen=True, slots=True)
class Column:
    """A task of the harness, or a group with a score of its own; `tasks` are the names of the tasks that it is made of.

    `metrics` says of each metric that it gives, in the task's order, whether it is better where it is larger.
    """

    name: str
    tasks: tuple[str, ...]
    metrics: Mapping[str, bool]

    def chosen(self, wanted: str | None) -> str:
        """Return the metric that is the column's score; raise UserError where there is none, or not this one."""
        fractions = [name for name, is_better in self.metrics.items() if is_better and _is_fraction(name)]
        if BITS_PER_BYTE in self.metrics:
            fractions.append(BYTE_PROBABILITY)
        if wanted is None and fractions:
            return fractions[0]
        named = [name for name in fractions if wanted in (name, name.partition(",")[0])]
        if named:
            return named[0]
        allowed = f"has {', '.join(fractions)}" if fractions else "has none"
        if wanted is None or wanted in {name.partition(",")[0] for name in self.metrics}:
            what = f"its metrics are {', '.join(self.metrics)}" if wanted is None else f"'{wanted}' is not one"
            raise UserError(
                f"The column of the probe '{self.name}' needs a fraction that is better where it is larger, and "
                f"{what}. It {allowed}. Choose another one with probes.metric, or leave the task out."
            )
        raise UserError(
            f"probes.metric={wanted}: the probe '{self.name}' {allowed}.{nearest(wanted, fractions)} Name a metric for "
            f"each task: 'probes.metric={{{self.name}: NAME}}'."
        )


def metrics_of(better: Mapping[str, bool | None], filters: Iterable[str]) -> dict[str, bool]:
    """Return the metrics of a task under their names here; `better` says which are better where they are larger."""
    names = list(filters)
    return {metric_name(metric, own): bool(is_better) for metric, is_better in better.items() for own in names}


def metric_name(metric: str, own_filter: str) -> str:
    """Return the name of a metric of a filter."""
    return metric if own_filter == "none" else f"{metric},{own_filter}"


def column_score(column: Column, metric: str, results: Mapping[str, Any], samples: Mapping[str, Any]) -> TestScore:
    """Return a column's scores and the predictions of its tasks.

    Raises UserError where the value of the column's metric is no fraction.
    """
    found: Scores = {}
    for key, value in results.items():
        name, _, own_filter = key.partition(",")
        if own_filter and not name.endswith("_stderr"):
            found[metric_name(name, own_filter)] = _number(value)
    if (bits := results.get(f"{BITS_PER_BYTE},none")) is not None:
        found[BYTE_PROBABILITY] = _number(2.0 ** -float(bits))  # 0 for a text that is impossible
    score = found.get(metric)
    if score is not None and not 0 <= score <= 1:
        raise UserError(
            f"The metric '{metric}' of the probe '{column.name}' is {score}, and the score of a column is a fraction "
            "between 0 and 1. Choose another one with probes.metric, or leave the task out."
        )
    predictions = [record for task in column.tasks for record in _records(column.name, task, samples.get(task, ()))]
    return TestScore(column.name, {metric: score, **found}, predictions)


def _is_fraction(name: str) -> bool:
    return name.partition(",")[0] not in _NO_FRACTION


def _number(value: Any) -> float | None:
    """Return a number as a float, None for what is none or not finite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None


def _records(column: str, task: str, samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one record for each question of a task; its scores are those of all filters."""
    found: dict[int, dict[str, Any]] = {}
    for sample in samples:
        own = {metric_name(name, sample["filter"]): sample.get(name) for name in sample["metrics"]}
        numbers = {name: number for name, value in own.items() if (number := _number(value)) is not None}
        record = found.setdefault(sample["doc_id"], _record(column, task, sample))
        record["scores"] |= numbers
    return [found[number] for number in sorted(found)]


def _record(column: str, task: str, sample: Mapping[str, Any]) -> dict[str, Any]:
    prompt, target, prediction = _texts(sample)
    return {
        "test": column,
        "id": question_id(task, sample["doc_id"]),
        "prompt": prompt,
        "target": target,
        "references": [target],
        "prediction": prediction,
        "scores": {},
        "documents": [],
    }


def _texts(sample: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return a question's prompt, target and answer: what was generated, or the likeliest of the choices."""
    arguments, answers, target = sample["arguments"], sample["filtered_resps"], sample["target"]
    first = arguments[0]
    if len(first) == 1:
        return "", str(first[0]), ""
    if isinstance(first[1], Mapping):
        answer = answers[0]
        return str(first[0]), str(target), answer if isinstance(answer, str) else " ".join(map(str, answer))
    # Choices differ in what follows the text, or, with one continuation, in the text itself.
    same_text = all(given[0] == first[0] for given in arguments)
    choices = [str(given[1] if same_text or given[0] == "" else given[0]).strip() for given in arguments]
    if len(arguments) == 1:
        return str(first[0]), choices[0], choices[0] if answers[0][1] else ""
    conditional = [i for i, given in enumerate(arguments) if given[0] != ""] or range(len(arguments))
    best = max(conditional, key=lambda i: answers[i][0])
    is_number = isinstance(target, int) and 0 <= target < len(choices)
    return str(first[0]), choices[target] if is_number else str(target), choices[best]
