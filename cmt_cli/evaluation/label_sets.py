"""Which labels a question may be answered with, given what has been learned so far.

class-incremental   row r: the labels of the first max(r, own task + 1) tasks, so that a task which has not been
                    learned yet is asked about with its labels among the choices
task-incremental    the labels of the question's own task (`TestSet.gives_task`)
otherwise           the example's own choices
"""

from __future__ import annotations

from collections.abc import Sequence

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.stream import Example, TestSet


def own_labels(test: TestSet) -> tuple[str, ...]:
    """Return the labels of the test set's task, none where the stream tells none; raise UserError for other tasks."""
    task, told = test.learned_at, test.labels_by_task
    if task is None or not told:
        return ()
    if task >= len(told):
        raise UserError(
            f"The test set '{test.name}' belongs to task {task + 1}, but its labels_by_task lists {len(told)} tasks."
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
            f"The target '{target}' of example '{example.id}' is none of the {len(own)} labels of its task in the test "
            f"set '{test.name}': list every label of each task in labels_by_task."
        )
    labels = own if test.gives_task else labels_until(test.labels_by_task, max(row, test.learned_at + 1))
    space = example.target[: len(example.target) - len(example.target.lstrip())]
    return tuple(space + label for label in labels)
