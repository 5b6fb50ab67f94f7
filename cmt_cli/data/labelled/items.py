"""Items of labelled corpora as readers return them, and the split policy: no item is in two splits.

An item is one example before a template is applied. Items of a split are checked against those of the splits that it
will be judged by: a text that is trained on may not be evaluated on. Where a data set has no validation split, or ships
the same rows as validation and test (O-LoRA's benchmark and its descendants do), one is carved from the training rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.setting_checks import one_of

SPLITS = ("train", "validation", "test")
OVERLAPS = ("drop", "error", "keep")


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled example as read.

    `fields` fill the prompt template; `references` are the accepted answers, the first is learned. `labels` are what
    label-wise divisions go by: a class, a relation, the entity types of a sentence. `task` is the data set, domain or
    language pair that the item belongs to. `choices` are an item's own, among which a multiple choice is answered.
    """

    id: str
    task: str
    fields: Mapping[str, str]
    references: tuple[str, ...]
    labels: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def content(self) -> tuple[tuple[str, str], ...]:
        """Return what two items of equal content share: the task and all fields, without regard to case or spaces."""
        return (("", self.task), *self.text)

    @property
    def text(self) -> tuple[tuple[str, str], ...]:
        """Return all fields, without regard to case or spaces: what is read where the task is not shown."""
        return tuple((key, " ".join(text.lower().split())) for key, text in sorted(self.fields.items()))


Splits = dict[str, list[Item]]  # by SPLITS
Question = Callable[[Item], object]  # returns what two items that ask the same share


@dataclass(frozen=True, slots=True)
class LabelledCorpus:
    """The items of each split, the files they were read from, and what a reader of a result should know of them.

    `tasks_are_groups` says that a task is only a grouping and shows in no prompt, so that equal texts of two tasks are
    one question; without it they are two, since a template may ask for another thing in each task.
    """

    splits: Splits
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    tasks_are_groups: bool = False

    def question(self, item: Item) -> object:
        """Return what two items that ask the same share."""
        return item.text if self.tasks_are_groups else item.content


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitPolicy:
    """What is done so that no split holds items that another is judged by.

    `validation_share` of a task's training items is carved off where it has no validation items of its own, or those of
    its test; `overlap` says what happens to a training or validation item that a later split is evaluated on: "drop" it
    (counted), refuse with an "error", or "keep" it (counted). `seed` draws the carved items.
    """

    validation_share: float
    overlap: str
    seed: int

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        one_of(self.overlap, OVERLAPS, "data.split_policy.overlap")
        if not 0 < self.validation_share < 1:
            raise UserError(
                f"data.split_policy.validation_share={self.validation_share} must lie between 0 and 1: settings are "
                "chosen on this share of the training rows, never on test rows."
            )

    def applied(self, corpus: LabelledCorpus) -> LabelledCorpus:
        """Return the corpus with validation items for every task and no item in two splits; notes say what was done."""
        splits, notes = {name: list(corpus.splits.get(name, ())) for name in SPLITS}, list(corpus.notes)
        copied = _copied_tasks(splits["validation"], splits["test"])
        if copied:
            notes.append(f"validation rows of {', '.join(copied)} not used, since they are the test rows")
            splits["validation"] = [item for item in splits["validation"] if item.task not in copied]
        splits["train"], repeated = _without_repeats(splits["train"])
        if repeated:
            notes.append(f"{counted(repeated, 'repeated training row')} left out")
        ask = corpus.question
        splits["validation"], shared = self._apart(splits["validation"], splits["test"], ask, "validation", "test")
        notes += shared
        evaluated = [*splits["validation"], *splits["test"]]
        splits["train"], shared = self._apart(splits["train"], evaluated, ask, "training", "validation or test")
        notes += shared
        present = {item.task for item in splits["validation"]}
        carved = self._carved([item for item in splits["train"] if item.task not in present], ask)
        if carved:
            now_validation = {ask(item) for item in carved}
            splits["train"] = [item for item in splits["train"] if ask(item) not in now_validation]
            splits["validation"] += carved
            notes.append(f"{counted(len(carved), 'validation row')} carved from training")
        return replace(corpus, splits=splits, notes=tuple(notes))

    def _apart(
        self, items: Sequence[Item], later: Iterable[Item], ask: Question, name: str, later_name: str
    ) -> tuple[list[Item], list[str]]:
        known = {ask(item) for item in later}
        shared = [item for item in items if ask(item) in known]
        if not shared:
            return list(items), []
        rows = counted(len(shared), f"{name} row")
        also = f"is also a {later_name} row" if len(shared) == 1 else f"are also {later_name} rows"
        if self.overlap == "error":
            raise UserError(
                f"{rows} {also}, the first is '{shared[0].id}'. Mend the files, "
                "or set data.split_policy.overlap=drop, which leaves them out and says so."
            )
        if self.overlap == "keep":
            return list(items), [f"{rows} {also}"]
        kept = [item for item in items if ask(item) not in known]
        return kept, [f"{rows} left out that {also}"]

    def _carved(self, items: Sequence[Item], ask: Question) -> list[Item]:
        """Return the same share of every task's and label's items; items that ask the same stay together."""
        groups: dict[tuple[str, ...], list[Item]] = {}
        for item in items:
            groups.setdefault((item.task, *item.labels), []).append(item)
        rng, carved = random.Random(self.seed), list[Item]()
        for members in groups.values():
            number = min(int(len(members) * self.validation_share + rng.random()), len(members) - 1)
            carved += rng.sample(members, number)
        if not carved and len(items) > 1:
            carved = [rng.choice(items)]
        questions = {ask(item) for item in carved}
        return [item for item in items if ask(item) in questions]


