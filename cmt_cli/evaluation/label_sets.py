"""Which labels a question may be answered with, given what has been learned so far, and scores over all labels seen.

class-incremental   row r: the labels of the first max(r, own task + 1) tasks, so that a task which has not been
                    learned yet is queried with its labels among the choices
task-incremental    the labels of the question's own task (`TestSet.gives_task`)
otherwise           the example's own choices

A row's scores `<metric>_seen` are over the tests of all tasks learned so far, what class-incremental work reports after
each task. They are no mean of columns: all examples are scored together, against all labels seen. Test sets that tell
no labels, or whose questions name their task, do not enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.stream import Example, TestSet
from cmt_cli.evaluation.scorer import Pair, Scorer, Scores
from cmt_cli.evaluation.span_metrics import LabelSpace


def own_labels(test: TestSet) -> tuple[str, ...]:
    """Return the labels of the test set's task, none where the stream tells none; raise UserError for other tasks."""
    task, told = test.learned_at, test.labels_by_task
    if task is None or not told:
        return ()
    if task >= len(told):
        raise UserError(
            f"The test set '{test.name}' belongs to task {task + 1}, but its labels_by_task lists "
            f"{counted(len(told), 'task')}."
        )
    return told[task]


def labels_until(labels_by_task: Sequence[Sequence[str]], num_tasks: int) -> tuple[str, ...]:
    """Return the distinct labels of the first tasks, in their order."""
    return tuple(dict.fromkeys(label for labels in labels_by_task[:num_tasks] for label in labels))


def choices(test: TestSet, example: Example, row: int) -> tuple[str, ...]:
    """Return the choices of an example in a row of the score matrix, with the white space that its target begins with.

    Raises UserError where the target is none of its task's labels, which could never be chosen.
    """
    own = own_labels(test)
    if test.learned_at is None or not own:
        return example.choices
    target = example.target.strip()
    if target not in own:
        raise UserError(
            f"The target '{target}' of example '{example.id}' is none of the {counted(len(own), 'label')} of its task "
            f"in the test set '{test.name}': list every label of each task in labels_by_task."
        )
    labels = own if test.gives_task else labels_until(test.labels_by_task, max(row, test.learned_at + 1))
    space = example.target[: len(example.target) - len(example.target.lstrip())]
    return tuple(space + label for label in labels)


@dataclass(frozen=True, slots=True)
class ScoredTest:
    """A test set with its answers and their scores; without any where the row skips it."""

    test: TestSet
    scorer: Scorer
    pairs: list[Pair]
    scores: list[Scores]

    @property
    def is_of_labels(self) -> bool:
        """Return whether the test is about the labels seen so far."""
        test = self.test
        return bool(test.labels_by_task) and test.learned_at is not None and not test.gives_task


def seen_scores(scored: Sequence[ScoredTest], row: int) -> Scores:
    """Return `<metric>_seen` of each metric that the tests' scorers declare, None before the first task.

    Empty where no test is about the labels seen so far.
    """
    values: Scores = {}
    learned: dict[Scorer, list[ScoredTest]] = {}
    for part in scored:
        if part.is_of_labels:
            values |= dict.fromkeys(_names(part.scorer))
            if part.pairs and part.test.learned_at in range(row):
                learned.setdefault(part.scorer, []).append(part)
    for scorer, parts in learned.items():
        told = parts[0].test.labels_by_task
        labels = LabelSpace.of(labels_until(told, row), labels_until(told, len(told)))
        pairs = scorer.joined([part.test for part in parts], [pair for part in parts for pair in part.pairs])
        total = scorer.total(pairs, [scorer.score(*pair) for pair in pairs], labels)
        values |= {name: total[metric] for name, metric in zip(_names(scorer), scorer.metrics, strict=True)}
    return values


def _names(scorer: Scorer) -> list[str]:
    return [f"{metric}_seen" for metric in scorer.metrics]
