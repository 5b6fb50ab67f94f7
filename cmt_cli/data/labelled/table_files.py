"""Which table files of a user's path hold which split and which task, told by their names.

    train.csv, test.csv                    splits                 books_train.csv, books_test.csv     tasks and splits
    books.csv, films.csv                   tasks                  books/train.csv, books/test.csv     tasks and splits
    train-00000-of-00002.parquet           shard of a split       train/books.csv, test/books.csv     tasks and splits
    reviews.csv                            one file of everything

What the names leave open, a column may say, or rows are held out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmt_cli.core.exceptions import UserError, nearest
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.files.table_rows import FORMATS, format_of, stem_of
from cmt_cli.data.labelled.items import SPLITS

USUAL_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing"),
}
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table, with the split and the task that its name tells; None where it tells none."""

    file: Path
    split: str | None
    task: str | None


class SplitNames:
    """What files, lists and values of a column call the splits: the usual names, or exactly those that are given."""

    def __init__(self, given: Mapping[str, str] | None) -> None:
        """Take one name for each split, or None for the usual ones; raise UserError for a split that is none."""
        self.is_given = given is not None
        for split in given or ():
            if split not in SPLITS:
                raise UserError(
                    f"data.splits names '{split}', which is no split; there are {', '.join(SPLITS)}."
                    f"{nearest(split, SPLITS)}"
                )
        names = {split: (str(name),) for split, name in given.items()} if given is not None else USUAL_NAMES
        self._split_of = {name.lower(): split for split, of_split in names.items() for name in of_split}
        if given and len(self._split_of) < len(given):
            raise UserError(f"data.splits gives two splits one name: {dict(given)}.")

    def of(self, name: str) -> str | None:
        """Return the split that a name stands for, None for any other name."""
        return self._split_of.get(name.lower())

    def parsed(self, stem: str) -> tuple[str | None, str | None]:
        """Return the split and the task in a file's name without its ending: of books-train-2, train and books-2.

        A name that speaks of two splits tells none, it is all task.
        """
        name = _SHARD.sub("", stem)
        if split := self.of(name):
            return split, None
        told = {
            (split, "-".join(filter(None, match.groups())))
            for known, split in self._split_of.items()
            if (match := re.fullmatch(rf"(?:(.+)[-_.])?{re.escape(known)}(?:[-_.](.+))?", name, re.IGNORECASE))
        }
        return told.pop() if len(told) == 1 else (None, name)

    def __str__(self) -> str:
        """List the names, for messages."""
        return ", ".join(self._split_of)


def table_files(path: Path, names: SplitNames, problems: list[Problem]) -> tuple[list[TableFile], list[str]]:
    """Return the tables at a path, a file or a folder, and notes of files there that are not used."""
    if path.is_file():
        if format_of(path) is None:
            problems.append(Problem(path, None, f"is no table: its name must end in {', '.join(FORMATS)}, or with .gz"))
            return [], []
        return [TableFile(path, None, None)], []
    files, folders = _tables_in(path), _folders_in(path)
    if files:
        notes = [f"folders beside the files not read: {', '.join(folder.name for folder in folders)}"]
        found, more = _of_one_folder(path, files, names, problems)
        return found, [*(notes if folders else []), *more]
    if len(folders) == 1:
        return table_files(folders[0], names, problems)
    if not folders:
        problems.append(Problem(path, None, f"holds no table: no file whose name ends in {', '.join(FORMATS)}"))
        return [], []
    if all(names.of(folder.name) for folder in folders):
        return _split_folders(folders, names), []
    return _task_folders(folders, names, problems)


def _of_one_folder(
    path: Path, files: Sequence[Path], names: SplitNames, problems: list[Problem]
) -> tuple[list[TableFile], list[str]]:
    """Return the files of a folder; those that name no task may not stand beside those that do."""
    found = [TableFile(file, *names.parsed(stem_of(file))) for file in files]
    whole = [table for table in found if table.task is None]
    others = [table for table in found if table.task is not None]
    if not whole or not others:
        return ([TableFile(found[0].file, None, None)] if len(found) == 1 and not whole else found), []
    if names.is_given:
        return whole, [f"files that data.splits does not name not read: {_listed(others)}"]
    problems.append(
        Problem(
            path,
            None,
            f"holds {_listed(whole)}, named as splits, and {_listed(others)}, named as tasks. Leave one kind out, or "
            "say which files are splits, by their names without endings: data.splits={train: ..., test: ...}",
        )
    )
    return [], []


def _split_folders(folders: Sequence[Path], names: SplitNames) -> list[TableFile]:
    """Return the tables in folders that are named as splits; each table there is a task."""
    found = []
    for folder in folders:
        for file in _tables_in(folder):
            task = _SHARD.sub("", stem_of(file))
            found.append(TableFile(file, names.of(folder.name), None if names.of(task) else task))
    return found


def _task_folders(
    folders: Sequence[Path], names: SplitNames, problems: list[Problem]
) -> tuple[list[TableFile], list[str]]:
    """Return the tables in folders that are tasks, with the splits that their own names tell."""
    found, notes = [], []
    for folder in folders:
        files = _tables_in(folder)
        if not files:
            problems.append(Problem(folder, None, "holds no table, but only further folders"))
        tables, more = _of_one_folder(folder, files, names, problems) if files else ([], [])
        if len(tables) > 1 and any(table.split is None for table in tables):
            fault = f"is a task's folder with several files, of which {_listed(tables)} are not all named as splits"
            problems.append(Problem(folder, None, fault))
            continue
        found += [TableFile(table.file, table.split, folder.name) for table in tables]
        notes += more
    return found, notes


def _tables_in(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    return sorted(file for file in files if format_of(file) is not None)


def _folders_in(folder: Path) -> list[Path]:
    """Return the folders that hold a table at any depth."""
    folders = (inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith("."))
    return sorted(
        inner for inner in folders if any(file.is_file() and format_of(file) is not None for file in inner.rglob("*"))
    )


def _listed(tables: Sequence[TableFile]) -> str:
    shown = [table.file.name for table in tables[:3]]
    return ", ".join(shown) + (f" and {len(tables) - 3} more" if len(tables) > 3 else "")
