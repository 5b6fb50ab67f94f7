"""Reads a user's tables into a labelled corpus: every row an item in its split, test rows held out where none are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cmt_cli.core.exceptions import UserError, counted
from cmt_cli.core.setting_checks import one_of
from cmt_cli.data.files.origin import is_generated
from cmt_cli.data.files.problems import Problem, Record
from cmt_cli.data.files.reading import missing_name
from cmt_cli.data.files.table_rows import TableForm, missing_columns, rows_of, value_at
from cmt_cli.data.labelled.columns import BETWEEN_OPTIONS, Columns, column_text
from cmt_cli.data.labelled.held_out import HeldOut
from cmt_cli.data.labelled.items import Item, LabelledCorpus, Splits
from cmt_cli.data.labelled.table_files import SplitNames, TableFile, table_files

TASKS = ("auto", "labels", "column", "files")
ALL = "all"  # the task of every item where tasks are groups of labels
STAND_IN = ("text", "label", "task")  # columns of the generated files
UNDIVIDED = "row"  # the split of rows that nothing divides


@dataclass(frozen=True, kw_only=True, slots=True)
class TableReader:
    """Everything that decides how tables are read.

    `in_prompt` are columns that the prompt template names.
    """

    kind: str
    tasks: str
    columns: Columns
    form: TableForm
    names: SplitNames
    held_out: HeldOut
    in_prompt: Sequence[str]

    def read(self, path: Path) -> tuple[LabelledCorpus, list[Problem]]:
        """Read a file or a folder of them; raise UserError for settings that contradict each other."""
        reader = self._of_stand_in() if is_generated(path) else self
        problems: list[Problem] = []
        files, notes = table_files(path, reader.names, problems)
        found = _Found()
        tasks = reader._tasks(files) if files else ALL
        for table in files:
            reader._read_file(table, tasks, found, problems)
        if not problems and not found.has_training_rows():
            where = (
                f"the splits are told by {reader.names}" if reader.columns.split or len(files) > 1 else "it is empty"
            )
            problems.append(Problem(path, None, f"has no training rows; {where}"))
        problems += found.unknown_labels()
        splits, held_out = found.divided(reader.held_out)
        left_out = [f"{counted(number, 'row')} of {name} not used" for name, number in found.left_out.items()]
        read_files, said = tuple(table.file for table in files), (*dict.fromkeys(notes), *left_out, *held_out)
        return LabelledCorpus(splits, read_files, said), problems

    def _of_stand_in(self) -> TableReader:
        if self.kind == "choices":
            raise UserError("data.kind=choices needs files of your own: the generated rows have labels and no choices.")
        text, answer, task = STAND_IN
        own = replace(self.columns, text=text, answer=answer, label_names=None, split=None)
        own = replace(own, task=task if own.task or self.tasks == "files" or self.kind == "generation" else None)
        tasks = "column" if own.task else self.tasks
        return replace(
            self,
            columns=own,
            names=SplitNames(None),
            form=TableForm(has_quotes=True, header=None, delimiter=None),
            tasks=tasks,
        )

    def _tasks(self, files: Sequence[TableFile]) -> str:
        """Return what tasks are: "labels", "column" or "files"; raise UserError where that cannot be."""
        named = {table.task for table in files}
        tasks = one_of(self.tasks, TASKS, "data.tasks")
        if tasks == "auto":
            tasks = "column" if self.columns.task else "files" if len(named) > 1 else "labels"
        if tasks == "column" and self.columns.task is None:
            raise UserError("data.tasks=column needs the name of that column: data.columns.task=...")
        if tasks == "files" and None in named:
            raise UserError(
                f"data.tasks=files, but {files[0].file.name} names no task. Name files after their tasks, such as "
                "books_train.csv and books_test.csv, or give each task a folder."
            )
        if tasks == "labels" and self.kind != "classification":
            raise UserError(
                f"data.kind={self.kind} has no labels to make tasks of. Name the column that tells tasks apart with "
                "data.columns.task=..., or give every task a file of its own."
            )
        return tasks

    def _read_file(self, table: TableFile, tasks: str, found: _Found, problems: list[Problem]) -> None:
        settings = self.columns.settings(self.kind, self.in_prompt)
        is_first = True
        for split, record in self._divided_rows(table, found, problems):
            if is_first and (missing := missing_columns(record, settings, table.file)):
                problems += missing
                return
            is_first = False
            if absent := [name for name in settings if not _has(record, name)]:
                problems.append(record.problem(missing_name(absent[0], list(record.values), kind="column")))
                continue
            task = _task(record, table, tasks, self.columns.task, problems)
            if task is not None:
                self._add_item(record, table.task or "", split, task, found, problems)

    def _divided_rows(self, table: TableFile, found: _Found, problems: list[Problem]) -> Iterator[tuple[str, Record]]:
        """Yield the rows of a table with their splits; those of other splits are counted, or problems."""
        refused: set[str] = set()
        for name, record in rows_of(table.file, self.form, problems):
            if self.columns.split is not None and _has(record, self.columns.split):
                name = column_text(record, self.columns.split, problems) or ""
                if not name:
                    continue
            split = self.names.of(name) if name else table.split or UNDIVIDED
            if split is not None:
                yield split, record
            elif self.names.is_given:
                found.left_out[name] += 1
            elif name not in refused:
                refused.add(name)
                problems.append(
                    replace(
                        record.problem(
                            f"'{name}' is no name of a split (known are {self.names}). Say which rows are used with "
                            "data.splits={train: ..., test: ...}"
                        ),
                        ends_file=True,
                    )
                )

    def _add_item(
        self, record: Record, key: str, split: str, task: str, found: _Found, problems: list[Problem]
    ) -> None:
        known = len(problems)
        text = self.columns.filled_text(record, problems)
        fields = {name: self._optional(record, name, problems) for name in self.in_prompt} | {"text": text or ""}
        answers, choices = self._answers(record, problems)
        if len(problems) > known:
            return
        if choices:
            fields["options"] = BETWEEN_OPTIONS.join(choices)
        labels = answers if self.kind == "classification" else ()
        identity = f"{key}/{split}" if key else split
        item = Item(f"{identity}-{found.count(identity):07d}", task, fields, answers, labels, choices)
        found.add(key, split, record, item)

    def _answers(self, record: Record, problems: list[Problem]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the accepted answers of a row, and the choices that are its own."""
        if self.kind == "generation":
            return self.columns.references(record, problems), ()
        if self.kind == "classification":
            label = self.columns.label(record, problems)
            return () if label is None else (label,), ()
        choices = self.columns.options(record, problems)
        chosen = self.columns.chosen(record, choices, problems) if choices else None
        return () if chosen is None else (chosen,), choices

    @staticmethod
    def _optional(record: Record, name: str, problems: list[Problem]) -> str:
        empty = value_at(record.values, name) in (None, "")
        return "" if empty else column_text(record, name, problems) or ""


