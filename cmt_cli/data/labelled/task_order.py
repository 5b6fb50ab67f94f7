"""Which tasks a user's own rows become, in which order: named tasks, or groups of labels."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.data.labelled.items import check_order, label_groups

SHOWN_NAMES = 30  # in a message
_QUOTE = " A yaml file reads no, yes, 010 and 12:30 as false, true, 8 and 750: put such names in quotation marks."


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOrder:
    """Which tasks there are, in which order.

    `order` holds names of tasks, or labels, or lists of labels; None takes all as they occur, shuffled by `order_seed`.
    Labels that `order` does not group make `num_tasks` groups, of `labels_per_task` each where that is given.
    """

    order: Sequence[Any] | None
    order_seed: int | None
    num_tasks: int
    labels_per_task: int | None

    def __post_init__(self) -> None:
        """Refuse an order that is to be shuffled, and one that mixes names and lists."""
        if self.order is not None and self.order_seed is not None:
            raise UserError("data.order says the order, so data.order_seed must be null.")
        if self.order is not None and len({isinstance(entry, str | int | float | None) for entry in self.order}) > 1:
            raise UserError(f"data.order={self.order} mixes single labels and lists of labels; give one or the other.")

    def note_of_tasks(self, number: int) -> str:
        """Return what a reader should know where a column or the files tell `number` tasks, "" if nothing.

        Raises UserError for labels per task, which such tasks cannot be given.
        """
        if self.labels_per_task is not None:
            raise UserError(
                f"data.labels_per_task={self.labels_per_task} divides labels into tasks, but here a column or the "
                "files tell tasks apart. Leave it out, or set data.tasks=labels."
            )
        if self.num_tasks == number:
            return ""
        return f"data.num_tasks={self.num_tasks} has no effect: a column or the files tell tasks apart"

    def groups(self, labels: Sequence[str]) -> list[list[str]]:
        """Return the labels of each task; raise UserError for one that is not among `labels`, or is there twice."""
        if self.order is None or not any(
            isinstance(entry, Sequence) and not isinstance(entry, str) for entry in self.order
        ):
            named = None if self.order is None else _known(self.order, labels, "label")
            return label_groups(
                labels if named is None else named,
                num_tasks=self.num_tasks,
                labels_per_task=self.labels_per_task,
                seed=self.order_seed,
            )
        groups = [[word_of(label, labels) for label in group] for group in self.order]
        _known([label for group in groups for label in group], labels, "label")
        if empty := [index for index, group in enumerate(groups) if not group]:
            raise UserError(f"data.order gives task {empty[0]} no labels.")
        return groups

    def names(self, tasks: Sequence[str]) -> list[str]:
        """Return the names of tasks in order; raise UserError for one that is not among `tasks`, or is there twice."""
        if self.order is not None:
            return _known(self.order, tasks, "task")
        names = list(tasks)
        if self.order_seed is not None:
            random.Random(self.order_seed).shuffle(names)
        return names


def _known(names: Sequence[object], present: Sequence[str], kind: str) -> list[str]:
    found = [word_of(name, present) for name in names]
    check_order(found, kind)
    for name in found:
        if name not in present:
            raise UserError(
                f"data.order names the {kind} '{name}', which has no training rows.{nearest(name, present)} There are "
                f"{', '.join(present[:SHOWN_NAMES])}{', ...' if len(present) > SHOWN_NAMES else ''}."
                f"{_QUOTE if not all(isinstance(name, str) for name in names) else ''}"
            )
    return found


def word_of(given: object, present: Sequence[str]) -> str:
    """Return the name that a value stands for.

    true, false and null are the names of that spelling, a number is the one name that spells it (1e-5, 1.50), if there
    are such.
    """
    if given is None or isinstance(given, bool):
        word = "null" if given is None else str(given).lower()
        return next((name for name in present if name.lower() == word), word)
    if isinstance(given, int | float) and str(given) not in present:
        spellings = [name for name in present if _number(name) == given]
        return spellings[0] if len(spellings) == 1 else str(given)
    return str(given)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