def _without_repeats(items: Sequence[Item]) -> tuple[list[Item], int]:
    seen = {(item.content, item.references): item for item in reversed(items)}
    kept = [item for item in items if seen[item.content, item.references] is item]
    return kept, len(items) - len(kept)


def _copied_tasks(first: Sequence[Item], second: Sequence[Item]) -> list[str]:
    """Return the tasks whose items have the same contents in both splits."""
    found: tuple[dict[str, set[object]], dict[str, set[object]]] = ({}, {})
    for items, by_name in zip((first, second), found, strict=True):
        for item in items:
            by_name.setdefault(item.task, set()).add(item.content)
    return [task for task, contents in found[0].items() if contents == found[1].get(task)]


def labels_of(items: Iterable[Item]) -> list[str]:
    """Return the first labels of items, each once, in the order in which they occur."""
    return list(dict.fromkeys(item.labels[0] for item in items))


def check_order(order: Sequence[str], kind: str) -> None:
    """Raise UserError for an order that names nothing, or something twice; `kind` is what it names."""
    if not order or len(set(order)) < len(order):
        raise UserError(f"data.order=[{','.join(order)}] must name at least one {kind}, and none twice.")


def by_task(splits: Splits, order: Sequence[str]) -> list[tuple[str, Splits]]:
    """Divide a corpus by the items' tasks, in this order; raise UserError for one that has no training items."""
    check_order(order, "task")
    present = {item.task for item in splits["train"]}
    if missing := [name for name in order if name not in present]:
        raise UserError(
            f"data.order names {', '.join(missing)}, of which the files have no training rows. To run what is there, "
            f"set data.order=[{','.join(name for name in order if name in present) or ','.join(sorted(present))}]."
        )
    return [
        (task, {name: [item for item in items if item.task == task] for name, items in splits.items()})
        for task in order
    ]


def by_label(splits: Splits, groups: Sequence[Sequence[str]]) -> list[tuple[str, Splits]]:
    """Divide a corpus of one label per item into tasks of several labels each."""
    return [
        (
            f"labels_{index:02d}",
            {name: [item for item in items if item.labels[0] in group] for name, items in splits.items()},
        )
        for index, group in enumerate(map(frozenset, groups))
    ]


def label_groups(
    labels: Iterable[str], *, num_tasks: int, labels_per_task: int | None, seed: int | None
) -> list[list[str]]:
    """Return labels in groups of `labels_per_task`, or in `num_tasks` groups of sizes that differ by at most one.

    `seed` shuffles them first; None keeps their order. With both numbers, labels beyond them are left out. Raises
    UserError where there are too few.
    """
    names = list(dict.fromkeys(labels))
    if seed is not None:
        random.Random(seed).shuffle(names)
    wanted = num_tasks if labels_per_task is None else num_tasks * labels_per_task
    if num_tasks < 1 or wanted > len(names):
        each = "" if labels_per_task is None else f" of {counted(labels_per_task, 'label')}"
        most = len(names) // (labels_per_task or 1)
        give = "give 1" if most == 1 else f"give 1 to {most}" if most else "there are too few labels"
        raise UserError(f"data.num_tasks={num_tasks}{each} does not fit {counted(len(names), 'label')}; {give}.")
    names = names if labels_per_task is None else names[:wanted]
    bounds = [len(names) * index // num_tasks for index in range(num_tasks + 1)]
    return [names[bounds[i] : bounds[i + 1]] for i in range(num_tasks)]