@dataclass(slots=True)
class _Found:
    """The items read so far: by the task that their files name, then by split."""

    items: dict[str, dict[str, list[Item]]] = field(default_factory=dict)
    judged: list[tuple[Item, Record]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    numbers: Counter[str] = field(default_factory=Counter)

    def count(self, identity: str) -> int:
        """Return how many items there were of a kind, and count one more."""
        self.numbers[identity] += 1
        return self.numbers[identity] - 1

    def add(self, key: str, split: str, record: Record, item: Item) -> None:
        self.items.setdefault(key, {}).setdefault(split, []).append(item)
        if split in ("validation", "test") and item.labels:
            self.judged.append((item, record))

    def has_training_rows(self) -> bool:
        return any("train" in splits or UNDIVIDED in splits for splits in self.items.values())

    def unknown_labels(self) -> list[Problem]:
        """Return a problem for each row that is evaluated on and whose label no training row has."""
        known = {
            item.labels[0]
            for splits in self.items.values()
            for split in ("train", UNDIVIDED)
            for item in splits.get(split, ())
            if item.labels
        }
        return [
            record.problem(f"the label '{item.labels[0]}' has no training rows")
            for item, record in self.judged
            if known and item.labels[0] not in known
        ]

    def divided(self, held_out: HeldOut) -> tuple[Splits, list[str]]:
        """Return the items by split, and a note where test rows had to be held out of the training rows."""
        splits: Splits = {"train": [], "validation": [], "test": []}
        number = 0
        for of_files in self.items.values():
            train = [*of_files.get("train", ()), *of_files.get(UNDIVIDED, ())]
            test = list(of_files.get("test", ()))
            if not test:
                drawn = _drawn(train, held_out)
                test = [item for item in train if item.id in drawn]
                train = [item for item in train if item.id not in drawn]
                number += len(test)
            splits["train"] += train
            splits["validation"] += of_files.get("validation", ())
            splits["test"] += test
        return splits, [f"{counted(number, 'test row')} held out of the training rows"] if number else []


def _drawn(items: Sequence[Item], held_out: HeldOut) -> set[str]:
    """Return the ids of items that are held out, the same share of every task and label."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for item in items:
        groups.setdefault((item.task, *item.labels), []).append(item.id)
    return {ids[position] for group, ids in groups.items() for position in held_out.drawn("/".join(group), len(ids))}


def _task(record: Record, table: TableFile, tasks: str, column: str | None, problems: list[Problem]) -> str | None:
    if tasks == "labels":
        return ALL
    return table.task if tasks == "files" or column is None else column_text(record, column, problems)


def _has(record: Record, name: str) -> bool:
    try:
        value_at(record.values, name)
    except KeyError:
        return False
    return True
