"""Splits and tasks that the names of files tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmt_cli.core.exceptions import UserError
from cmt_cli.data.files.problems import Problem
from cmt_cli.data.labelled.table_files import SplitNames, table_files

USUAL = SplitNames(None)


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(path: Path, names: SplitNames = USUAL) -> list[tuple[str, str | None, str | None]]:
    problems: list[Problem] = []
    tables, _ = table_files(path, names, problems)
    assert problems == []
    return [(table.file.name, table.split, table.task) for table in tables]


def fault(path: Path, names: SplitNames = USUAL) -> str:
    problems: list[Problem] = []
    table_files(path, names, problems)
    (problem,) = problems
    return str(problem)


@pytest.mark.parametrize(
    ("stem", "split", "task"),
    [
        ("train", "train", None),
        ("Dev", "validation", None),
        ("train-00000-of-00002", "train", None),
        ("books_train", "train", "books"),
        ("train.books", "train", "books"),
        ("raw_val_all", "validation", "raw-all"),
        ("books", None, "books"),
        ("books-trained", None, "books-trained"),
        ("train_test", None, "train_test"),
    ],
)
def test_names_tell_split_and_task(stem: str, split: str | None, task: str | None) -> None:
    assert USUAL.parsed(stem) == (split, task)


def test_a_file_alone_is_everything(tmp_path: Path) -> None:
    put(tmp_path, "books.csv")
    assert found(tmp_path) == found(tmp_path / "books.csv") == [("books.csv", None, None)]


def test_files_are_splits_or_tasks_or_both(tmp_path: Path) -> None:
    splits = put(tmp_path / "splits", "test.csv", "train.csv", "README.md", ".hidden.csv")
    assert found(splits) == [("test.csv", "test", None), ("train.csv", "train", None)]
    tasks = put(tmp_path / "tasks", "books.csv", "films.csv.gz")
    assert found(tasks) == [("books.csv", None, "books"), ("films.csv.gz", None, "films")]
    both = put(tmp_path / "both", "books_test.jsonl", "books_train.jsonl")
    assert found(both) == [("books_test.jsonl", "test", "books"), ("books_train.jsonl", "train", "books")]


def test_folders_are_tasks_or_splits(tmp_path: Path) -> None:
    tasks = put(tmp_path / "tasks", "data/books/train.csv", "data/books/test.csv", "data/films/all.csv")
    assert found(tasks) == [("test.csv", "test", "books"), ("train.csv", "train", "books"), ("all.csv", None, "films")]
    splits = put(tmp_path / "splits", "train/books.csv", "test/books.csv", "test/films.csv")
    assert found(splits) == [
        ("books.csv", "test", "books"),
        ("films.csv", "test", "films"),
        ("books.csv", "train", "books"),
    ]


def test_given_names_of_splits_are_the_only_ones(tmp_path: Path) -> None:
    names = SplitNames({"train": "train", "test": "validation_matched"})
    put(tmp_path, "train.csv", "test.csv", "validation_matched.csv")
    problems: list[Problem] = []
    tables, notes = table_files(tmp_path, names, problems)
    assert [(table.file.name, table.split) for table in tables] == [
        ("train.csv", "train"),
        ("validation_matched.csv", "test"),
    ]
    assert notes == ["files that data.splits does not name not read: test.csv"] and not problems


def test_folders_beside_files_are_noted(tmp_path: Path) -> None:
    put(tmp_path, "train.csv", "test.csv", "old/train.csv")
    assert table_files(tmp_path, USUAL, [])[1] == ["folders beside the files not read: old"]


def test_what_names_leave_unclear_is_refused(tmp_path: Path) -> None:
    mixed = put(tmp_path / "mixed", "train.csv", "labels.json")
    assert "holds train.csv, named as splits, and labels.json, named as tasks" in fault(mixed)
    many = put(tmp_path / "many", "a/1.csv", "a/2.csv", "b/train.csv")
    assert "is a task's folder with several files, of which 1.csv, 2.csv are not all named as splits" in fault(many)
    deep = put(tmp_path / "deep", "a/b/1.csv", "c/train.csv")
    assert "holds no table, but only further folders" in fault(deep)
    assert "holds no table: no file whose name ends in .csv" in fault(put(tmp_path / "none", "readme.txt"))
    assert "is no table: its name must end in .csv" in fault(tmp_path / "none" / "readme.txt")


def test_impossible_names_of_splits_are_refused() -> None:
    with pytest.raises(UserError, match=r"'trian', which is no split; there are train, .* Did you mean 'train'"):
        SplitNames({"trian": "train"})
    with pytest.raises(UserError, match="gives two splits one name"):
        SplitNames({"train": "a", "test": "A"})
