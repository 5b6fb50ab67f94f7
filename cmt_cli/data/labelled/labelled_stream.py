"""Builds a stream of tasks and test sets from labelled items that are divided into tasks."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from cmt_cli.core.exceptions import UserError
from cmt_cli.core.setting_checks import one_of
from cmt_cli.core.stream import AnswerForm, Episodes, Example, Provenance, Stream, Task, TestSet
from cmt_cli.data.labelled.held_out import in_order
from cmt_cli.data.labelled.items import Item, LabelledCorpus, Splits, by_label, by_task, labels_of
from cmt_cli.data.labelled.templates import fields_in, filled

GENERATED_TOKENS = 32  # no answer of the generated world is longer, whatever data it stands in for, and all are lines

T = TypeVar("T")
Target = Callable[[Item, Sequence[str]], tuple[str, ...]]  # references of an item, given its task's labels


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much of each task is used, and which split it is evaluated on.

    `stream_split` "validation" evaluates on validation items in the place of test items, to choose settings: nothing of
    test is used then. Limits are per task and split, drawn by `seed`; None takes all.
    """

    stream_split: Literal["test", "validation"]
    max_train: int | None
    max_validation: int | None
    max_test: int | None
    seed: int

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        one_of(self.stream_split, ("test", "validation"), "data.limits.stream_split")
        for name in ("max_train", "max_validation", "max_test"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise UserError(f"data.limits.{name}={limit} is too small; give 1 or more, or null for all.")

    def of(self, split: str, items: Sequence[Item], task: str) -> list[Item]:
        """Return the items of a split that are used, in their order."""
        limit = {"train": self.max_train, "validation": self.max_validation, "test": self.max_test}[split]
        if limit is None or limit >= len(items):
            return list(items)
        chosen = random.Random(f"{self.seed}/{task}/{split}").sample(range(len(items)), limit)
        return [items[index] for index in sorted(chosen)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How an item becomes model input, and how its answer is scored.

    `prompt_template` holds fields of the items in braces. `metric` is what the tests declare. `gives_task` tells a
    question's task (task-incremental). `max_new_tokens` is that of an `AnswerForm`; answers that `has_lines` are no
    single line. The first group of `source_pattern`, a regular expression, is the part of a prompt that is to be
    rewritten (for SARI); None: all of it. Each but `gives_task` may be a mapping from tasks to values, the last three
    one that leaves tasks out.
    """

    prompt_template: str | Mapping[str, str]
    metric: str | Mapping[str, str]
    gives_task: bool
    max_new_tokens: int | Mapping[str, int | None] | None = None
    has_lines: bool | Mapping[str, bool] | None = None
    source_pattern: str | Mapping[str, str | None] | None = None

    def __post_init__(self) -> None:
        """Refuse a number of tokens below one and a pattern that is none."""
        limits = self.max_new_tokens.values() if isinstance(self.max_new_tokens, Mapping) else [self.max_new_tokens]
        for limit in limits:
            if limit is not None and limit < 1:
                raise UserError(f"data.format.max_new_tokens={limit} must be at least 1, or null.")
        patterns = self.source_pattern.values() if isinstance(self.source_pattern, Mapping) else [self.source_pattern]
        for pattern in patterns:
            if pattern is not None and not _num_groups(pattern):
                raise UserError(f"data.format.source_pattern={pattern!r} needs a group in parentheses: the source.")

    def prompt(self, item: Item) -> str:
        """Return an item's model input; raise UserError for a field or a task that there is no text for."""
        template = _of_task(self.prompt_template, item.task, "data.format.prompt_template")
        if missing := [name for name in fields_in(template) if name not in item.fields]:
            raise UserError(
                f"data.format.prompt_template={template!r} names {', '.join(missing)}, but the rows have "
                f"{', '.join(item.fields)}."
            )
        return filled(template, item.fields)

    def metric_of(self, task: str) -> str:
        """Return the metric of one task."""
        return _of_task(self.metric, task, "data.format.metric")

    def answers_of(self, task: str) -> AnswerForm:
        """Return the form of one task's answers."""
        return AnswerForm(
            _optional(self.max_new_tokens, task, default=None), not _optional(self.has_lines, task, default=None)
        )

    def source(self, item: Item) -> str:
        """Return the part of an item's prompt that is to be rewritten, "" where that is the whole prompt."""
        pattern = _optional(self.source_pattern, item.task, default=None)
        match = None if pattern is None else re.search(pattern, self.prompt(item))
        return (match[1] or "").strip() if match else ""


def _num_groups(pattern: str) -> int:
    try:
        return re.compile(pattern).groups
    except re.error as error:
        raise UserError(f"data.format.source_pattern={pattern!r} is no regular expression: {error}.") from error


def _optional(setting: T | Mapping[str, T], task: str, *, default: T) -> T:
    return setting.get(task, default) if isinstance(setting, Mapping) else setting


def _of_task(setting: str | Mapping[str, str], task: str, name: str) -> str:
    if isinstance(setting, str):
        return setting
    if task not in setting:
        raise UserError(f"{name} has nothing for the task '{task}'; it has {', '.join(setting)}.")
    return setting[task]


def label_stream(
    corpus: LabelledCorpus, provenance: Provenance, *, groups: Sequence[Sequence[str]], limits: Limits, format: Format
) -> Stream:
    """Return the stream whose tasks are groups of labels."""
    divided = by_label(corpus.splits, groups)
    return labelled_stream(divided, labels=groups, limits=limits, format=format, provenance=provenance)


def task_stream(
    corpus: LabelledCorpus, provenance: Provenance, *, order: Sequence[str], limits: Limits, format: Format
) -> Stream:
    """Return the stream of the items' own tasks in this order, each with the labels that its training items have."""
    divided = by_task(corpus.splits, order)
    labels = [labels_of(splits["train"]) for _, splits in divided]
    return labelled_stream(divided, labels=labels, limits=limits, format=format, provenance=provenance)


def text_stream(
    corpus: LabelledCorpus,
    provenance: Provenance,
    *,
    order: Sequence[str],
    missing_tasks: str,
    limits: Limits,
    format: Format,
) -> Stream:
    """Return the stream of the items' own tasks in this order, answered by free text.

    `missing_tasks` says what becomes of one without training rows: "error" or "skip", which notes it.
    """
    divided, note = in_order(corpus.splits, order, missing_tasks)
    return labelled_stream(divided, labels=(), limits=limits, format=format, provenance=provenance.noted(note))


def labelled_stream(
    divided: Sequence[tuple[str, Splits]],
    *,
    labels: Sequence[Sequence[str]],
    limits: Limits,
    format: Format,
    provenance: Provenance,
    target: Target | None = None,
) -> Stream:
    """Return the stream of divided items, in this order.

    `labels` are those that each task brings, empty where labels play no role; they are the choices of a question.
    `target` returns the references of an item where they depend on its task's labels (entities of old types are not
    annotated); without it they are the item's own.
    """
    tasks: list[Task] = []
    tests: list[TestSet] = []
    for index, (name, splits) in enumerate(divided):
        own = tuple(labels[index]) if labels else ()
        made = {
            split: [_example(item, own, format, target) for item in limits.of(split, items, name)]
            for split, items in splits.items()
        }
        evaluated = made[limits.stream_split]
        if not made["train"] or not evaluated:
            split = "train" if not made["train"] else limits.stream_split
            raise UserError(
                f"The task '{name}' of data={provenance.name} has no rows in the {split} split. Add rows to its files, "
                "or leave the task out."
            )
        tasks.append(Task(name, index, made["train"], made["validation"] if limits.stream_split == "test" else ()))
        of_items = splits["train"][0].task
        metric, answers = format.metric_of(of_items), format.answers_of(of_items)
        answers = answers if provenance.source == "real" else answers.within(GENERATED_TOKENS)
        test = TestSet(name, evaluated, metric=metric, learned_at=index, gives_task=format.gives_task, answers=answers)
        tests.append(test)
    if labels:
        tests = [replace(test, labels_by_task=tuple(map(tuple, labels))) for test in tests]
    sizes = ", ".join(f"{len(task.train)}/{len(test.examples)}" for task, test in zip(tasks, tests, strict=True))
    provenance = provenance.noted(f"train/{limits.stream_split} examples per task {sizes}")
    provenance = replace(provenance, split=limits.stream_split)
    return Stream(provenance.name, tasks, tests, Episodes(), provenance)


def _example(item: Item, labels: Sequence[str], format: Format, target: Target | None) -> Example:
    references = item.references if target is None else target(item, labels)
    choices = tuple(f" {choice}" for choice in item.choices or labels)
    return Example(item.id, format.prompt(item), f" {references[0]}", references, choices, source=format.source(item))
