"""Holds test rows out of files that name no splits, and orders tasks of which files may lack some."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.setting_checks import one_of
from cmt_cli.data.labelled.items import Splits, by_task, check_order

MISSING = ("error", "skip")


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """The share of rows, between 0 and 1, that becomes the test split where the files have none, drawn by `seed`."""

    share: float
    seed: int

    def __post_init__(self) -> None:
        """Refuse a share that leaves no training or no test rows."""
        if not 0 < self.share < 1:
            raise UserError(f"data.held_out.share={self.share} must lie between 0 and 1.")

    def drawn(self, name: str, number: int) -> frozenset[int]:
        """Return the positions of `number` rows that are tested; they depend on (seed, name, number) alone."""
        if number < 2:
            return frozenset()
        size = min(max(1, round(number * self.share)), number - 1)
        return frozenset(random.Random(f"{self.seed}/{name}").sample(range(number), size))


def in_order(splits: Splits, order: Sequence[str], missing_tasks: str) -> tuple[list[tuple[str, Splits]], str]:
    """Divide a corpus into the tasks of `order`; return them and a note of those that were left out.

    A task without training rows is an "error", or left out with "skip". Raises UserError for it, for a task that is
    named twice and where none is left.
    """
    check_order(order, "task")
    present = {item.task for item in splits["train"]}
    absent = [name for name in order if name not in present]
    kept = [name for name in order if name in present]
    if absent and (one_of(missing_tasks, MISSING, "data.missing_tasks") == "error" or not kept):
        there = ", ".join(sorted(present)) or "none"
        raise UserError(
            f"The files have no training rows of {len(absent)} of {counted(len(order), 'task')}: {', '.join(absent)}. "
            f"There are: {there}. Add the files, name other tasks in the order, or leave these out with "
            "missing_tasks=skip (`cmt data check` shows the place of both settings)."
        )
    note = f"{counted(len(absent), 'task')} without training rows left out: {', '.join(absent)}" if absent else ""
    return by_task(splits, kept), note
